r"""Coarse-to-fine network on REDS, as in the authors' later PyTorch code.

  python -m experiments.train --config=configs/multiscale_reds.py \
      --config.data.train.root=DIR/REDS --workdir=runs/reds_k3

L1 over three scales, track blur without compression. Their README reports
32.89 dB and an SSIM (scikit-image's kind) of 0.9207 on the 3000 frames of val
(their number, not ours). Not trained to the end by us yet.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 300_000      # 200 epochs of 24 000 pairs
  config.batch_size = 16
  config.log_every = 100
  config.save_every = 1_000
  config.tensorboard = True
  # One value for both: targets and network live on one grid.
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='supervised', loss='l1', over_scales='sum',
      pyramid=pyramid, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='multiscale', scales=3, depth=120, features=64, kernel_size=5,
      pyramid=pyramid, residual=False, dtype='bfloat16',
      remat=False))
  config.optim = dict(net=dict(
      name='adam', lr=1e-4, schedule='step', boundaries=(0.5, 0.75, 0.9),
      factor=0.5, warmup_steps=0, clip_norm=0.0))
  # One value for both: overriding either root or track changes the other.
  root = ml_collections.FieldReference('data/REDS')
  track = ml_collections.FieldReference('blur')
  config.data = dict(
      train=dict(name='reds', root=root, track=track, split='train'),
      test=dict(name='reds', root=root, track=track, split='val'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='deepdeblur_pytorch')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.nets.net.update(scales=1, depth=4, features=4)
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
