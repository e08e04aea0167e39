r"""CycleGAN without pairs: blurry pictures, and sharp pictures of other scenes.

  python -m experiments.train --config=configs/cycle_unpaired.py \
      --config.data.train.blur=DIR_BLURRY --config.data.train.sharp=DIR_SHARP \
      --workdir=runs/cycle

Zhu et al. (ICCV 2017) as in their code: 9 blocks, least squares, cycle 10,
identity 0.5, buffers of 50 images, Adam 2e-4, constant and then linear to 0.
The test set is pairs, by default the built-in ones. Published results of
CycleGAN on GoPro (22.5 dB) are below the untouched input; we recommend
configs/cycle_physics.py instead.

  ...cycle_unpaired.py:gopro   blurry frames of one half of GoPro, sharp ones of
                               the other; --config.data.train.root=GOPRO_Large
  ...cycle_unpaired.py:perceptual   VGG19's features are part of the cycle loss;
                               --config.method.features.path=vgg19.safetensors
  ...cycle_unpaired.py:small   for CPUs: a folder of sharp photos, one half of
                               them blurred in the step; --config.data.train.
                               root=DIR --config.data.test.root=OUT, pairs of
                               other photos:
  python -m experiments.make_pairs --photos=OTHERS --out=OUT --split=test \
      --kind=trajectory --option=size=11 --option=gamma=1.0 \
      --option="fractions=(0.5, 1.0)"
"""

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=400_000, batch_size=1, save_every=2_000)
  config.method = dict(
      name='cycle', cycle='2*l1', identity='2*l1', buffer_size=50, ema=0.0,
      without='nothing',
      discriminator=dict(gan='lsgan', penalty=0.0, drift=0.0),
      weights=dict(adversarial=2.0, cycle_blur=10.0, cycle_sharp=10.0,
                   identity=0.5),
      features=None)
  generator = dict(name='resnet', features=64, blocks=9, dropout=0.0,
                   upsample='transposed', residual=False, dtype='float32')
  discriminator = common.patchgan_70()
  # The same dict twice: --config.nets.to_sharp.features=32 changes both.
  config.nets = dict(to_sharp=generator, to_blur=generator,
                     is_sharp=discriminator, is_blur=discriminator)
  adam = dict(name='adam', lr=2e-4, b1=0.5, schedule='linear',
              boundaries=(0.5,))
  config.optim = dict(generator=adam, discriminator=adam)
  config.data = common.unpaired()
  config.augment = dict(preset='deblurgan')
  config.validate = dict(pictures=6, crop=256)
  if arg == 'perceptual':
    config.method.cycle = '2*l1 + 0.1*perceptual'
    config.method.features = dict(
        path='data/vgg19.safetensors', sha256='', layer='conv3_3',
        convention='deblurgan')
  if arg == 'gopro':
    common.use_gopro_halves(config)
  if arg == 'small':
    common.use_photo_halves(config)
    config.total_steps, config.batch_size = 4_000, 4
    config.data.loader.crop = 96
    for name in ('to_sharp', 'to_blur'):
      config.nets[name].update(features=16, blocks=6)
    for name in ('is_sharp', 'is_blur'):
      config.nets[name].features = 16
  if common.is_debug(arg, 'gopro', 'perceptual', 'small'):
    common.use_debug_run(config, halves=True)
    config.method.buffer_size = 2
    for name in ('to_sharp', 'to_blur'):
      config.nets[name] = dict(
          name='multiscale', scales=1, blocks=0, features=4)
    for name in ('is_sharp', 'is_blur'):
      config.nets[name].update(features=4, depth=1)
  return config
