r"""Keeps half of the channels of a trained network and trains further.

  python -m experiments.train --config=configs/prune.py \
      --config.method.init_from.path=runs/gopro_k3 \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/thin

The channels with the largest norms stay. nets.net is the pruned network: that
of the run (here of configs/multiscale_gopro.py) with fewer features. Half of
the features have a quarter of the parameters and of the multiplications.

  ...prune.py:same         all channels; --config.method.share=0.8 sets the
                           smallest four fifths of the weights to zero and keeps
                           them there: a sparse network, for devices that gain
                           by it
  ...prune.py:int8         int8 convolutions, trained through the rounding; with
                           --config.method.learn=False --config.total_steps=200
                           it only measures the ranges, on 200 batches
  ...prune.py:small        for CPUs: half of the channels of a run of
                           configs/mimo_unet.py:small, on the same folder
                           of pairs side by side; experiments.ablate
                           --name=thinner_small compares 0 to 75 %
  ...prune.py:int8_small   that run in int8, trained through the rounding
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = common.experiment(total_steps=50_000, batch_size=16)
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='prune', init_from=dict(path='runs/gopro_k3', which='last', role=''),
      share=0.0, per_layer=False, loss='l1', over_scales='sum',
      pyramid=pyramid, ema=0.0, accumulate=1)
  config.nets = dict(net=dict(
      name='multiscale', scales=3, depth=120, features=32, kernel_size=5,
      pyramid=pyramid, residual=False, dtype='bfloat16'))
  config.optim = dict(net=dict(
      name='adam', lr=1e-4, schedule='cosine', clip_norm=0.0))
  config.data = common.gopro('blur_gamma')
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=8, crop=512)
  if arg == 'same':
    config.nets.net.features = 64
    config.method.share = 0.5
  if arg in ('int8', 'int8_small'):
    config.nets.net.update(features=64, dtype='float32')
    config.method = dict(
        name='quantize',
        init_from=dict(path='runs/gopro_k3', which='last', role=''),
        loss='l1', learn=True, over_scales='sum', pyramid=pyramid)
    config.optim.net.lr = 1e-5
  if arg in ('small', 'int8_small'):
    common.use_side_by_side(config)
    config.method.loss = 'psnr_loss'
    config.nets.net = dict(
        name='mimo_unet', features=8 if arg == 'small' else 16, blocks=3,
        attention='none', pyramid=pyramid, dtype='float32')
    config.optim.net.lr = 1e-3 if arg == 'small' else 1e-4
    config.total_steps = 1_500 if arg == 'small' else 300
    config.data.loader.progressive = (
        ((750, 128, 2),) if arg == 'small' else ())
  if common.is_debug(arg, 'same', 'int8', 'small', 'int8_small'):
    common.use_debug_run(config)
    config.method.init_from.path = None   # random weights
    config.method.share = 0.5
    config.nets.net.update(scales=1, depth=4, features=4, dtype='float32')
  return config
