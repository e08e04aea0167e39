r"""The whole way in minutes: the K ablation on built-in pictures, on a laptop.

  make quickstart
  python -m experiments.train --config=configs/quickstart.py --workdir=runs/q

A small network (16 channels, 12 convolutions shared out over K scales) that
learns the difference to the blurry picture, by the PSNR loss: in so few steps
it comes 0.3 dB further than by L1 (K = 3, 2026-11-22).
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 900
  config.batch_size = 8
  config.log_every = 20
  config.save_every = 450
  config.tensorboard = False
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='supervised', loss='psnr_loss', over_scales='sum',
      pyramid=pyramid, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='multiscale', scales=3, depth=12, features=16, kernel_size=5,
      pyramid=pyramid, residual=True, dtype='float32',
      remat=False))
  config.optim = dict(net=dict(
      name='adam', lr=2e-3, schedule='cosine', boundaries=(), factor=0.5,
      warmup_steps=0, clip_norm=1.0))
  config.data = dict(
      train=dict(name='builtin', split='train'),
      test=dict(name='builtin', split='test'),
      loader=dict(backend='resident', crop=64))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=6, crop=256)
  if common.is_debug(arg):
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.nets.net.features = 4
    config.validate = dict(pictures=2, crop=64)
  return config
