r"""Coarse-to-fine network on GoPro, as in the authors' later PyTorch code.

  python -m experiments.train --config=configs/multiscale_gopro.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/gopro_k3
  python -m experiments.ablate --name=k_scales --workdir=runs/k_scales

L1 over three scales, subset blur_gamma. Their README reports 30.40 dB and an
SSIM (scikit-image's) of 0.9018 for 131 000 steps (their number, not ours);
about 4.2e18 FLOP. We have not trained it to the end yet.

  ...multiscale_gopro.py:prepared   trains on a set decoded once by
                                    experiments.prepare_data (data.train.root),
                                    tests on the folders (data.test.root)
  ...multiscale_gopro.py:tfds       both on the TFDS builder gopro_large
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=131_000, batch_size=16)     # 1000 epochs of 2103 pairs
  common.use_coarse_to_fine(config, pyramid='deepdeblur_pytorch', loss='l1')
  config.optim = dict(net=dict(
      name='adam', lr=1e-4, schedule='step', boundaries=(0.5, 0.75, 0.9),
      factor=0.5, warmup_steps=0, clip_norm=0.0))
  config.data = common.gopro('blur_gamma')
  config.augment = dict(preset='deepdeblur_pytorch')
  config.validate = dict(pictures=8, crop=512)
  if arg == 'prepared':             # experiments.prepare_data --out=data/gopro
    config.data.train = dict(name='prepared', root='data/gopro')
  if arg == 'tfds':                 # experiments.prepare_data --tfds
    config.data.train, config.data.test = common.train_and_test(
        'tfds', dataset='gopro_large/blur_gamma', data_dir='data/tfds')
  if common.is_debug(arg, 'prepared', 'tfds'):
    common.use_debug_run(config)
    config.nets.net.update(depth=12, features=4)
  return config
