r"""Coarse-to-fine network with its adversarial term (Nah et al., CVPR 2017).

  python -m experiments.train --config=configs/multiscale_adv_gopro.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/multiscale_adv

Eq. 6: eq. 4 + 1e-4 times the adversarial loss of the finest scale. Both
networks take their steps at the same time, by Adam with the same rate, as in
the authors' first code. The term adds texture, not PSNR. We have not trained it
to the end yet.
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = common.experiment(total_steps=450_000, batch_size=4)
  pyramid = ml_collections.FieldReference('deepdeblur_torch7')
  config.method = dict(
      name='adversarial', content='mse', over_scales='half_mean',
      content_weight=1.0, adversarial_weight=1e-4, discriminator_steps=1,
      simultaneous=True, pyramid=pyramid, ema=0.0,
      discriminator=dict(gan='bce', penalty=0.0, drift=0.0))
  config.nets = dict(
      generator=common.coarse_to_fine(pyramid),
      discriminator=dict(name='nah_discriminator', variant='code', features=32,
                         scale=1.0, dtype='bfloat16'))
  adam = dict(name='adam', lr=5e-5, schedule='step', boundaries=(1 / 3,),
              factor=0.1)
  config.optim = dict(generator=adam, discriminator=dict(adam))
  config.data = common.gopro('blur_gamma')
  config.augment = dict(preset='deepdeblur_torch7')
  config.validate = dict(pictures=8, crop=512)
  if common.is_debug(arg):
    common.use_debug_run(config)
    config.nets.generator.update(depth=12, features=4)
    # Nah et al.'s discriminator refuses crops below 193.
    config.nets.discriminator = dict(name='patchgan', features=4, depth=1)
  return config
