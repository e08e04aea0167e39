r"""Coarse-to-fine network on GoPro, as in the authors' later PyTorch code.

  python -m experiments.train --config=configs/multiscale_gopro.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/gopro_k3
  python -m experiments.ablate --name=k_scales --workdir=runs/k_scales

configs/multiscale_gopro.py:prepared trains on a set that was decoded once by
experiments.prepare_data (data.train.root) and tests on the folders
(data.test.root), :tfds does both on the TFDS builder gopro_large.

L1 over three scales, subset blur_gamma. Their README reports 30.40 dB and an
SSIM (scikit-image's kind) of 0.9018 for 131 000 steps (their number, not ours);
about 4.2e18 FLOP. Not trained to the end by us yet.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 131_000      # 1000 epochs of 2103 pairs
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
  # One value for both: overriding either root or subset changes the other.
  root = ml_collections.FieldReference('data/GOPRO_Large')
  subset = ml_collections.FieldReference('blur_gamma')
  config.data = dict(
      train=dict(name='gopro', root=root, subset=subset, split='train'),
      test=dict(name='gopro', root=root, subset=subset, split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='deepdeblur_pytorch')
  config.validate = dict(pictures=8, crop=512)
  if arg == 'prepared':             # experiments.prepare_data --out=data/gopro
    config.data.train = dict(name='prepared', root='data/gopro')
  if arg == 'tfds':                 # experiments.prepare_data --tfds
    folder = ml_collections.FieldReference('data/tfds')
    builder = ml_collections.FieldReference('gopro_large/blur_gamma')
    config.data.train = dict(
        name='tfds', dataset=builder, data_dir=folder, split='train')
    config.data.test = dict(
        name='tfds', dataset=builder, data_dir=folder, split='test')
  if common.is_debug(arg, 'prepared', 'tfds'):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.nets.net.update(scales=2, depth=8, features=4)
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
