r"""The student `small`: MAXIM's first stage, made small step by step.

  python -m experiments.small_model --photos=DIR --frames=DIR_OR_VIDEO,... \
      --gopro=GOPRO_Large --pairs=DIR --blurred=DIR,... --teacher=maxim-2 \
      --about=FILE.json --workdir=runs/small

makes the pairs, trains the three parts of this config in turn, and writes the
weights and their card (experiments/small_model.py). A part alone, on what that
has made:

  python -m experiments.train --config=configs/small.py:groups \
      --config.data.train.sources.gopro.root=runs/small/pixels/gopro ... \
      --workdir=runs/small/groups

MAXIM's first stage on a picture of half the size (`maxim-half`) has 6.1 million
parameters. Its matrices over positions lose little by a rank of 16, and the
second block of its bottleneck can be folded into the layers behind it: 4.3
million. The rest is taken away while it learns:

  ...small.py:groups   the second of two groups in every block fades
  ...small.py:widths   of 128 channels at the lowest level 20 fade
  ...small.py          what is left goes on learning: 2.2 million parameters,
                       a tenth of MAXIM-3S

It learns from sharp pictures, and from its teacher where there are none: a
third of the crops are blurred photographs without a sharp original, and what
`maxim-2` makes of them stands in for it. GoPro's and other pairs, photos that a
moving camera and a moving object blurred, photos blurred by one kernel, and
averaged film have true targets. A high rate forgets in 200 steps what the
teacher knew: 2e-4 brings 27.4 dB on GoPro to 24.8, 3e-5 does not. CPUs with
half precision are twice as quick by oneDNN:

  export XLA_FLAGS="--xla_cpu_use_onednn=true
      --xla_cpu_experimental_onednn_custom_call=true"
"""

import ml_collections

from configs import common

# Of each part: the network, what fades in it, its steps, rate and schedule.
WHOLE = dict(name='maxim', stages=1, scales=1, reduce=2, rank=16, bottleneck=1,
             dtype='bfloat16')
PARTS = {
    'groups': dict(net=WHOLE, fade=dict(groups=1), steps=1_800,
                   optim=dict(lr=3e-5, schedule='constant')),
    'widths': dict(net=WHOLE | dict(groups=1), fade=dict(widest=108),
                   steps=1_000, optim=dict(lr=3e-5, schedule='constant')),
    '': dict(net=WHOLE | dict(groups=1, widest=108), fade=None, steps=4_000,
             optim=dict(lr=5e-5, schedule='cosine', end_lr=1e-6)),
}


def get_config(arg=None):
  is_debug = common.is_debug(arg, *PARTS)
  part = PARTS['' if is_debug else arg or '']
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = part['steps']
  config.batch_size = 1
  config.log_every = 100
  config.save_every = 200
  config.tensorboard = False
  config.method = dict(
      name='supervised', start=dict(path='runs/small/start.npz'),
      loss='l1 + 0.05*fft_l1', over_scales='sum', pyramid='nearest', ema=0.99)
  if part['fade']:
    config.method.fade = dict(net=part['fade'], steps=part['steps'])
  config.nets = dict(net=part['net'])
  config.optim = dict(net=dict(
      name='adamw', warmup_steps=100, b2=0.999, weight_decay=1e-4,
      clip_norm=1.0, **part['optim']))
  pixels = lambda name, times: dict(
      name='prepared', root=f'runs/small/pixels/{name}', times=times)
  # Few large frames count as often as makes the shares above.
  sources = dict(
      taught=pixels('taught', 48), gopro=pixels('gopro', 60),
      film=pixels('film', 6), scene=pixels('scene', 1),
      kernel=pixels('kernel', 1), pairs=pixels('pairs', 1))
  config.data = dict(
      train=dict(name='joined', sources=sources),
      test=dict(name='gopro', root='data/gopro', subset='blur', split='test'),
      loader=dict(loader='threads', crop=256, progressive=()))
  config.augment = dict(preset='flips', rotate=1.0, identity=0.08,
                        noise=2 / 255, jpeg=0.3, quality=(60, 100))
  config.validate = dict(pictures=4, crop=512)
  if is_debug:
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 64
    config.method.start.path = None    # by chance
    config.nets = dict(net=dict(
        name='maxim', features=4, depth=1, bottleneck=1, stages=1, scales=1,
        reduce=2, rank=2))
    config.method.fade = dict(net=dict(groups=1), steps=2)
    config.validate = dict(pictures=2, crop=64)
  return config
