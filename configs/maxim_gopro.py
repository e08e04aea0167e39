r"""MAXIM-3S on GoPro (Tu et al., CVPR 2022).

  python -m experiments.train --config=configs/maxim_gopro.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/maxim

Charbonnier (epsilon 1e-3) plus 0.1 times the L1 of the spectra, over three
stages of three sizes each: sections 3.4 and 4.1. Adam with a cosine from 2e-4
to 1e-7, crops of 256, flips and turns. The paper reports 32.86 dB and an SSIM
of 0.961 on `blur` (its numbers, not ours). Its authors published no training
program. The number of steps, the batch size and the scale of the spectrum are
our choice (unnormalized as in MIMO-UNet, from which the weight 0.1 comes), and
their MixUp is left out. A crop and step cost 0.9 TFLOP, 1.2 with remat.
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=600_000, batch_size=16, save_every=2_000)
  config.method = dict(
      name='supervised', loss='charbonnier + 0.1*fft_l1', over_scales='sum',
      pyramid='nearest', all_stages=True, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='maxim', features=32, depth=3, groups=2, bottleneck=2, stages=3,
      scales=3, remat=True, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adam', lr=2e-4, schedule='cosine', end_lr=1e-7))
  config.data = common.gopro('blur')
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_debug_run(config)
    config.nets.net.update(
        features=4, depth=1, groups=1, bottleneck=1, stages=2, scales=1,
        remat=False, dtype='float32')
  return config
