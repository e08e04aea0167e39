r"""A small network for videos: five frames in, the middle one out.

  python -m experiments.make_pairs --frames=DIR_OR_VIDEO --window=7 --gamma=1 \
      --out=data/film
  python -m experiments.train --config=configs/video.py --workdir=runs/video
  deblur film.mp4 -m runs/video

Details that one frame lost are often visible in its neighbours. The frames are
channels of one image, and the network itself must find the motion between them:
early fusion, as in DBN (Su et al., Deep Video Deblurring for Hand-held Cameras,
CVPR 2017), here into three sizes (MIMO-UNet without attention; 741,475
parameters). The data set may be any whose names are sequences and frames:
GoPro, REDS, or film averaged as above. The last tenth of the film is held back.

--config.nets.net.window=1 is the same network for single frames.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=20_000, batch_size=8, tensorboard=False)
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  window = ml_collections.FieldReference(5)
  config.method = dict(
      name='supervised', loss='l1', over_scales='sum', pyramid=pyramid,
      ema=0.999, accumulate=1)
  config.nets = dict(net=dict(
      name='mimo_unet', window=window, features=16, blocks=3, attention='none',
      pyramid=pyramid, dtype='float32'))
  config.optim = dict(net=dict(
      name='adamw', lr=1e-3, schedule='cosine', warmup_steps=100, b2=0.9,
      weight_decay=1e-3, clip_norm=1.0))
  film, _ = common.train_and_test('gopro', root='data/film', subset='blur')
  film |= dict(window=window)
  config.data = dict(
      train=dict(film, part=(0.0, 0.9)), test=dict(film, part=(0.9, 1.0)),
      loader=dict(backend='threads', crop=96, progressive=()))
  config.augment = dict(preset='flips', noise=2 / 255)
  config.validate = dict(pictures=4, crop=512)
  if common.is_debug(arg):
    config.nets.net.update(window=3, features=4, blocks=0)
    common.use_debug_run(config)
  return config
