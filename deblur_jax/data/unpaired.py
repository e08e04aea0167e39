"""Blurred pictures and sharp ones of something else: sources without pairs.

Such a source has `parts`, a source of its own for each key, of as many pictures
as there are and of any sizes; `loaders.build` draws from each on its own. The
source itself lists the pictures of all parts, one key each, for those who only
look at them.
"""

import pathlib

from deblur_jax import errors
from deblur_jax.data import images, mixture, sources


def folders(*, blur: str, sharp: str) -> sources.Source:
  """Blurred pictures below one folder, sharp ones below another.

  Raises:
    UserError: one is missing or empty, or lies within the other: a blurred
      picture is not to be met among the sharp ones.
  """
  one, other = (pathlib.Path(root).resolve() for root in (blur, sharp))
  if one == other:
    raise errors.UserError(
        f'data.train: blur and sharp are both {blur}; where it holds sharp '
        "photos, take the config's form :small, which blurs one half of them.")
  if one.is_relative_to(other) or other.is_relative_to(one):
    raise errors.UserError(
        f'data.train: of blur={blur} and sharp={sharp} one lies within the '
        'other, so that pictures would be in both; put them side by side.')
  return join({
      key: sources.from_files(
          {key: images.find(root)}, where=f'{key} pictures in {root}')
      for key, root in (('blur', blur), ('sharp', sharp))},
      where=f'blurred pictures in {blur}, sharp ones in {sharp}')


def halves(source: sources.Source) -> sources.Source:
  """Pictures of the first half blurred, those of the second half sharp.

  The halves are not mixed, for names that follow each other are often of one
  scene. Of pairs each gives one side. Of sharp pictures those of the first half
  are there to be blurred inside of the step: their key is 'to_blur'.

  Raises:
    UserError: it is without pairs already, has no sharp pictures, or one only.
  """
  count = len(source.names)
  if source.parts or 'sharp' not in source.keys:
    raise errors.UserError(
        f'data.halves: {source.where} has no sharp picture for each name; '
        'leave halves out.')
  if count < 2:
    raise errors.UserError(
        f'data.halves: {source.where} has one picture only, and no halves.')
  side = 'blur' if 'blur' in source.keys else 'sharp'
  blurred = 'blur' if side == 'blur' else 'to_blur'
  return join({
      blurred: _side(source, range(count // 2), key=side, name=blurred),
      'sharp': _side(source, range(count // 2, count), key='sharp')},
      where=f'{source.where}, in halves')


def join(parts, *, where: str) -> sources.Source:
  """One source of several, each with one key; {key: source of that key}."""
  one = mixture.concatenate(parts, keys=tuple(parts), where=where)
  return one._replace(parts=dict(parts))


def _side(source, numbers, *, key, name='sharp'):
  """Those of the pictures, of one side of the pairs, under another key."""
  pick = lambda found: {name: found[key]}
  sizes = source.sizes and (lambda i: pick(source.sizes(numbers[i])))
  return source._replace(
      names=[source.names[i] for i in numbers], keys=(name,), sizes=sizes,
      read=lambda i: pick(source.read(numbers[i])))
