r"""MAXIM-3S on GoPro (Tu et al., CVPR 2022).

  python -m experiments.train --config=configs/maxim_gopro.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/maxim

Charbonnier (epsilon 1e-3) plus 0.1 times the L1 of the spectra, over three
stages of three sizes each: sections 3.4 and 4.1. Adam by a cosine from 2e-4 to
1e-7, crops of 256, flips and turns. The paper reports 32.86 dB and an SSIM of
0.961 on `blur` (its numbers, not ours). Its authors published no program of
training: the number of steps, the batch and the scale of the spectrum
(MIMO-UNet's, unnormalised, which the weight 0.1 is from) are our choice, and
their MixUp is left out. 0.9 TFLOP for a crop and step, and 1.2 with remat.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 600_000
  config.batch_size = 16
  config.log_every = 100
  config.save_every = 2_000
  config.tensorboard = True
  config.method = dict(
      name='supervised', loss='charbonnier + 0.1*fft_l1', over_scales='sum',
      pyramid='nearest', all_stages=True, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='maxim', features=32, depth=3, groups=2, bottleneck=2, stages=3,
      scales=3, remat=True, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adam', lr=2e-4, schedule='cosine', end_lr=1e-7))
  root = ml_collections.FieldReference('data/GOPRO_Large')
  subset = ml_collections.FieldReference('blur')
  config.data = dict(
      train=dict(name='gopro', root=root, subset=subset, split='train'),
      test=dict(name='gopro', root=root, subset=subset, split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.nets.net.update(
        features=4, depth=1, groups=1, bottleneck=1, stages=2, scales=1,
        remat=False, dtype='float32')
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
