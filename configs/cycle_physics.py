r"""Without pairs, constrained by physics: the reblurred result is the input.

  python -m experiments.train --config=configs/cycle_physics.py \
      --config.data.train.blur=DIR_BLURRY --config.data.train.sharp=DIR_SHARP \
      --workdir=runs/physics

The restoring network learns to undo random known blur of the sharp pictures. A
second network predicts the kernels of the blurry pictures (a mixture of 8 for
each pixel); the restored pictures, blurred by them, must equal the blurry ones.
A discriminator compares restored and sharp pictures. With
method.weights.blur_type a classifier of blur, trained on weak labels, must also
find no blur in the restored pictures: see configs/blur_classification.py. The
test set is pairs, by default the built-in ones.

  ...cycle_physics.py:gopro   blurry frames of one half of GoPro, sharp ones of
                              the other; --config.data.train.root=GOPRO_Large
  ...cycle_physics.py:small   for CPUs: a folder of sharp photos, one half of
                               them blurred in the step; --config.data.train.
                               root=DIR --config.data.test.root=OUT, pairs of
                               other photos:
  python -m experiments.make_pairs --photos=OTHERS --out=OUT --split=test \
      --kind=trajectory --option=size=11 --option=gamma=1.0 \
      --option="fractions=(0.5, 1.0)"
"""

import ml_collections

from configs import common


def get_config(arg=None):
  config = common.experiment(
      total_steps=200_000, batch_size=8, save_every=2_000)
  size = ml_collections.FieldReference(31)
  gamma = ml_collections.FieldReference(1.0)
  pyramid = ml_collections.FieldReference('deepdeblur_pytorch')
  config.method = dict(
      # Not 'psnr_loss': its slope is steepest where the error is smallest, at
      # the coarse scales.
      name='cycle_physics', cycle='l1', over_scales='sum', pyramid=pyramid,
      blur=dict(
          kind='any', size=size, gamma=gamma, weights=(0.7, 0.1, 0.1, 0.1)),
      weights=dict(reblur=10.0, sparsity=10.0, adversarial=1.0, cycle=30.0,
                   kernel=1.0, blur_type=0.0, identity=0.0, tv=0.0, dark=0.0),
      discriminator=dict(gan='lsgan', penalty=0.0, drift=0.0), max_energy=0.25,
      gamma=gamma, window=35, start_steps=0, buffer_size=50, ema=0.0,
      without='nothing')
  config.nets = dict(
      to_sharp=common.coarse_to_fine(pyramid, residual=True),
      kernel=dict(name='kernel_mixture', size=size, bases=8, features=32,
                  blocks=4, heads=4, dtype='float32'),
      is_sharp=common.patchgan_70(),
      blur_type=dict(name='blur_type', features=16, blocks=1, dtype='float32'))
  adam = dict(name='adam', lr=2e-4, schedule='cosine')
  config.optim = dict(
      to_sharp=adam | dict(clip_norm=1.0), kernel=adam | dict(clip_norm=1.0),
      discriminator=adam | dict(b1=0.5),
      blur_type=adam | dict(lr=1e-3, clip_norm=1.0))
  config.data = common.unpaired()
  config.augment = dict(preset='flips')
  config.validate = dict(pictures=6, crop=256)
  if arg == 'gopro':
    common.use_gopro_halves(config)
  if arg == 'small':
    common.use_photo_halves(config)
    size.set(11)
    config.total_steps, config.batch_size = 4_000, 4
    config.data.loader.crop = 96
    config.method.weights.adversarial = 0.2
    # The known blur is of the same kind as the blur to undo: the best case.
    config.method.blur = dict(
        kind='trajectory', size=size, gamma=gamma, fractions=(0.5, 1.0))
    config.nets.to_sharp.update(depth=18, features=16, dtype='float32')
    config.nets.kernel = dict(name='kernel_cnn', size=size, features=16,
                              blocks=2, heads=4, dtype='float32')
    config.nets.is_sharp.features = 16
    config.optim.to_sharp.lr = config.optim.kernel.lr = 2e-3
  if common.is_debug(arg, 'gopro', 'small'):
    common.use_debug_run(config, halves=True)
    size.set(5)
    config.method.update(buffer_size=2, window=7)
    config.method.blur = dict(kind='gaussian', size=size, gamma=gamma,
                              sigma=(0.4, 1.0))
    config.method.weights.update(blur_type=0.1, tv=0.1, dark=0.1)
    config.nets.to_sharp = dict(
        name='multiscale', scales=1, blocks=0, features=4)
    config.nets.kernel = dict(
        name='kernel_cnn', size=size, features=4, blocks=0)
    config.nets.is_sharp.update(features=4, depth=1)
    config.nets.blur_type.update(features=2, blocks=0)
  return config
