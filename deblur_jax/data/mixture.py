"""Several sources as one."""

from collections.abc import Mapping

from deblur_jax import errors
from deblur_jax.data import source as source_lib


def pairs(
    parts: Mapping[str, source_lib.Source], times: Mapping[str, int]
) -> source_lib.Source:
  """Sources of pairs, each as often as it is told.

  Args:
    parts: name -> source; the names begin those of the pictures.
    times: name -> how often each of its pictures counts in an epoch, so that
      few good ones are not drowned by many.

  Raises:
    UserError: no parts, one without pairs, or one that counts less than once.
  """
  if not parts:
    raise errors.UserError(
        "data.sources must name sources: dict(a=dict(name='gopro', ...)).")
  for name, part in parts.items():
    if part.parts or {*part.keys} != {'blur', 'sharp'}:
      raise errors.UserError(
          f'data.sources.{name}: {part.where} has no pairs; make some with '
          'experiments.make_blur.')
    if times[name] < 1:
      raise errors.UserError(
          f'data.sources.{name}.times must be at least 1, got {times[name]}.')
  again = {f'{name}#{number}' if number else name: parts[name]
           for name in parts for number in range(times[name])}
  return concatenate(
      again, keys=('blur', 'sharp'),
      where=' + '.join(part.where for part in parts.values()))


def concatenate(
    parts: Mapping[str, source_lib.Source], *, keys: tuple[str, ...],
    where: str) -> source_lib.Source:
  """One part after another; 'PART/NAME' are the names."""
  places = [(part, i) for part, source in parts.items()
            for i in range(len(source.names))]

  def read(number):
    part, i = places[number]
    return parts[part].read(i)

  def sizes(number):
    part, i = places[number]
    return parts[part].sizes(i)

  return source_lib.Source(
      [f'{part}/{parts[part].names[i]}' for part, i in places], read, where,
      keys, sizes if all(part.sizes for part in parts.values()) else None)
