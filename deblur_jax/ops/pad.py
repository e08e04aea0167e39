"""Padding by reflection or to a multiple, and cropping."""

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
    multiple: 1 or more.

  Returns:
    The padded image, and (h, w) for `crop`.
  """
  _, height, width, _ = image.shape
  # With -height % multiple JAX could not prove that a symbolic size is a
  # multiple.
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

  Half of the padding, rounded down, is before the image. The mirror image
  repeats as often as necessary, for images from one pixel on.

  Args:
    image: [n, h, w, c].
    multiple: 1 or more.

  Returns:
    The padded image, and the (row, column) of the image's first pixel in it.
  """
  corner = []
  for axis in (1, 2):
    side = image.shape[axis]
    full = (side + multiple - 1) // multiple * multiple
    first = (full - side) // 2
    corner.append(first)
    if isinstance(side, int) and full == side:
      continue
    # The mirror image without repeated edges has the period 2 side - 2.
    period = lax.max(2 * side - 2, 1) if not isinstance(side, int) else max(
        2 * side - 2, 1)
    place = jnp.abs(jnp.arange(full) - first) % period
    image = jnp.take(image, jnp.minimum(place, period - place), axis=axis,
                     mode='clip')
  return image, tuple(corner)


def crop_at(
    image: Array, *, corner: tuple[int, int], size: tuple[int, int]
) -> Array:
  """Crops `size` = (height, width) of [n, h, w, c] from pixel `corner` on."""
  (top, left), (height, width) = corner, size
  n, _, _, channels = image.shape
  return lax.slice(image, (0, top, left, 0),
                   (n, top + height, left + width, channels))


def crop(image: Array, *, size: tuple[int, int]) -> Array:
  """Crops the top left corner of an image.

  Args:
    image: [n, h, w, c].
    size: (height, width).

  Returns:
    [n, height, width, c].

  Raises:
    ValueError: the image is smaller.
  """
  height, width = size
  if height > image.shape[1] or width > image.shape[2]:
    raise ValueError(f'Cannot crop {size} from an image of {image.shape}.')
  # Indexing becomes a gather where sizes are symbolic.
  n, _, _, channels = image.shape
  return lax.slice(image, (0, 0, 0, 0), (n, height, width, channels))


def crop_centre(image: Array, *, size: tuple[int, int]) -> Array:
  """Crops the middle of an image; an odd margin is larger at the end.

  Args:
    image: [n, h, w, c].
    size: (height, width).

  Returns:
    [n, height, width, c].

  Raises:
    ValueError: the image is smaller.
  """
  top, left = (
      (have - want) // 2
      for have, want in zip(image.shape[1:3], size, strict=True))
  if top < 0 or left < 0:
    raise ValueError(f'Cannot crop {size} from an image of {image.shape}.')
  image = lax.slice_in_dim(image, top, None, axis=1)
  return crop(lax.slice_in_dim(image, left, None, axis=2), size=size)


def reflect(image: Array, *, padding: int) -> Array:
  """Pads by reflection without repeated edges, as PyTorch.

  The custom gradient is eight times faster on XLA's CPU backend than that of
  `jnp.pad`. Forward-mode differentiation does not work.

  Args:
    image: [n, h, w, c].
    padding: rows and columns on each of the four sides.

  Returns:
    [n, h + 2 padding, w + 2 padding, c].
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
  """Adds both borders to the pixels that they mirror."""
  last = dy.shape[axis] - padding - 1  # the edges are at `padding` and here
  part = lambda start, stop: lax.slice_in_dim(dy, start, stop, axis=axis)
  return jnp.concatenate([
      part(padding, padding + 1),
      part(padding + 1, 2 * padding + 1) + jnp.flip(part(0, padding), axis),
      part(2 * padding + 1, last - padding),
      part(last - padding, last) + jnp.flip(part(last + 1, None), axis),
      part(last, last + 1),
  ], axis)
