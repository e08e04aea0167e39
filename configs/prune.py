r"""Half of the channels of a trained network, chosen by norm, and trained on.

  python -m experiments.train --config=configs/prune.py \
      --config.method.init_from.path=runs/gopro \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/thin

nets.net is the network as it shall become: that of the run (here of
configs/multiscale_gopro.py) but for its features. Half as many make a quarter
of the parameters and of the multiplications.

configs/prune.py:same keeps all channels; --config.method.share=0.8 then makes
four fifths of the weights zero, the smallest, and keeps them so: a sparse
network, for devices that gain by it.

configs/prune.py:int8 makes the convolutions int8 and learns on through the
rounding; with --config.method.learn=False --config.total_steps=200 it only
looks at 200 batches, to know the ranges.

configs/prune.py:small is for CPUs: half of the channels of a run of
configs/fusion_attention.py:small, on the same folder of pairs side by side;
experiments.ablate --name=thinner_small makes the table from 0 to 75 %.
configs/prune.py:int8_small makes that run int8 and learns on.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 50_000
  config.batch_size = 16
  config.log_every = 100
  config.save_every = 1_000
  config.tensorboard = True
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='prune', init_from=dict(path='runs/gopro', which='last', role=''),
      share=0.0, per_layer=False, loss='l1', over_scales='sum',
      pyramid=pyramid, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='multiscale', scales=3, depth=120, features=32, kernel_size=5,
      pyramid=pyramid, residual=False, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adam', lr=1e-4, schedule='cosine', clip_norm=0.0))
  root = ml_collections.FieldReference('data/GOPRO_Large')
  subset = ml_collections.FieldReference('blur')
  config.data = dict(
      train=dict(name='gopro', root=root, subset=subset, split='train'),
      test=dict(name='gopro', root=root, subset=subset, split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if arg == 'same':
    config.nets.net.features = 64
    config.method.share = 0.5
  if arg in ('int8', 'int8_small'):
    config.nets.net.update(features=64, dtype='float32')
    config.method = dict(
        name='quantize',
        init_from=dict(path='runs/gopro', which='last', role=''),
        loss='l1', learn=True, over_scales='sum', pyramid=pyramid)
    config.optim.net.lr = 1e-5
  if arg in ('small', 'int8_small'):
    common.use_pairs(config)
    config.method.loss = 'psnr_loss'
    config.nets.net = dict(
        name='fusion', features=8 if arg == 'small' else 16, blocks=3,
        attention='none', pyramid=pyramid, dtype='float32')
    config.optim.net.lr = 1e-3 if arg == 'small' else 1e-4
    config.total_steps = 1_500 if arg == 'small' else 300
    config.data.loader.progressive = (
        ((750, 128, 2),) if arg == 'small' else ())
  if common.is_debug(arg, 'same', 'int8', 'small', 'int8_small'):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.method.init_from.path, config.method.share = None, 0.5   # by chance
    config.nets.net.update(scales=1, depth=4, features=4, dtype='float32')
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
