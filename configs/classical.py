r"""Blind deconvolution without learning: the row to beat in every table.

  python -m experiments.train --config=configs/classical.py --evaluate \
      --config.data.test.root=DIR/GOPRO_Large --workdir=runs/classical

Estimates one kernel a picture and deconvolves with it. Right for photographs of
still scenes; on GoPro, whose blur varies, it does harm. The one step of
'training' only looks at the built-in pictures, so that a run's folder is like
all others and experiments.report shows it.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 1
  config.batch_size = 8
  config.log_every = 1
  config.save_every = 1
  config.tensorboard = False
  config.method = dict(
      name='classical', size=31, sparse=8e-3,
      deconvolution=dict(name='hyper_laplacian', weight=2e3))
  config.nets = ml_collections.ConfigDict()
  config.optim = ml_collections.ConfigDict()
  config.data = dict(
      train=dict(name='builtin', split='train'),
      test=dict(name='gopro', root='data/GOPRO_Large', subset='blur',
                split='test'),
      loader=dict(backend='resident', crop=128))
  config.augment = dict(preset='none')
  config.validate = dict(pictures=2, crop=256)
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.method.size = 3
    config.method.deconvolution.steps = 2
    config.validate = dict(pictures=2, crop=64)
  return config
