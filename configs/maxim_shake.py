r"""MAXIM's first stage learns the blur of a shaking camera.

GoPro's blur, which MAXIM knows, is an average of frames. A photo that was taken
by hand has the path of the camera: loops and double images.

  python -m experiments.release.train_shake --photos=DIR --gopro=GOPRO_Large \
      --blurred=DIR --about=experiments/release/shake.json --workdir=runs/shake

makes pairs of that kind in linear light, trains this config on them, and writes
a model `maxim-shake` (experiments/release/train_shake.py). The config alone,
on what that has made:

  python -m experiments.train --config=configs/maxim_shake.py \
      --config.data.test.root=GOPRO_Large --workdir=runs/shake/run

Half of the crops are shaken; GoPro's pairs, and what `maxim-2` makes of blurred
pictures without a sharp original, keep what the network knew. All lose what
noise and JPEG take. The rate is low: 1e-4 for 500 crops of 128 pixels lost 3 dB
on GoPro.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 1_000
  config.batch_size = 1
  config.log_every = 20
  config.save_every = 100
  config.tensorboard = False
  config.method = dict(
      name='supervised', loss='l1 + 0.05*fft_l1', over_scales='sum',
      pyramid='nearest', ema=0.99, accumulate=1, init_from=dict(path='maxim-1'),
      freeze=())
  config.nets = dict(net=dict(dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=3e-5, schedule='cosine', warmup_steps=50, b2=0.999,
      end_lr=1e-6, weight_decay=1e-4, clip_norm=1.0))
  pixels = lambda name, weight: dict(
      name='prepared', root=f'runs/shake/pixels/{name}', weight=weight)
  # Three sets of 300 shaken photos count nearly as often as all others.
  config.data = dict(
      train=dict(name='mixture', sources=dict(
          trajectory=pixels('trajectory', 1),
          camera_shake=pixels('camera_shake', 1),
          long=pixels('long', 1), gopro=pixels('gopro', 40),
          taught_0=pixels('taught_0', 32))),
      test=dict(name='gopro', root='data/gopro', subset='blur', split='test'),
      loader=dict(backend='threads', crop=192, progressive=()))
  config.augment = dict(preset='flips', rotate=1.0, identity=0.05,
                        noise=2 / 255, jpeg=0.5, quality=(80, 100))
  config.validate = dict(pictures=2, crop=512)
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    # A network of its own: the steps of a bundled one take minutes to compile.
    config.method.init_from.path = None
    config.nets.net = dict(
        name='maxim', features=4, depth=1, groups=1, bottleneck=1, stages=1,
        scales=1)
    config.data.loader.crop = 32
    config.validate = dict(pictures=1, crop=64)
  return config
