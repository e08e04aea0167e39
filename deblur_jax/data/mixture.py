"""Several sources as one."""

from collections.abc import Mapping

from deblur_jax import errors
from deblur_jax.data import sources


def pairs(
    parts: Mapping[str, sources.Source], weights: Mapping[str, int]
) -> sources.Source:
  """Mixes sources of pairs.

  Args:
    parts: name -> source; the names of pictures begin with these names.
    weights: name -> the number of times that an epoch has each of its pairs.
      With large weights a small set counts as much as a large one.

  Raises:
    UserError: no parts, one without pairs, or a weight below 1.
  """
  if not parts:
    raise errors.UserError(
        "data.sources must name sources: dict(a=dict(name='gopro', ...)).")
  for name, part in parts.items():
    if part.parts or {*part.keys} != {'blur', 'sharp'}:
      raise errors.UserError(
          f'data.sources.{name}: {part.where} has no pairs; make some with '
          'experiments.make_pairs.')
    if not isinstance(weights[name], int) or weights[name] < 1:
      raise errors.UserError(
          f'data.sources.{name}.weight must be a whole number from 1, got '
          f'{weights[name]}.')
  repeated = {f'{name}#{number}' if number else name: parts[name]
              for name in parts for number in range(weights[name])}
  return concatenate(
      repeated, keys=('blur', 'sharp'),
      where=' + '.join(part.where for part in parts.values()))


def concatenate(
    parts: Mapping[str, sources.Source], *, keys: tuple[str, ...],
    where: str) -> sources.Source:
  """Puts the parts one after another; the names are 'PART/NAME'."""
  places = [(part, i) for part, source in parts.items()
            for i in range(len(source.names))]

  def of_part(field):
    """The function `field` of all parts, None where a part lacks it."""
    fns = {part: getattr(source, field) for part, source in parts.items()}
    if not all(fns.values()):
      return None
    def of_number(number):
      part, i = places[number]
      return fns[part](i)
    return of_number

  return sources.Source(
      [f'{part}/{parts[part].names[i]}' for part, i in places],
      where=where, keys=keys, prepared=tuple(
          root for source in parts.values() for root in source.prepared), **{
          field: of_part(field)
          for field in ('read', 'sizes', 'files', 'records')})
