"""Regions and strength: where a restored picture replaces the original.

  result = (1 - w) picture + w restored,  w = strength * feather

The feather is 0 outside of the regions, rises over FEATHER pixels inside their
borders, and is 1 further inside. Where w is 0 a pixel keeps its exact value.
"""

import contextlib
import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors

FEATHER = 16    # pixels over which a region fades into the rest
MARGIN = 64     # pixels around a region that the network sees, too
ALIGNMENT = 32  # crops begin at multiples of it, as tiles do


class Region(NamedTuple):
  """A rectangle of an upright picture: its top left pixel and its sides.

  Attributes:
    x: column of the top left pixel.
    y: row of the top left pixel.
    width: in pixels.
    height: in pixels.
  """

  x: int
  y: int
  width: int
  height: int


class Blend(NamedTuple):
  """The parts of the restored picture that are used.

  Attributes:
    regions: only they are restored; () is the whole picture.
    strength: 0 is the original picture, 1 the restored one.
  """

  regions: tuple[Region, ...] = ()
  strength: float = 1.0


def build(region: Any = None, strength: float = 1.0) -> Blend:
  """Builds a `Blend` from a user's options.

  Args:
    region: None, 'x,y,w,h', or four whole numbers in pixels; or several such.
    strength: in [0, 1].

  Raises:
    UserError: a region is not four whole numbers, a side is below 1, or the
      strength is out of range.
  """
  if isinstance(strength, bool) or not isinstance(strength, numbers.Real) or (
      not 0 <= strength <= 1):    # NaN, too
    raise errors.UserError(f'strength must be 0 to 1, got {strength}.')
  if region is None:
    regions = ()
  elif isinstance(region, str) or not isinstance(region, Sequence) or any(
      isinstance(one, numbers.Real) for one in region):
    regions = region,
  else:
    regions = region
  return Blend(tuple(map(_region, regions)), float(strength))


def _region(given) -> Region:
  values = None
  with contextlib.suppress(TypeError, ValueError):
    parts = given.split(',') if isinstance(given, str) else given
    values = [int(one) if isinstance(one, str) else operator.index(one)
                for one in parts]
  if values is None or len(values) != 4:
    raise errors.UserError(
        f'A region is four whole numbers x,y,w,h in pixels, not {given!r}.')
  region = Region(*values)
  if min(region.width, region.height) < 1:
    raise errors.UserError(
        f'The region {text(region)} is empty: width and height must be at '
        'least 1.')
  return region


def check(regions: Sequence[Region], size: tuple[int, int]) -> None:
  """Checks that regions are inside of a picture.

  Args:
    regions: the regions.
    size: (height, width) of the picture.

  Raises:
    UserError: a region is not inside.
  """
  height, width = size
  for region in regions:
    right, bottom = region.x + region.width, region.y + region.height
    if min(region.x, region.y) < 0 or right > width or bottom > height:
      is_apart = (region.x >= width or region.y >= height or right <= 0
                  or bottom <= 0)
      raise errors.UserError(
          f'The region {text(region)} '
          f'{"is outside of" if is_apart else "crosses the border of"} '
          f'the picture, which is {width}x{height}.')


def weights(region: Region, size: tuple[int, int]) -> np.ndarray:
  """The feather inside of a region.

  It stays 1 towards a border of the region that is a border of the picture.

  Args:
    region: inside of the picture.
    size: (height, width) of the picture.

  Returns:
    float32 [height, width, 1] of the region, in (0, 1].
  """
  rows = _ramp(region.y, region.height, size[0])
  columns = _ramp(region.x, region.width, size[1])
  return (rows[:, None] * columns[None, :])[..., None]


def mask(blend: Blend, size: tuple[int, int]) -> np.ndarray:
  """bool [h, w]: the pixels of a picture that may change.

  Args:
    blend: the regions and the strength.
    size: (height, width) of the picture.
  """
  may_change = np.full(size, blend.strength > 0 and not blend.regions)
  if blend.strength > 0:
    for region in blend.regions:
      may_change[_inside(region)] = True
  return may_change


