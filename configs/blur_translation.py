r"""Blurry pictures are brought to a blur that a trained network undoes.

  python -m experiments.train --config=configs/multiscale_photos.py \
      --config.data.train.root=DIR_SHARP --workdir=runs/photos
  python -m experiments.train --config=configs/blur_translation.py \
      --config.method.restorer.path=runs/photos \
      --config.data.train.blur=DIR_BLURRY --config.data.train.sharp=DIR_SHARP \
      --workdir=runs/known

After the idea of Blur2Blur (Pham et al., CVPR 2024), whose generator is a
MIMO-UNet too. method.blur has to be that with which the restorer was trained.
It is judged on pairs, by default the built-in ones. Not trained to the end by
us yet.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 200_000
  config.batch_size = 8
  config.log_every = 100
  config.save_every = 2_000
  config.tensorboard = True
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='blur_translation', distance='l1', pyramid=pyramid, shrink=4,
      restorer=dict(path='runs/photos', which='last', role=''),
      blur=dict(kind='dynamic_scene'),
      weights=dict(adversarial=1.0, content=10.0, identity=5.0),
      critic=dict(gan='lsgan', penalty=0.0, drift=0.0), pool_size=50)
  config.nets = dict(
      to_known=dict(name='fusion', features=32, blocks=8, attention='none',
                    pyramid=pyramid, dtype='bfloat16'),
      is_known=dict(name='patchgan', features=64, depth=3, padding=1,
                    norm='instance', dtype='float32'))
  config.optim = dict(
      to_known=dict(name='adam', lr=1e-4, b1=0.5, schedule='cosine',
                    clip_norm=1.0),
      critic=dict(name='adam', lr=1e-4, b1=0.5, schedule='cosine'))
  config.data = dict(
      train=dict(name='unpaired', blur='data/blurry', sharp='data/sharp'),
      test=dict(name='builtin', split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=6, crop=256)
  if common.is_debug(arg):
    common.use_builtin(config, halves=True)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.method.pool_size = 2
    config.method.restorer.path = None   # by chance
    config.method.blur = dict(kind='gaussian', size=5, sigma=(0.4, 1.0))
    small = dict(name='single_scale', blocks=0, features=2)
    config.nets.to_known, config.nets.restorer = small, small
    config.nets.is_known.update(features=4, depth=1)
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
