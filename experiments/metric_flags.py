"""The flag --metrics, and how programs that evaluate print their means."""

from absl import flags

_METRICS = flags.DEFINE_list(
    'metrics', [], 'Further metrics: NAME or NAME:OPTION=VALUE:...')


def chosen() -> dict[str, dict[str, str]]:
  """Name -> options of each metric of --metrics, for `metrics.choose`."""
  return dict(map(_metric, _METRICS.value))


def show(result) -> None:
  """Prints the means, a line each for input, restored and sharp pictures."""
  for title in ('input', 'mean', 'sharp'):
    if title in result:
      print(title.ljust(6), '  '.join(
          f'{name} {value:.4f}' for name, value in result[title].items()))


def _metric(text):
  """'niqe:path=FILE' -> ('niqe', {'path': 'FILE'})."""
  from deblur_jax import errors

  name, *options = text.split(':')
  for option in options:
    if '=' not in option:
      raise errors.UserError(
          f'--metrics: expected OPTION=VALUE after {name}:, got {option!r}.')
  return name, dict(option.split('=', 1) for option in options)
