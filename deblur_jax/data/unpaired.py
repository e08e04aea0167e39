"""Sources without pairs: blurred pictures and sharp ones of other scenes.

Such a source has `parts`, a separate source for each key, with any number of
pictures of any sizes. `loaders.build` samples each part separately. The source
itself lists the pictures of all parts, each with one key, for inspection.
"""

import pathlib

from deblur_jax import errors
from deblur_jax.data import images, mixture, sources


def folders(*, blur: str, sharp: str) -> sources.Source:
  """Opens a folder of blurred pictures and a folder of sharp ones.

  Args:
    blur: folder of blurred pictures, searched with its sub-folders.
    sharp: folder of sharp pictures, searched with its sub-folders.

  Raises:
    UserError: a folder is missing or empty, or is inside of the other, so that
      blurred pictures would be among the sharp ones.
  """
  one, other = (pathlib.Path(root).resolve() for root in (blur, sharp))
  if one == other:
    raise errors.UserError(
        f'data.train: blur and sharp are both {blur}; for sharp photos use the '
        "config's form :small, which blurs one half of them.")
  if one.is_relative_to(other) or other.is_relative_to(one):
    raise errors.UserError(
        f'data.train: of blur={blur} and sharp={sharp} one is inside of the '
        'other, so that pictures would be in both; put them side by side.')
  return join({
      key: sources.from_files(
          {key: images.find(root)}, where=f'{key} pictures in {root}')
      for key, root in (('blur', blur), ('sharp', sharp))},
      where=f'blurred pictures in {blur}, sharp ones in {sharp}')


def halves(source: sources.Source) -> sources.Source:
  """Splits a source into a blurred first half and a sharp second half.

  The names are not shuffled, because neighbours often show one scene. A pair
  gives one of its sides. Where a source has sharp pictures only, the training
  step blurs those of the first half: their key is 'to_blur'.

  Args:
    source: pairs or sharp pictures.

  Raises:
    UserError: the source has no pairs already, no sharp pictures, or only one.
  """
  count = len(source.names)
  if source.parts or 'sharp' not in source.keys:
    raise errors.UserError(
        f'data.halves: {source.where} has no sharp picture for each name; '
        'leave halves out.')
  if count < 2:
    raise errors.UserError(
        f'data.halves: {source.where} has only one picture, and no halves.')
  side = 'blur' if 'blur' in source.keys else 'sharp'
  blurred = 'blur' if side == 'blur' else 'to_blur'
  return join({
      blurred: _side(source, range(count // 2), key=side, name=blurred),
      'sharp': _side(source, range(count // 2, count), key='sharp')},
      where=f'{source.where}, in halves')


def join(parts, *, where: str) -> sources.Source:
  """Joins {key: source with that key} into a source without pairs."""
  one = mixture.concatenate(parts, keys=tuple(parts), where=where)
  return one._replace(parts=dict(parts))


def _side(source, numbers, *, key, name='sharp'):
  """One side of some pairs, under another key."""
  def pick(fn):
    """Leaves one side of what fn gives for a name."""
    def of_side(i):
      found = fn(numbers[i])
      return found and {name: found[key]}
    return fn and of_side

  return source._replace(
      names=[source.names[i] for i in numbers], keys=(name,), packed=None,
      read=pick(source.read), sizes=pick(source.sizes),
      files=pick(source.files), records=pick(source.records))
