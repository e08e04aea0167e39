r"""Coarse-to-fine network on a folder of sharp photos, blurred while training.

  python -m experiments.train --config=configs/multiscale_photos.py \
      --config.data.train.root=DIR_OF_PHOTOS --workdir=runs/photos

Each crop gets a new blur in each step: a moving camera and a moving object,
averaged through gamma 2.2. Tested on the built-in pictures.

configs/multiscale_photos.py:small is for CPUs: 16 channels, half an hour on two
cores; motion of up to 25 pixels, averaged as stored, as GoPro's subset `blur`
is, and then JPEG: half of it along random paths, half straight.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 100_000
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
      name='adam', lr=1e-4, schedule='cosine', boundaries=(), factor=0.5,
      warmup_steps=0, clip_norm=0.0))
  config.data = dict(
      train=dict(name='photos', root='data/photos'),
      test=dict(name='builtin', split='test'),
      blur=dict(kind='dynamic_scene'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=6, crop=256)
  if arg == 'small':
    config.total_steps, config.batch_size = 4_000, 4
    config.method.loss = 'psnr_loss'
    config.nets.net.update(
        depth=18, features=16, residual=True, dtype='float32')
    config.optim.net.update(lr=2e-3, clip_norm=1.0)
    # Hand-held motion, and straight lines with darkness beyond the border; the
    # flips turn half of those upright.
    config.data.blur = dict(
        kind='mixture', parts=(
            dict(kind='any', chances=(1.0, 0.0, 0.0, 0.0), gamma=1.0),
            dict(kind='line', length=(5.0, 21.0), angle=(0.0, 0.0), gamma=1.0,
                 border='zero')),
        camera=dict(gamma=1.0, read=(0.0, 0.005), quality=(75, 100), bits=8))
    config.data.loader.update(backend='threads', crop=128)
  if common.is_debug(arg, 'small'):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.nets.net.update(scales=1, depth=4, features=4)
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
