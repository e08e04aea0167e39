r"""Coarse-to-fine network on a folder of sharp photos, blurred while training.

  python -m experiments.train --config=configs/multiscale_photos.py \
      --config.data.train.root=DIR_OF_PHOTOS --workdir=runs/photos

Each crop gets a new blur in each step: a moving camera and a moving object,
averaged through gamma 2.2. The test set is the built-in pictures.

  ...multiscale_photos.py:small   for CPUs: 16 channels, half an hour on two
                                  cores. Motion of up to 25 pixels, an average
                                  of stored values as in GoPro's subset `blur`,
                                  then JPEG. Half of the motion follows random
                                  paths, half is straight.
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(total_steps=100_000, batch_size=16)
  common.use_coarse_to_fine(config, pyramid='deepdeblur_pytorch', loss='l1')
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
    # flips make half of the lines vertical.
    config.data.blur = dict(
        kind='mixture', parts=(
            dict(kind='any', weights=(1.0, 0.0, 0.0, 0.0), gamma=1.0),
            dict(kind='line', length=(5.0, 21.0), angle=(0.0, 0.0), gamma=1.0,
                 border='zero')),
        camera=dict(read=(0.0, 0.005), quality=(75, 100), bits=8))
    config.data.loader.update(backend='threads', crop=128)
  if common.is_debug(arg, 'small'):
    common.use_debug_run(config)
    config.nets.net.update(scales=1, depth=4, features=4)
  return config
