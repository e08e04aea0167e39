r"""Coarse-to-fine network on REDS, as in the authors' later PyTorch code.

  python -m experiments.train --config=configs/multiscale_reds.py \
      --config.data.train.root=DIR/REDS --workdir=runs/reds_k3

L1 over three scales, track blur without compression. Their README reports
32.89 dB and an SSIM (scikit-image's) of 0.9207 on the 3000 frames of val (their
numbers, not ours). We have not trained it to the end yet.
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=300_000, batch_size=16)     # 200 epochs of 24 000 pairs
  common.use_coarse_to_fine(config, pyramid='deepdeblur_pytorch', loss='l1')
  config.optim = dict(net=dict(
      name='adam', lr=1e-4, schedule='step', boundaries=(0.5, 0.75, 0.9),
      factor=0.5, warmup_steps=0, clip_norm=0.0))
  train, test = common.train_and_test(
      'reds', root='data/REDS', track='blur', splits=('train', 'val'))
  config.data = dict(train=train, test=test, loader=dict(
      backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='deepdeblur_pytorch')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_debug_run(config)
    config.nets.net.update(scales=1, depth=4, features=4)
  return config
