"""What configs share: the argument after the colon, and small pictures."""


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


def use_builtin(config) -> None:
  """Replaces the data set by the built-in pictures, small and at once there."""
  config.data.train = dict(name='builtin', split='train')
  config.data.test = dict(name='builtin', split='test')
  config.data.loader.loader = 'resident'
