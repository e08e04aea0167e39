"""Recipes that several configs share, and the argument after the colon."""

from typing import Any

import ml_collections


def is_debug(arg: str | None, *others: str) -> bool:
  """Whether the argument is `debug`, as in --config=FILE:debug.

  Args:
    arg: the text after the colon.
    *others: the other arguments of the config.

  Raises:
    ValueError: an unknown argument.
  """
  if arg not in (None, '', 'debug', *others):
    known = ', '.join(('debug', *others))
    raise ValueError(f'Unknown config argument {arg!r}; known: {known}.')
  return arg == 'debug'


def experiment(
    *, total_steps: int, batch_size: int, log_every: int = 100,
    save_every: int = 1_000, tensorboard: bool = True,
    profile: tuple[int, ...] = (), split_state: bool = False
) -> ml_collections.ConfigDict:
  """A config with the keys of every training run.

  Args:
    total_steps: the number of the last step.
    batch_size: crops in a batch, over all devices.
    log_every: steps between two lines of metrics.jsonl.
    save_every: steps between two checkpoints.
    tensorboard: whether the run writes files for TensorBoard.
    profile: (first, last) profiles the steps after the first one up to the
      last one, for TensorBoard.
    split_state: whether each device keeps a part of the optimizer's state, the
      averages and the parameters; a step gathers the parameters. It saves
      memory of large networks, and costs no time where the sums allow it.
  """
  return ml_collections.ConfigDict(dict(
      seed=0, total_steps=total_steps, batch_size=batch_size,
      log_every=log_every, save_every=save_every, tensorboard=tensorboard,
      profile=profile, split_state=split_state))


def train_and_test(
    name: str, *, splits: tuple[str, str] = ('train', 'test'), **options
) -> tuple[dict[str, Any], dict[str, Any]]:
  """A source for training and one for testing, with the same options.

  Each option is one value for both: --config.data.train.root=DIR sets
  data.test.root too.
  """
  shared = {key: ml_collections.FieldReference(value)
            for key, value in options.items()}
  return tuple(dict(name=name, **shared, split=split) for split in splits)


def gopro(subset: str, **options) -> dict[str, Any]:
  """`config.data` of GoPro in its folders, in crops of 256 pixels.

  Args:
    subset: 'blur', averages of stored values, or 'blur_gamma', of light.
    **options: further options of the source.
  """
  train, test = train_and_test(
      'gopro', root='data/GOPRO_Large', subset=subset, **options)
  return dict(train=train, test=test, loader=dict(
      backend='tf_data', crop=256, progressive=()))


def unpaired() -> dict[str, Any]:
  """`config.data` of two folders without pairs, tested on built-in pairs."""
  return dict(
      train=dict(name='unpaired', blur='data/blurry', sharp='data/sharp'),
      test=dict(name='builtin', split='test'),
      loader=dict(backend='tf_data', crop=256, progressive=()))


def last_tenth(
    name: str, **options) -> tuple[dict[str, Any], dict[str, Any]]:
  """Sources of one folder of pairs for training and for testing.

  The last tenth of the sorted names is the test set.

  Args:
    name: of the source.
    **options: others of it.
  """
  root = ml_collections.FieldReference('data/pairs')
  return tuple(dict(name=name, root=root, part=part, **options)
               for part in ((0.0, 0.9), (0.9, 1.0)))


def side_by_side() -> tuple[dict[str, Any], dict[str, Any]]:
  """Sources of pairs in one file each, the sharp half on the left."""
  return last_tenth('side_by_side', sharp_side='left')


def prepared_mixture(root: str, **weights: int) -> dict[str, Any]:
  """A source of the prepared sets ROOT/NAME.

  Args:
    root: folder of the sets.
    **weights: NAME -> how often an epoch has the pairs of that set.
  """
  return dict(name='mixture', sources={
      name: dict(name='prepared', root=f'{root}/{name}', weight=weight)
      for name, weight in weights.items()})


