"""The K ablation on built-in pictures, in minutes on a laptop.

  make quickstart
  python -m experiments.train --config=configs/quickstart.py --workdir=runs/q

A small network (16 channels, 12 convolutions over all K scales) predicts the
difference from the blurry picture, trained by the PSNR loss: in so few steps it
gains 0.3 dB more than by L1 (K = 3, 2026-11-22).
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=900, batch_size=8, log_every=20, save_every=450,
      tensorboard=False)
  common.use_coarse_to_fine(
      config, pyramid='deepdeblur_pytorch', loss='psnr_loss', depth=12,
      features=16, residual=True, dtype='float32')
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
    common.use_debug_run(config)
    config.nets.net.features = 4
  return config
