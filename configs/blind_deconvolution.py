r"""Blind deconvolution without learning: the baseline of every table.

  python -m experiments.train --config=configs/blind_deconvolution.py \
      --evaluate --config.data.test.root=DIR/GOPRO_Large
      --workdir=runs/blind_deconvolution

Estimates one kernel for each picture and deconvolves with it. That suits
photographs of still scenes; on GoPro, whose blur varies over the picture, the
result is worse than the input. The one step of 'training' only reads the
built-in pictures, so that the run has the same folder as all others and
experiments.report shows it.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=1, batch_size=8, log_every=1, save_every=1, tensorboard=False)
  config.method = dict(
      name='blind_deconvolution', size=31, sparse=8e-3)
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
    common.use_debug_run(config)
    config.method.size = 3
    config.method.deconvolution = dict(name='hyper_laplacian', steps=2)
  return config
