"""What metrics share: checks, 8-bit images, luma, unit features, means."""

import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.state import Array


def check(restored: Array, sharp: Array) -> None:
  """Refuses images that no metric can compare.

  Args:
    restored: should be [n, h, w, 3].
    sharp: should have the same shape.

  Raises:
    UserError: unequal shapes, or images that are not RGB.
  """
  if restored.shape != sharp.shape:
    raise errors.UserError(
        'Expected restored and sharp images of equal shapes, got '
        f'{restored.shape} and {sharp.shape}.')
  check_images(restored)


def check_images(images: Array) -> None:
  """Refuses images that are not RGB.

  Args:
    images: should be [n, h, w, 3].

  Raises:
    UserError: they have another shape.
  """
  if images.ndim != 4 or images.shape[-1] != 3:
    raise errors.UserError(
        f'Expected RGB images [n, h, w, 3], got {images.shape}.')


def check_size(images: Array, *, side: int, what: str) -> None:
  """Refuses images that are smaller than a metric can read.

  Args:
    images: [n, h, w, ...].
    side: the least height and width, in pixels.
    what: name of the metric in the message.

  Raises:
    UserError: they are smaller.
  """
  if min(images.shape[1:3]) < side:
    raise errors.UserError(
        f'{what} needs images of at least {side}x{side} pixels, got '
        f'{images.shape[2]}x{images.shape[1]}: leave such images out.')


def round_to_uint8(images: Array) -> Array:
  """The 8-bit image that a PNG holds.

  Args:
    images: float32 of any shape, in [0, 1]; other values are clipped.

  Returns:
    float32 of the same shape, one of 0, 1, ..., 255.
  """
  return jnp.round(jnp.clip(images, 0, 1) * 255)


def luma_uint8(images: Array) -> Array:
  """The 8-bit gray image that Pillow's mode L holds.

  (19595 R + 38470 G + 7471 B) / 65536, rounded: BT.601 in integers. float32
  holds all of them exactly, so all devices round alike.

  Args:
    images: float32 [n, h, w, 3] in [0, 1].

  Returns:
    float32 [n, h, w, 1], one of 0, 1, ..., 255.
  """
  levels = round_to_uint8(images)
  weighted = (19595 * levels[..., 0:1] + 38470 * levels[..., 1:2]
              + 7471 * levels[..., 2:3])
  return jnp.floor((weighted + 32768) / 65536)


def unit(features: Array) -> Array:
  """Scales features to length one along their channels.

  Args:
    features: [n, h, w, c]; pixels of zeros stay zero.

  Returns:
    The same shape.
  """
  square = jnp.square(features).sum(axis=-1, keepdims=True)
  return features / (jnp.sqrt(square) + 1e-10)


def mean(values: Array) -> Array:
  """The mean of each image.

  It sums row by row: one float32 sum over the millions of values of a frame
  loses the digits that tables print.

  Args:
    values: [n, h, w, c].

  Returns:
    [n].
  """
  return values.mean(axis=(2, 3)).mean(axis=1)
