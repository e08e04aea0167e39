r"""MAXIM's first stage learns the blur of a shaking camera.

GoPro's blur, on which MAXIM was trained, is an average of frames. A photo taken
by hand shows the path of the camera: loops and double images.

  python -m experiments.release.train_shake --photos=DIR --gopro=GOPRO_Large \
      --blurred=DIR --about=experiments/release/shake.json --workdir=runs/shake

makes pairs of that kind in linear light, trains this config on them, and writes
the model `maxim-shake`. The config alone, on the pairs that the program made:

  python -m experiments.train --config=configs/maxim_shake.py \
      --config.data.test.root=GOPRO_Large --workdir=runs/shake/run

Half of the crops have camera shake. GoPro's pairs, and results of `maxim-2` for
blurred pictures without sharp originals, preserve what the network can already
do. All inputs get noise and JPEG. The rate is low: 500 steps with 1e-4 on crops
of 128 pixels lost 3 dB on GoPro.
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=1_000, batch_size=1, log_every=20, save_every=100,
      tensorboard=False)
  config.method = dict(
      name='supervised', loss='l1 + 0.05*fft_l1', over_scales='sum',
      pyramid='nearest', ema=0.99, accumulate=1, init_from=dict(path='maxim-1'),
      freeze=())
  config.nets = dict(net=dict(dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=3e-5, schedule='cosine', warmup_steps=50, b2=0.999,
      end_lr=1e-6, weight_decay=1e-4, clip_norm=1.0))
  # Three sets of 300 shaken photos count nearly as often as all others.
  config.data = dict(
      train=common.prepared_mixture(
          'runs/shake/pixels', trajectory=1, camera_shake=1, long=1, gopro=40,
          teacher_0=32),
      test=dict(name='gopro', root='data/gopro', subset='blur', split='test'),
      loader=dict(backend='threads', crop=192, progressive=()))
  config.augment = dict(preset='flips', rotate=1.0, identity=0.05,
                        noise=2 / 255, jpeg=0.5, quality=(80, 100))
  config.validate = dict(pictures=2, crop=512)
  if common.is_debug(arg):
    common.use_debug_run(config)
    # Not the bundled network: its steps take minutes to compile.
    config.method.init_from.path = None
    config.nets.net = common.tiny_maxim(groups=1)
    config.validate.pictures = 1
  return config
