r"""The student `small`: learns from MAXIM and from sharp pictures.

  python -m experiments.small_model --photos=DIR --frames=DIR_OR_VIDEO,... \
      --gopro=GOPRO_Large --pairs=DIR --blurred=DIR,... --teacher=maxim-2 \
      --about=FILE.json --workdir=runs/small

makes the pairs, trains this config on them, and writes the weights and their
card (experiments/small_model.py). Trained alone, on what that has made:

  python -m experiments.train --config=configs/small.py \
      --config.data.train.sources.gopro.root=runs/small/pixels/gopro ... \
      --workdir=runs/small/run

Three sizes in and out (MIMO-UNet without attention, on unshuffled pixels:
1,671,282 parameters, a thirteenth of its teacher). Three tenths of the crops
are blurred photographs without a sharp original: their targets are what the
teacher makes of them. GoPro's and other pairs, photos that a moving camera and
a moving object blurred, photos blurred by one kernel, and averaged film have
true targets. Of all, 15 % are sharp and stay as they are, and 30 % have lost
what JPEG loses. CPUs with half precision are half as quick again by oneDNN:

  export XLA_FLAGS="--xla_cpu_use_onednn=true
      --xla_cpu_experimental_onednn_custom_call=true"
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 12_000
  config.batch_size = 3
  config.log_every = 100
  config.save_every = 500
  config.tensorboard = False
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='supervised', loss='l1 + 0.05*fft_l1', over_scales='sum',
      pyramid=pyramid, ema=0.999, accumulate=1)
  config.nets = dict(net=dict(
      name='fusion', features=24, blocks=3, unshuffle=2, attention='none',
      pyramid=pyramid, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=5e-4, schedule='cosine', warmup_steps=200, b2=0.9,
      weight_decay=1e-3, clip_norm=1.0))
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
      loader=dict(loader='threads', crop=128,
                  progressive=((9_000, 192, 2),)))
  config.augment = dict(preset='flips', rotate=1.0, identity=0.15,
                        noise=2 / 255, jpeg=0.3, quality=(60, 100))
  config.validate = dict(pictures=4, crop=512)
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.update(crop=32, progressive=())
    config.nets.net.update(features=4, blocks=0, dtype='float32')
    config.validate = dict(pictures=2, crop=64)
  return config
