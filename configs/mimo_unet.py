r"""Three sizes in and out, fused.

  python -m experiments.train --config=configs/mimo_unet.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/mimo_unet

The network and the recipe of MIMO-UNet (Cho et al., ICCV 2021), which reports
31.73 dB on `blur` (its number, not ours): L1 and a tenth of the L1 of Fourier
coefficients at three scales, Adam with 1e-4, halved five times.

  ...mimo_unet.py:cbam    with attention in every residual block, which is ours;
                          experiments.ablate --name=attention compares kinds
  ...mimo_unet.py:small   for CPUs and a folder of pairs side by side
                          (--config.data.train.root=DIR), 16 channels; the last
                          tenth is the test set. It is the teacher of
                          configs/distill.py:small.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=1_580_000, batch_size=4, save_every=2_000)
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='supervised', loss='l1 + 0.1*fft_l1', over_scales='sum',
      pyramid=pyramid, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='mimo_unet', features=32, blocks=8, attention='none',
      pyramid=pyramid, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adam', lr=1e-4, schedule='step', factor=0.5,
      boundaries=(1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6)))
  config.data = common.gopro('blur')
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if arg == 'small':
    common.use_side_by_side(config)
    config.method.loss = 'psnr_loss'
    config.nets.net.update(features=16, blocks=3, dtype='float32')
  elif arg == 'cbam':
    config.nets.net.attention = 'cbam'
  if common.is_debug(arg, 'small', 'cbam'):
    common.use_debug_run(config)
    config.method.loss = 'l1'
    config.nets.net.update(features=4, blocks=1, dtype='float32')
  return config