def coarse_to_fine(pyramid, **options) -> dict[str, Any]:
  """The network of Nah et al. (CVPR 2017): K = 3, 40 convolutions a scale."""
  return dict(
      name='multiscale', scales=3, depth=120, features=64, kernel_size=5,
      pyramid=pyramid, residual=False, dtype='bfloat16', remat=False) | options


def use_coarse_to_fine(
    config, *, pyramid: str, loss: str, over_scales: str = 'sum', **options
) -> None:
  """Supervised training of the network of Nah et al.

  Args:
    config: to be changed.
    pyramid: how images become smaller, the same for targets and network.
    loss: at each scale.
    over_scales: how the losses of the scales become one.
    **options: of the network, see `coarse_to_fine`.
  """
  pyramid = ml_collections.FieldReference(pyramid)
  config.method = dict(
      name='supervised', loss=loss, over_scales=over_scales, pyramid=pyramid,
      ema=0.0, accumulate=1)
  config.nets = dict(net=coarse_to_fine(pyramid, **options))


def patchgan_70() -> dict[str, Any]:
  """CycleGAN's discriminator, whose outputs see 70x70 pixels each."""
  return dict(name='patchgan', features=64, depth=3, padding=1,
              norm='instance', dtype='float32')


def tiny_maxim(**options) -> dict[str, Any]:
  """A MAXIM that compiles fast, for :debug."""
  return dict(name='maxim', features=4, depth=1, bottleneck=1, stages=1,
              scales=1) | options


def prior(task: str, arg: str | None) -> ml_collections.ConfigDict:
  """The preset of a task of `deblur_jax.priors.tasks`, or its debug form."""
  # Not at the top: the other configs do not load JAX.
  from deblur_jax.priors import tasks

  return ml_collections.ConfigDict(
      tasks.config(task, 'debug' if is_debug(arg) else 'full'))


def use_builtin(config, *, halves: bool = False) -> None:
  """Replaces the data set by the built-in pictures, which need no download.

  Args:
    config: to be changed.
    halves: whether training is without pairs.
  """
  window = config.data.train.get('window', 1)
  config.data.train = dict(name='builtin', split='train')
  if halves:
    config.data.train.halves = True
  config.data.test = dict(name='builtin', split='test')
  if window > 1:
    config.data.train.window = config.data.test.window = window
  config.data.loader.backend = 'resident'


def use_debug_run(config, *, crop: int = 32, halves: bool = False) -> None:
  """Two steps on small crops of the built-in pictures.

  The batch follows the devices, see `deblur_jax.training.train.check`.

  Args:
    config: to be changed.
    crop: side of the crops, pixels.
    halves: whether training is without pairs.
  """
  use_builtin(config, halves=halves)
  config.total_steps = 2
  config.batch_size = None
  config.data.loader.crop = crop
  config.validate = dict(pictures=2, crop=64)
  config.tensorboard = False


def use_gopro_halves(config) -> None:
  """Blurry frames of one half of GoPro's names, sharp ones of the other."""
  config.data.train, config.data.test = train_and_test(
      'gopro', root='data/GOPRO_Large', subset='blur')
  config.data.train.halves = True
  config.validate = dict(pictures=8, crop=512)


def use_photo_halves(config) -> None:
  """Sharp photos, one half of them blurred in the step by random shake.

  The test set is pairs made of other photos with the same kind of blur.
  """
  config.data.train = dict(name='photos', root='data/photos', halves=True)
  config.data.test = dict(
      name='gopro', root='data/held_back', subset='blur', split='test')
  config.data.blur = dict(
      kind='trajectory', size=11, gamma=1.0, fractions=(0.5, 1.0))
  config.data.loader.backend = 'threads'


def use_side_by_side(config) -> None:
  """Training on CPUs, on a folder of pairs side by side.

  Crops are small in the first half of the steps and large in the second.
  """
  config.data.train, config.data.test = side_by_side()
  config.batch_size, config.total_steps = 4, 4_000
  config.data.loader = dict(
      backend='resident', crop=64, progressive=((2_000, 128, 2),))
  config.optim.net = dict(name='adamw', lr=2e-3, schedule='cosine', b2=0.9,
                          weight_decay=1e-3, clip_norm=1.0)
  config.validate = dict(pictures=8, crop=256)
