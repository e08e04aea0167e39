r"""The student `small`: learns from MAXIM and from sharp pictures.

  python -m experiments.small_model --photos=DIR --frames=DIR_OR_VIDEO,... \
      --gopro=GOPRO_Large --pairs=DIR --blurred=DIR,... --teacher=maxim-2 \
      --about=FILE.json --workdir=runs/small

makes the pairs, trains this config on them, and writes the weights and their
card (experiments/small_model.py). Trained alone, on what that has made:

  python -m experiments.train --config=configs/small.py \
      --config.data.train.sources.gopro.root=runs/small/pixels/gopro ... \
      --workdir=runs/small/run

MAXIM's first stage on a picture of half the size, with two of its three levels
and one of its two groups: 1,735,827 parameters, less than a tenth of MAXIM-3S.
It begins with the weights of its teacher where it has such layers
(models/maxim_student.py), and learns from what `maxim-half`, the same stage as
a whole, makes of every crop, and from the sharp pictures. Three tenths of the
crops are blurred photographs without a sharp original; what `maxim-2` makes of
them stands in for it. GoPro's and other pairs, photos that a moving camera and
a moving object blurred, photos blurred by one kernel, and averaged film have
true targets. Of all, 15 % are sharp and stay as they are, and 30 % have lost
what JPEG loses. CPUs with half precision are twice as quick by oneDNN:

  export XLA_FLAGS="--xla_cpu_use_onednn=true
      --xla_cpu_experimental_onednn_custom_call=true"

  ...small.py:truth   the same student, taught by the targets alone
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 8_000
  config.batch_size = 2
  config.log_every = 100
  config.save_every = 250
  config.tensorboard = False
  config.method = dict(
      name='distill', teacher=dict(path='maxim-half'),
      start=dict(path='runs/small/start.npz'), loss='l1 + 0.05*fft_l1',
      loss_weight=0.5, output='l1 + 0.05*fft_l1', output_weight=1.0,
      layers=tuple((f'stage_0_decoder_block_{i}',) * 2 for i in range(2)),
      layers_weight=0.1, over_scales='sum', pyramid='nearest', ema=0.995)
  config.nets = dict(net=dict(
      name='maxim', stages=1, scales=1, depth=2, groups=1, reduce=2,
      dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=4e-4, schedule='cosine', warmup_steps=100, b2=0.99,
      weight_decay=1e-4, clip_norm=1.0))
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
  config.augment = dict(preset='flips', rotate=1.0, identity=0.15,
                        noise=2 / 255, jpeg=0.3, quality=(60, 100))
  config.validate = dict(pictures=4, crop=512)
  if arg == 'truth':
    del (config.method.teacher, config.method.loss_weight,
         config.method.output, config.method.output_weight,
         config.method.layers, config.method.layers_weight)
    config.method.name = 'supervised'
  if common.is_debug(arg, 'truth'):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.update(crop=64, progressive=())
    config.method.start.path = config.method.teacher.path = None    # by chance
    config.method.layers = (('stage_0_decoder_block_0',) * 2,)
    tiny = dict(name='maxim', features=4, depth=1, groups=1, bottleneck=1,
                stages=1, scales=1, reduce=2)
    config.nets = dict(net=tiny, teacher=tiny)
    config.validate = dict(pictures=2, crop=64)
  return config
