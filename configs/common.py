"""What configs share: the argument after the colon, and small pictures."""

import ml_collections


def is_debug(arg: str | None, *others: str) -> bool:
  """Whether --config=FILE:debug was asked for: two steps, tiny networks.

  Args:
    arg: what stands after the colon.
    *others: what else may stand there.
  """
  if arg not in (None, '', 'debug', *others):
    known = ', '.join(('debug', *others))
    raise ValueError(f'Unknown config argument {arg!r}; known: {known}.')
  return arg == 'debug'


def use_builtin(config, *, halves: bool = False) -> None:
  """Replaces the data set by the built-in pictures, small and at once there.

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


def use_gopro_halves(config) -> None:
  """Blurry frames of one half of GoPro's names, sharp ones of the other."""
  root = ml_collections.FieldReference('data/GOPRO_Large')
  subset = ml_collections.FieldReference('blur')
  config.data.train = dict(name='gopro', root=root, subset=subset,
                           split='train', halves=True)
  config.data.test = dict(name='gopro', root=root, subset=subset, split='test')
  config.validate = dict(pictures=8, crop=512)


def use_photo_halves(config) -> None:
  """Sharp photos, one half of them blurred in the step by random shake.

  It is judged on pairs made of other photos with that blur.
  """
  config.data.train = dict(name='photos', root='data/photos', halves=True)
  config.data.test = dict(
      name='gopro', root='data/held_back', subset='blur', split='test')
  config.data.blur = dict(
      kind='trajectory', size=11, gamma=1.0, fractions=(0.5, 1.0))
  config.data.loader.backend = 'threads'


def use_pairs(config) -> None:
  """A folder of pairs side by side, the sharp half on the left; for CPUs.

  The last tenth of the names is held back. Small crops first, large ones for
  the second half of the steps.
  """
  root = ml_collections.FieldReference('data/pairs')
  config.data.train = dict(name='side_by_side', root=root, sharp_side='left',
                           part=(0.0, 0.9))
  config.data.test = dict(name='side_by_side', root=root, sharp_side='left',
                          part=(0.9, 1.0))
  config.batch_size, config.total_steps = 4, 4_000
  config.data.loader = dict(
      backend='resident', crop=64, progressive=((2_000, 128, 2),))
  config.optim.net = dict(name='adamw', lr=2e-3, schedule='cosine', b2=0.9,
                          weight_decay=1e-3, clip_norm=1.0)
  config.validate = dict(pictures=8, crop=256)
