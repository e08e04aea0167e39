r"""A bundled model learns on with pairs of your own.

  python -m experiments.train --config=configs/finetune.py \
      --config.data.train.blur=DIR --config.data.train.sharp=DIR \
      --config.data.test.blur=DIR --config.data.test.sharp=DIR \
      --workdir=runs/mine
  deblur restore photo.jpg -m runs/mine

Pairs have the same names in both folders. Of files that hold both pictures, the
sharp half on the left, --config=configs/finetune.py:side_by_side
--config.data.train.root=DIR takes nine tenths, and tests on the rest. A tenth
of the crops is sharp and shall stay so. The 800 steps of maxim-1 take an hour
of one CPU core, and 4.5 GB.

--config.method.init_from.path=NAME begins with another bundled model (`deblur
models`), a run's folder, or the authors' .npz of MAXIM. The network is that of
the model; what nets.net lists is changed in it.
--config.method.freeze="('stage_0_encoder_block_*',)" leaves parameters as they
are.
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
      pyramid='deepdeblur_pytorch', ema=0.99, accumulate=1,
      init_from=dict(path='maxim-1'), freeze=())
  config.nets = dict(net=dict(dtype='float32'))
  config.optim = dict(net=dict(
      name='adamw', lr=1e-4, schedule='cosine', warmup_steps=50, b2=0.99,
      end_lr=1e-6, weight_decay=1e-4, clip_norm=1.0))
  config.data = dict(
      train=dict(name='folder_pairs', blur='data/blur', sharp='data/sharp'),
      test=dict(name='folder_pairs', blur='data/test_blur',
                sharp='data/test_sharp'),
      loader=dict(backend='threads', crop=128, progressive=()))
  config.augment = dict(preset='flips', identity=0.1)
  config.validate = dict(pictures=4, crop=256)
  if arg == 'side_by_side':
    root = ml_collections.FieldReference('data/pairs')
    config.data.train, config.data.test = (
        dict(name='side_by_side', root=root, sharp_side='left', part=part)
        for part in ((0.0, 0.9), (0.9, 1.0)))
  if common.is_debug(arg, 'side_by_side'):
    common.use_builtin(config)
    config.total_steps = 2
    # A network of its own: the steps of a bundled one take minutes to compile.
    config.method.init_from.path = None
    config.nets.net = dict(
        name='maxim', features=4, depth=1, groups=1, bottleneck=1, stages=1,
        scales=1)
    config.data.loader.crop = 32
    config.validate = dict(pictures=1, crop=64)
  return config
