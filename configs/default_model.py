r"""The model that comes with the package: small, for photos of any blur.

  python -m experiments.default_model --photos=DIR --frames=DIR_OR_VIDEO,... \
      --gopro=GOPRO_Large --pairs=DIR --about=FILE.json --workdir=runs/default

makes the pairs, trains this config on them and then goes on with that of
:careful, and writes the weights and their card (experiments/default_model.py).
Trained alone, on what that has made:

  python -m experiments.train --config=configs/default_model.py \
      --config.data.train.sources.gopro.root=runs/default/pixels/gopro ... \
      --workdir=runs/default/run

  ...default_model.py:careful   goes on from runs/default/run, or from
                                --config.method.start.path, with twice as many
                                crops that are sharp already or lost by JPEG

Three sizes in and out (MIMO-UNet without attention, on unshuffled pixels:
1,671,282 parameters). Three tenths of the crops are GoPro's, as many photos
that a moving camera and a moving object blurred, a fifth photos blurred by one
kernel, the rest others' pairs, and frames of film, averaged. Of all, 15 % are
sharp and shall stay as they are (:careful 30 %), and 30 % lost what JPEG loses
(:careful 50 %). CPUs with half
precision are half as quick again by oneDNN:

  export XLA_FLAGS="--xla_cpu_use_onednn=true
      --xla_cpu_experimental_onednn_custom_call=true"
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 20_000
  config.batch_size = 4
  config.log_every = 100
  config.save_every = 1_000
  config.tensorboard = False
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='supervised', loss='l1 + 0.05*fft_l1', over_scales='sum',
      pyramid=pyramid, ema=0.999, accumulate=1)
  config.nets = dict(net=dict(
      name='fusion', features=24, blocks=3, unshuffle=2, attention='none',
      pyramid=pyramid, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adamw', lr=1e-3, schedule='cosine', warmup_steps=100, b2=0.9,
      weight_decay=1e-3, clip_norm=1.0))
  pixels = lambda name, times: dict(
      name='prepared', root=f'runs/default/pixels/{name}', times=times)
  # Of each as many as make the shares above: film has few frames, large ones.
  sources = dict(
      scene=pixels('scene', 1), kernel=pixels('kernel', 1),
      film=pixels('film', 5), gopro=pixels('gopro', 120),
      pairs=pixels('pairs', 1))
  config.data = dict(
      train=dict(name='joined', sources=sources),
      test=dict(name='gopro', root='data/gopro', subset='blur', split='test'),
      loader=dict(loader='threads', crop=96,
                  progressive=((15_000, 160, 2),)))
  config.augment = dict(preset='flips', rotate=1.0, identity=0.15,
                        noise=2 / 255, jpeg=0.3, quality=(60, 100))
  config.validate = dict(pictures=4, crop=512)
  if arg == 'careful':
    config.total_steps = 30_000
    config.method.start = dict(path='runs/default/run')
    config.optim.net.lr = 5e-4
    config.data.loader.progressive = ((22_500, 160, 2),)
    config.augment.update(identity=0.3, jpeg=0.5)
  if common.is_debug(arg, 'careful'):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.update(crop=32, progressive=())
    config.nets.net.update(features=4, blocks=0, dtype='float32')
    config.validate = dict(pictures=2, crop=64)
  return config