def crops(
    regions: Sequence[Region], size: tuple[int, int]) -> list[Region]:
  """The crops that the network sees: each region with a margin.

  Args:
    regions: inside of the picture.
    size: (height, width) of the picture.
  """
  found = []
  for x, y, width, height in regions:
    left = max(0, x - MARGIN) // ALIGNMENT * ALIGNMENT
    top = max(0, y - MARGIN) // ALIGNMENT * ALIGNMENT
    found.append(Region(
        left, top, min(size[1], x + width + MARGIN) - left,
        min(size[0], y + height + MARGIN) - top))
  return found


def megapixels(
    regions: Sequence[Region], size: tuple[int, int]) -> float:
  """How many megapixels of a picture the network sees.

  Args:
    regions: () is the whole picture.
    size: (height, width) of the picture.
  """
  seen = crops(regions, size) if regions else [Region(0, 0, *size)]
  # A region outside of the picture counts as nothing.
  return sum(max(0, one.width) * max(0, one.height) for one in seen) / 1e6


def restore_in(
    restore: Callable[..., Any], image: np.ndarray,
    regions: Sequence[Region] = (),
    on_tile: Callable[[int, int], None] = lambda done, total: None):
  """Restores a picture inside of regions only.

  Args:
    restore: the result of `tiling.build`.
    image: float32 [h, w, 3 * window] in [0, 1].
    regions: () is the whole picture; where two overlap, the later one is
      blended into the result of the earlier one.
    on_tile: see `tiling.build`; every region counts as equally many tiles.

  Returns:
    A `tiling.Large` of the whole picture; its counts are sums over the regions.

  Raises:
    UserError: a region that is not inside, or as of `tiling.build`.
  """
  from deblur_jax.ops import frames

  if not regions:
    return restore(image, on_tile)
  size = image.shape[:2]
  check(regions, size)
  out, found = frames.middle(image).copy(), []
  for number, (region, crop) in enumerate(
      zip(regions, crops(regions, size), strict=True)):
    large = restore(image[_inside(crop)], lambda done, total, number=number: (
        on_tile(number * total + done, len(regions) * total)))
    inner = large.image[_inside(region._replace(
        x=region.x - crop.x, y=region.y - crop.y))]
    out[_inside(region)] = mix(
        out[_inside(region)], inner, weights(region, size))
    found.append(large)
  tiles, recomputed, rejected = (sum(getattr(one, name) for one in found)
                        for name in ('tiles', 'recomputed', 'rejected'))
  return found[-1]._replace(
      image=out, tiles=tiles, recomputed=recomputed, rejected=rejected)


def mix(
    image: np.ndarray, restored: np.ndarray, weight: float | np.ndarray
) -> np.ndarray:
  """(1 - weight) image + weight restored, exact for the weights 0 and 1.

  Args:
    image: the original, float32 [h, w, 3] in [0, 1].
    restored: of the same shape.
    weight: in [0, 1], a number or an array [h, w, 1].
  """
  if np.ndim(weight) == 0 and weight == 1:
    return restored
  weight = np.asarray(weight, np.float32)
  return (1 - weight) * image + weight * restored


def _ramp(first: int, side: int, whole: int) -> np.ndarray:
  """float32 [side]: rises to 1 from each border inside of the picture."""
  length = min(FEATHER, (side - 1) // 2)
  rise = np.minimum(
      1, np.arange(1, side + 1) / (length + 1)).astype(np.float32)
  ramp = np.ones(side, np.float32) if first == 0 else rise
  return ramp if first + side == whole else ramp * rise[::-1]


def _inside(region: Region) -> tuple[slice, slice]:
  return (slice(region.y, region.y + region.height),
          slice(region.x, region.x + region.width))


def text(region: Region) -> str:
  """A region as 'x,y,w,h', which `build` reads."""
  return ','.join(map(str, region))
