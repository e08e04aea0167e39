r"""Coarse-to-fine network on GoPro, as in the paper (Nah et al., CVPR 2017).

  python -m experiments.train --config=configs/multiscale_paper.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/gopro_paper

Eq. 4 (MSE over three scales / 2K) without its adversarial term, on the Lua
code's pyramid and augmentation. The paper reports, with the adversarial term
and on blur_gamma, 29.08 dB and an SSIM (MATLAB's) of 0.9135 (its number).
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 900_000
  config.batch_size = 2
  config.log_every = 100
  config.save_every = 5_000
  config.tensorboard = True
  # One value for both: targets and network live on one grid.
  pyramid = ml_collections.FieldReference('deepdeblur_torch7')
  config.method = dict(
      name='supervised', loss='mse', over_scales='half_mean',
      pyramid=pyramid, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='multiscale', scales=3, depth=120, features=64, kernel_size=5,
      pyramid=pyramid, residual=False, dtype='float32',
      remat=False))
  config.optim = dict(net=dict(
      name='adam', lr=5e-5, schedule='step', boundaries=(1 / 3,), factor=0.1,
      warmup_steps=0, clip_norm=0.0))
  root = ml_collections.FieldReference('data/GOPRO_Large')
  subset = ml_collections.FieldReference('blur_gamma')
  config.data = dict(
      train=dict(name='gopro', root=root, subset=subset, split='train'),
      test=dict(name='gopro', root=root, subset=subset, split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='deepdeblur_torch7')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.nets.net.update(scales=1, depth=4, features=4)
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
