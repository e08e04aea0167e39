r"""Unknown blur is translated into a blur that a trained network removes.

  python -m experiments.train --config=configs/multiscale_photos.py \
      --config.data.train.root=DIR_SHARP --workdir=runs/photos
  python -m experiments.train --config=configs/blur_translation.py \
      --config.method.restorer.path=runs/photos \
      --config.data.train.blur=DIR_BLURRY --config.data.train.sharp=DIR_SHARP \
      --workdir=runs/known

The idea is that of Blur2Blur (Pham et al., CVPR 2024), whose generator is a
MIMO-UNet too. method.blur must be the blur that the restorer was trained on.
The test set is pairs, by default the built-in ones. We have not trained it to
the end yet.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=200_000, batch_size=8, save_every=2_000)
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      name='blur_translation', distance='l1', pyramid=pyramid, shrink=4,
      restorer=dict(path='runs/photos', which='last', role=''),
      blur=dict(kind='dynamic_scene'),
      weights=dict(adversarial=1.0, content=10.0, identity=5.0),
      discriminator=dict(gan='lsgan', penalty=0.0, drift=0.0), buffer_size=50)
  config.nets = dict(
      to_known=dict(name='mimo_unet', features=32, blocks=8, attention='none',
                    pyramid=pyramid, dtype='bfloat16'),
      is_known=common.patchgan_70())
  adam = dict(name='adam', lr=1e-4, b1=0.5, schedule='cosine')
  config.optim = dict(to_known=adam | dict(clip_norm=1.0), discriminator=adam)
  config.data = common.unpaired()
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=6, crop=256)
  if common.is_debug(arg):
    common.use_debug_run(config, halves=True)
    config.method.buffer_size = 2
    config.method.restorer.path = None   # random weights
    config.method.blur = dict(kind='gaussian', size=5, sigma=(0.4, 1.0))
    small = dict(name='single_scale', blocks=0, features=2)
    config.nets.to_known, config.nets.restorer = small, small
    config.nets.is_known.update(features=4, depth=1)
  return config
