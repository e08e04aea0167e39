r"""MAXIM's first stage learns the blur of a shaking camera.

GoPro's blur, which MAXIM knows, is an average of frames. A photo that was taken
by hand has the path of the camera: loops and double images. Pairs of that kind,
in linear light, and decoded once:

  for kind in trajectory camera_shake; do
    python -m experiments.make_blur --photos=DIR --kind=$kind --seed=3 \
        --option=gamma=2.2 --out=runs/shake/$kind
    python -m experiments.prepare_data --source=gopro --root=runs/shake/$kind \
        --split=train --subset=blur_gamma --out=runs/shake/pixels/$kind
  done

with --option=size=41 for `trajectory`, --option=rotation=0.04 and
--option=roll=0.03 for `camera_shake`, and a third set `long`, of kind
trajectory with size=63 and fractions=(0.5, 1.0). GoPro's pairs and others'
(`prepare_data` again) keep what the network knew. Then

  python -m experiments.train --config=configs/maxim_shake.py \
      --workdir=runs/shake/run
  python -m experiments.evaluate_shake --photos=OTHERS --kernels=FILE.npz \
      --models=maxim-1,runs/shake/run

Half of the crops are shaken. All lose what noise and JPEG take.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 800
  config.batch_size = 2
  config.log_every = 20
  config.save_every = 100
  config.tensorboard = False
  config.method = dict(
      name='supervised', loss='l1 + 0.05*fft_l1', over_scales='sum',
      pyramid='nearest', ema=0.99, accumulate=1, start=dict(path='maxim-1'),
      freeze=())
  config.nets = dict(net=dict(dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=1e-4, schedule='cosine', warmup_steps=50, b2=0.99,
      end_lr=1e-6, weight_decay=1e-4, clip_norm=1.0))
  pixels = lambda name, times: dict(
      name='prepared', root=f'runs/shake/pixels/{name}', times=times)
  # Three sets of shake count as often as all others together.
  config.data = dict(
      train=dict(name='joined', sources=dict(
          trajectory=pixels('trajectory', 1), shake=pixels('camera_shake', 1),
          long=pixels('long', 1), gopro=pixels('gopro', 40),
          taught=pixels('taught', 16), pairs=pixels('pairs', 1))),
      test=dict(name='gopro', root='data/gopro', subset='blur', split='test'),
      loader=dict(loader='threads', crop=128, progressive=()))
  config.augment = dict(preset='flips', rotate=1.0, identity=0.05,
                        noise=2 / 255, jpeg=0.5, quality=(80, 100))
  config.validate = dict(pictures=2, crop=512)
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps = 2
    # A network of its own: the steps of a bundled one take minutes to compile.
    config.method.start.path = None
    config.nets.net = dict(
        name='maxim', features=4, depth=1, groups=1, bottleneck=1, stages=1,
        scales=1)
    config.data.loader.crop = 32
    config.validate = dict(pictures=1, crop=64)
  return config
