"""Padding by mirroring, padding to a multiple, and back."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from deblur_jax.state import Array


def to_multiple(
    image: Array, *, multiple: int
) -> tuple[Array, tuple[int, int]]:
  """Repeats the last row and column until both sizes are multiples.

  Args:
    image: [n, h, w, c].
    multiple: at least 1.

  Returns:
    The padded image, and (h, w) for `crop`.
  """
  _, height, width, _ = image.shape
  # Not -height % multiple: of sizes that are symbols the sum would not be seen
  # to be a multiple.
  bottom, right = (
      (side + multiple - 1) // multiple * multiple - side
      for side in (height, width))
  padded = jnp.pad(
      image, ((0, 0), (0, bottom), (0, right), (0, 0)), mode='edge')
  return padded, (height, width)


def reflect_to_multiple(
    image: Array, *, multiple: int
) -> tuple[Array, tuple[int, int]]:
  """Mirrors all four sides until both sizes are multiples.

  Half of what is missing comes before, and the larger half behind. Images of
  any size, from one pixel: the mirror repeats as often as it must.

  Args:
    image: [n, h, w, c].
    multiple: at least 1.

  Returns:
    The padded image, and the (row, column) in it of the first pixel.
  """
  corner = []
  for axis in (1, 2):
    side = image.shape[axis]
    full = (side + multiple - 1) // multiple * multiple
    first = (full - side) // 2
    corner.append(first)
    if isinstance(side, int) and full == side:
      continue
    # A mirror without its edge repeats after 2 side - 2 pixels.
    period = lax.max(2 * side - 2, 1) if not isinstance(side, int) else max(
        2 * side - 2, 1)
    place = jnp.abs(jnp.arange(full) - first) % period
    image = jnp.take(image, jnp.minimum(place, period - place), axis=axis,
                     mode='clip')
  return image, tuple(corner)


def crop_at(
    image: Array, *, corner: tuple[int, int], size: tuple[int, int]
) -> Array:
  """`size` = (height, width) of [n, h, w, c] from the pixel `corner` on."""
  (top, left), (height, width) = corner, size
  n, _, _, channels = image.shape
  return lax.slice(image, (0, top, left, 0),
                   (n, top + height, left + width, channels))


def crop(image: Array, *, size: tuple[int, int]) -> Array:
  """The top left corner of [n, h, w, c], `size` = (height, width)."""
  height, width = size
  if height > image.shape[1] or width > image.shape[2]:
    raise ValueError(f'Cannot crop {size} from an image of {image.shape}.')
  # Not image[:, :height, :width]: where sizes are symbols that is a gather.
  n, _, _, channels = image.shape
  return lax.slice(image, (0, 0, 0, 0), (n, height, width, channels))


def crop_centre(image: Array, *, size: tuple[int, int]) -> Array:
  """The middle of [n, h, w, c]; of an odd rest, the larger half is cut behind.

  `size` = (height, width).
  """
  top, left = (
      (have - want) // 2
      for have, want in zip(image.shape[1:3], size, strict=True))
  if top < 0 or left < 0:
    raise ValueError(f'Cannot crop {size} from an image of {image.shape}.')
  image = lax.slice_in_dim(image, top, None, axis=1)
  return crop(lax.slice_in_dim(image, left, None, axis=2), size=size)


def reflect(image: Array, *, padding: int) -> Array:
  """Mirrors h and w of [n, h, w, c] without repeating the edge, as PyTorch.

  With a gradient of our own: XLA's CPU backend takes eight times longer for
  that of `jnp.pad`. The price is forward-mode differentiation.
  """
  if not padding:
    return image
  if any(side < 2 * padding + 2 for side in image.shape[1:3]):
    return _mirror(image, padding)
  return _reflect(image, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _reflect(image, padding):
  return _mirror(image, padding)


def _mirror(image, padding):
  around = (padding, padding)
  return jnp.pad(image, ((0, 0), around, around, (0, 0)), mode='reflect')


def _reflect_forward(image, padding):
  return _reflect(image, padding), None


def _reflect_backward(padding, _, dy):
  dx = _fold(lax.optimization_barrier(dy), padding, axis=1)
  return (_fold(lax.optimization_barrier(dx), padding, axis=2),)


_reflect.defvjp(_reflect_forward, _reflect_backward)


def _fold(dy, padding, *, axis):
  """Adds both borders to what they mirror."""
  last = dy.shape[axis] - padding - 1  # the edges are at `padding` and here
  part = lambda start, stop: lax.slice_in_dim(dy, start, stop, axis=axis)
  return jnp.concatenate([
      part(padding, padding + 1),
      part(padding + 1, 2 * padding + 1) + jnp.flip(part(0, padding), axis),
      part(2 * padding + 1, last - padding),
      part(last - padding, last) + jnp.flip(part(last + 1, None), axis),
      part(last, last + 1),
  ], axis)
