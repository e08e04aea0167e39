r"""Coarse-to-fine network with its adversarial term (Nah et al., CVPR 2017).

  python -m experiments.train --config=configs/multiscale_adv_gopro.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/multiscale_adv

Eq. 6: eq. 4 + 1e-4 times what the discriminator says of the finest scale, both
networks moving at once by Adam with one rate, as in the authors' first code.
What it adds is texture, not PSNR. Not trained to the end by us yet.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 450_000
  config.batch_size = 4
  config.log_every = 100
  config.save_every = 1_000
  config.tensorboard = True
  pyramid = ml_collections.FieldReference('deepdeblur_torch7')
  config.method = dict(
      name='adversarial', content='mse', over_scales='half_mean',
      content_weight=1.0, adversarial_weight=1e-4, critic_steps=1,
      at_once=True, pyramid=pyramid, ema=0.0,
      critic=dict(gan='bce', penalty=0.0, drift=0.0))
  config.nets = dict(
      gen=dict(name='multiscale', scales=3, depth=120, features=64,
               kernel_size=5, pyramid=pyramid, residual=False,
               dtype='bfloat16', remat=False),
      critic=dict(name='nah_discriminator', variant='code', features=32,
                  scale=1.0, dtype='bfloat16'))
  config.optim = dict(
      gen=dict(name='adam', lr=5e-5, schedule='step', boundaries=(1 / 3,),
               factor=0.1),
      critic=dict(name='adam', lr=5e-5, schedule='step', boundaries=(1 / 3,),
                  factor=0.1))
  root = ml_collections.FieldReference('data/GOPRO_Large')
  subset = ml_collections.FieldReference('blur_gamma')
  config.data = dict(
      train=dict(name='gopro', root=root, subset=subset, split='train'),
      test=dict(name='gopro', root=root, subset=subset, split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))
  config.augment = dict(preset='deepdeblur_torch7')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_builtin(config)
    config.total_steps, config.batch_size = 2, 4
    config.data.loader.crop = 32
    config.nets.gen.update(scales=2, depth=8, features=4)
    # Nah's takes no crops below 193.
    config.nets.critic = dict(name='patchgan', features=4, depth=1)
    config.validate = dict(pictures=2, crop=64)
    config.tensorboard = False
  return config
