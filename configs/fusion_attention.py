r"""Three sizes in and out, fused, with attention in every residual block.

  python -m experiments.train --config=configs/fusion_attention.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/fusion

The network and the recipe of MIMO-UNet (Cho et al., ICCV 2021), which reports
31.73 dB on `blur` without attention (its number, not ours): L1 and a tenth of
the L1 of Fourier coefficients at three scales, Adam with 1e-4, halved five
times. Which attention: experiments.ablate --name=attention.

configs/fusion_attention.py:small is for CPUs and a folder of pairs side by side
(--config.data.train.root=DIR), whose last tenth is held back: 16 channels, no
attention. It is the teacher of configs/distill.py:small.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 1_580_000
  config.batch_size = 4
  config.log_every = 100
  config.save_every = 2_000
  config.tensorboard = True
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='supervised', loss='l1 + 0.1*fft_l1', over_scales='sum',
      pyramid=pyramid, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='fusion', features=32, blocks=8, attention='cbam', pyramid=pyramid,
      dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adam', lr=1e-4, schedule='step', factor=0.5,
      boundaries=(1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6)))
  root = ml_collections.FieldReference('data/GOPRO_Large')
  subset = ml_collections.FieldReference('blur')
  config.data = dict(
      train=dict(name='gopro', root=root, subset=subset, split='train'),
      test=dict(name='gopro', root=root, subset=subset, split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if arg == 'small':
    common.use_pairs(config)
    config.method.loss = 'psnr_loss'
    config.nets.net.update(
        features=16, blocks=3, attention='none', dtype='float32')
  if common.is_debug(arg, 'small'):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.method.loss = 'l1'
    config.nets.net.update(features=4, blocks=1, dtype='float32')
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
