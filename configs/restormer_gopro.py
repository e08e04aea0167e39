r"""Restormer on GoPro (Zamir et al., CVPR 2022).

  python -m experiments.train --config=configs/restormer_gopro.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/restormer
  python -m experiments.evaluate --workdir=runs/restormer

The recipe of the authors' program: L1, AdamW with weight decay 1e-4, gradients
clipped to a norm of 0.01, 3e-4 for 92,000 steps and then a cosine to 1e-6;
flips and turns. Crops grow from 128 to 384 pixels while batches shrink from 64
to 8 (progressive learning, section 4 of the paper); 300,000 steps. A crop of
256 and step costs 0.85 TFLOP.

The authors report 32.92 dB on `blur`, and 33.57 dB where channels attend to
each other in squares of 384 pixels at test time (TLC: Chu et al., ECCV 2022),
as here. --config.nets.net.local=0 attends over whole pictures. (Their numbers,
not ours; READMEs of swz30/Restormer at df766d5 and of megvii-research/TLC.)
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=300_000, batch_size=64, save_every=2_000)
  config.method = dict(
      name='supervised', loss='l1', over_scales='sum', ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='restormer', features=48, blocks=(4, 6, 6, 8), refinement=4, heads=1,
      expansion=2.66, local=384, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=3e-4, schedule='cosine', boundaries=(92 / 300,),
      end_lr=1e-6, b1=0.9, b2=0.999, weight_decay=1e-4, clip_norm=0.01))
  config.data = common.gopro('blur')
  config.data.loader.update(crop=128, progressive=(
      (92_000, 160, 40), (156_000, 192, 32), (204_000, 256, 16),
      (240_000, 320, 8), (276_000, 384, 8)))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_debug_run(config)
    config.data.loader.progressive = ()
    config.nets.net.update(
        features=8, blocks=(1, 1), refinement=1, local=48, dtype='float32')
  return config
