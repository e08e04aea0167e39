"""Padding to a multiple, and back."""

import jax.numpy as jnp

from deblur_jax import types


def to_multiple(
    image: types.Array, *, multiple: int
) -> tuple[types.Array, tuple[int, int]]:
  """Repeats the last row and column until both sizes are multiples.

  Args:
    image: [n, h, w, c].
    multiple: at least 1.

  Returns:
    The padded image, and (h, w) for `crop`.
  """
  _, height, width, _ = image.shape
  bottom, right = -height % multiple, -width % multiple
  padded = jnp.pad(
      image, ((0, 0), (0, bottom), (0, right), (0, 0)), mode='edge')
  return padded, (height, width)


def crop(image: types.Array, *, size: tuple[int, int]) -> types.Array:
  """The top left corner of [n, h, w, c], `size` = (height, width)."""
  height, width = size
  if height > image.shape[1] or width > image.shape[2]:
    raise ValueError(f'Cannot crop {size} from an image of {image.shape}.')
  return image[:, :height, :width]
