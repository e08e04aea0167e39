r"""Trains a bundled model further on pairs of your own.

  python -m experiments.train --config=configs/finetune.py \
      --config.data.train.blur=DIR --config.data.train.sharp=DIR \
      --config.data.test.blur=DIR --config.data.test.sharp=DIR \
      --workdir=runs/mine
  deblur restore photo.jpg -m runs/mine

The pictures of a pair have the same name in both folders. A tenth of the inputs
is sharp, so that the network keeps sharp pictures. 800 steps of maxim-1 take an
hour of one CPU core, and 4.5 GB.

  ...finetune.py:side_by_side   files that hold both pictures, the sharp one on
                                the left; --config.data.train.root=DIR. The last
                                tenth is the test set.
  ...finetune.py:pairs_by_name  one folder with 1_blur.jpg and 1_sharp.png, of
                                which the last tenth is the test set. Other
                                names: --config.data.train.blur='{}_b', and so
                                for sharp and for data.test.

--config.method.init_from.path=NAME starts from another bundled model (`deblur
models`), a run's folder, or the authors' .npz of MAXIM. The network is that of
the model; the keys of nets.net replace its own.
--config.method.freeze="('stage_0_encoder_block_*',)" keeps parameters
unchanged.
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=800, batch_size=2, log_every=20, save_every=100,
      tensorboard=False)
  config.method = dict(
      name='supervised', loss='l1 + 0.05*fft_l1', over_scales='sum', ema=0.99,
      accumulate=1, init_from=dict(path='maxim-1'), freeze=())
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
    config.data.train, config.data.test = common.side_by_side()
  elif arg == 'pairs_by_name':
    config.data.train, config.data.test = common.last_tenth(
        'pairs_by_name', blur='{}_blur', sharp='{}_sharp')
  if common.is_debug(arg, 'side_by_side', 'pairs_by_name'):
    common.use_debug_run(config)
    config.validate.pictures = 1
    # Not the bundled network: its steps take minutes to compile.
    config.method.init_from.path = None
    config.nets.net = common.tiny_maxim(groups=1)
  return config
