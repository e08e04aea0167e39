r"""NAFNet-32 and -64 on GoPro (Chen et al., ECCV 2022).

  python -m experiments.train --config=configs/nafnet_gopro.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/nafnet
  python -m experiments.evaluate --workdir=runs/nafnet

The recipe of the authors' program: minus PSNR as the loss, AdamW with a cosine
from 1e-3 to 1e-7, both betas 0.9, weight decay 1e-3, gradients clipped to a
norm of 0.01; crops of 256, flips and turns; 200,000 steps of 32 crops. The
authors cut crops from tiles of 512 pixels, here they are from whole frames.
SCA averages over windows of 384 pixels at test time (TLC), which training does
not see: --config.nets.net.local=0 averages over whole pictures. A crop and
step of NAFNet-32 cost 0.1 TFLOP, of NAFNet-64 0.38.

  ...nafnet_gopro.py:w64   64 channels, 400,000 steps of 64 crops.

With these windows the authors report 32.87 dB and an SSIM of 0.9606 (MATLAB's)
on `blur` for 32 channels, 33.71 dB and 0.9668 for 64 (their numbers, not ours;
README of megvii-research/NAFNet at 2b4af71).
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=200_000, batch_size=32, save_every=2_000)
  config.method = dict(
      name='supervised', loss='psnr_loss', over_scales='sum', ema=0.0,
      accumulate=1)
  config.nets = dict(net=dict(
      name='nafnet', features=32, blocks=(1, 1, 1, 28), middle=1,
      up_blocks=(1, 1, 1, 1), expansion=2.0, local=384, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=1e-3, schedule='cosine', end_lr=1e-7, b1=0.9, b2=0.9,
      weight_decay=1e-3, clip_norm=0.01))
  config.data = common.gopro('blur')
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if arg == 'w64':
    config.total_steps, config.batch_size = 400_000, 64
    config.nets.net.features = 64
  if common.is_debug(arg, 'w64'):
    common.use_debug_run(config)
    config.nets.net.update(
        features=8, blocks=(1, 1), middle=1, up_blocks=(1, 1), local=48,
        dtype='float32')
  return config
