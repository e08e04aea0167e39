r"""Classifies the blur of a picture: motion, defocus, Gaussian, mixed or none.

  python -m experiments.train --config=configs/blur_classification.py \
      --config.data.train.root=DIR_OF_PHOTOS --workdir=runs/blur_type
  python -m experiments.evaluate_blur_type --workdir=runs/blur_type \
      --photos=OTHER_PHOTOS

The labels are weak: the synthesis of blur knows which type it drew. The run
restores no pictures. As a term of a method that does, see
method.weights.blur_type of configs/cycle_physics.py.
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(total_steps=4_000, batch_size=16)
  config.method = dict(name='blur_classification', ema=0.0)
  config.nets = dict(blur_type=dict(
      name='blur_type', features=16, blocks=1, dtype='float32'))
  config.optim = dict(blur_type=dict(
      name='adam', lr=1e-3, schedule='cosine', warmup_steps=100,
      clip_norm=1.0))
  config.data = dict(
      train=dict(name='photos', root='data/photos'),
      test=dict(name='builtin', split='test'),
      blur=dict(kind='any', size=31, gamma=1.0, weights=(1.0, 1.0, 1.0, 1.0)),
      loader=dict(backend='threads', crop=128, progressive=()))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=2, crop=64)
  if common.is_debug(arg):
    common.use_debug_run(config)
    config.data.blur = dict(kind='disk', size=5, gamma=1.0,
                            radius=(0.5, 1.5))
    config.nets.blur_type.update(features=2, blocks=0)
  return config
