r"""Coarse-to-fine network on GoPro, as in the paper (Nah et al., CVPR 2017).

  python -m experiments.train --config=configs/multiscale_paper.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/gopro_paper

Eq. 4 (MSE over three scales / 2K) without the adversarial term, on the pyramid
and augmentation of the authors' Lua code. With the adversarial term the paper
reports 29.08 dB and an SSIM (MATLAB's) of 0.9135 on blur_gamma (its numbers).
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=900_000, batch_size=2, save_every=5_000)
  common.use_coarse_to_fine(
      config, pyramid='deepdeblur_torch7', loss='mse', over_scales='half_mean',
      dtype='float32')
  config.optim = dict(net=dict(
      name='adam', lr=5e-5, schedule='step', boundaries=(1 / 3,), factor=0.1,
      warmup_steps=0, clip_norm=0.0))
  config.data = common.gopro('blur_gamma')
  config.augment = dict(preset='deepdeblur_torch7')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_debug_run(config)
    config.nets.net.update(depth=12, features=4)
  return config
