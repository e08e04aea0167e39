r"""DeblurGAN's generator by 100 L1 + binary cross entropy; needs no weights.

  python -m experiments.train --config=configs/deblurgan_l1.py \
      --config.data.train.root=DIR/GOPRO_Large --workdir=runs/deblurgan_l1

The objective of pix2pix (Isola et al., CVPR 2017), which the authors' code also
offers: 100 L1 of images in [-1, 1] is 200 L1 of ours in [0, 1]. Resize
convolutions avoid checkerboard patterns; crops are flipped and brightened; the
rate is a cosine from 1e-4. We have not trained it to the end yet.

  ...deblurgan_l1.py:bare   the generator with its own defaults, so that
                            nets.generator.name may be any network
                            (experiments.ablate --name=generator)
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(total_steps=150_000, batch_size=8)
  config.method = dict(
      name='adversarial', content='l1', content_weight=200.0,
      adversarial_weight=1.0, discriminator_steps=1, simultaneous=True,
      ema=0.999,
      discriminator=dict(gan='bce', penalty=0.0, drift=0.0))
  config.nets = dict(
      generator=dict(name='resnet', features=64, blocks=9, dropout=0.0,
                     upsample='resize', dtype='bfloat16'),
      discriminator=dict(name='patchgan', features=64, norm='instance',
                         dtype='bfloat16'))
  adam = dict(name='adam', lr=1e-4, b1=0.5, schedule='cosine')
  config.optim = dict(generator=adam, discriminator=dict(adam))
  config.data = common.gopro('blur')
  config.augment = dict(preset='flips', brighten=0.5, brightness=(0.8, 1.2))
  config.validate = dict(pictures=8, crop=512)
  if arg == 'bare':
    config.nets.generator = dict(name='resnet', dtype='bfloat16')
  if common.is_debug(arg, 'bare'):
    common.use_debug_run(config)
    config.nets.generator.features, config.nets.generator.blocks = 4, 2
    config.nets.discriminator.update(features=4, depth=1)
  return config
