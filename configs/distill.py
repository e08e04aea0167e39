r"""A student of 0.9 million parameters learns from a run of any network.

  python -m experiments.train --config=configs/distill.py \
      --config.method.teacher.path=runs/gopro \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/student

The student is a small NAFNet, a thirteenth of the coarse-to-fine network of
configs/multiscale_gopro.py. It learns from the sharp pictures and, as much,
from what the teacher makes of the blurry ones. The teacher's network is read
from its run, and its weights stay with the student's checkpoint; put the
network into nets.teacher too if the student's run shall stand without that
folder. Features: method.layers, pairs of layers such as
(('encode_0_00','scale_0/block_18'),), and method.layers_weight.

configs/distill.py:small is for CPUs: a student of a twelfth of the parameters
of configs/fusion_attention.py:small, which is its teacher, on the same folder
of pairs side by side (--config.data.train.root=DIR).
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 200_000
  config.batch_size = 16
  config.log_every = 100
  config.save_every = 2_000
  config.tensorboard = True
  config.method = dict(
      name='distill', teacher=dict(path='runs/gopro', which='last', role=''),
      loss='l1', loss_weight=1.0, output='l1', output_weight=1.0, layers=(),
      layers_weight=0.0, pyramid='deepdeblur_pytorch', ema=0.0)
  config.nets = dict(net=dict(
      name='nafnet', features=24, blocks=(1, 2, 4), middle=1,
      up_blocks=(1, 1, 1), expansion=2.0, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=1e-3, schedule='cosine', b2=0.9, weight_decay=1e-3,
      clip_norm=0.01, warmup_steps=0, end_lr=1e-7))
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
    config.method.update(loss='psnr_loss', output='psnr_loss')
    config.nets.net.update(
        features=8, blocks=(1, 1, 2), middle=0, up_blocks=(1, 1, 2),
        dtype='float32')
  if common.is_debug(arg, 'small'):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.method.teacher.path = None   # by chance
    config.nets.net = dict(name='single_scale', blocks=0, features=2)
    config.nets.teacher = dict(name='single_scale', blocks=0, features=4)
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
