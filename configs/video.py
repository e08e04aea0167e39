r"""A small network for videos: five frames in, the middle one out.

  python -m experiments.make_pairs --frames=DIR_OR_VIDEO --window=7 --gamma=1 \
      --out=data/film
  python -m experiments.train --config=configs/video.py --workdir=runs/video
  deblur film.mp4 -m runs/video

What one frame has lost its neighbours often show. They are channels of one
image, and the network itself has to find what moved where: early fusion, as in
DBN (Su et al., Deep Video Deblurring for Hand-held Cameras, CVPR 2017), here
into three sizes (MIMO-UNet without attention; 741,475 parameters). Any set will
do whose names are sequences and frames: GoPro, REDS, or film averaged as above,
of which the last tenth is held back.

--config.nets.net.window=1 is the same network for single frames.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 20_000
  config.batch_size = 8
  config.log_every = 100
  config.save_every = 1_000
  config.tensorboard = False
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  window = ml_collections.FieldReference(5)
  config.method = dict(
      name='supervised', loss='l1', over_scales='sum', pyramid=pyramid,
      ema=0.999, accumulate=1)
  config.nets = dict(net=dict(
      name='fusion', window=window, features=16, blocks=3, attention='none',
      pyramid=pyramid, dtype='float32'))
  config.optim = dict(net=dict(
      name='adamw', lr=1e-3, schedule='cosine', warmup_steps=100, b2=0.9,
      weight_decay=1e-3, clip_norm=1.0))
  root = ml_collections.FieldReference('data/film')
  subset = ml_collections.FieldReference('blur')
  film = dict(name='gopro', root=root, subset=subset, split='train',
              window=window)
  config.data = dict(
      train=dict(film, part=(0.0, 0.9)), test=dict(film, part=(0.9, 1.0)),
      loader=dict(backend='threads', crop=96, progressive=()))
  config.augment = dict(preset='flips', noise=2 / 255)
  config.validate = dict(pictures=4, crop=512)
  if common.is_debug(arg):
    config.nets.net.update(window=3, features=4, blocks=0)
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.validate = dict(pictures=2, crop=64)
  return config
