"""What metrics share: checks, the 8-bit picture, luma, unit features, means."""

import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.state import Array


def check(restored: Array, sharp: Array) -> None:
  """Refuses anything but two equal [n, h, w, 3]."""
  if restored.shape != sharp.shape:
    raise errors.UserError(
        'Expected restored and sharp images of equal shapes, got '
        f'{restored.shape} and {sharp.shape}.')
  check_images(restored)


def check_images(images: Array) -> None:
  """Refuses anything but [n, h, w, 3]."""
  if images.ndim != 4 or images.shape[-1] != 3:
    raise errors.UserError(
        f'Expected RGB images [n, h, w, 3], got {images.shape}.')


def check_size(images: Array, *, side: int, what: str) -> None:
  """Refuses images [n, h, w, ...] that are smaller than a metric can read."""
  if min(images.shape[1:3]) < side:
    raise errors.UserError(
        f'{what} needs images of at least {side}x{side} pixels, got '
        f'{images.shape[2]}x{images.shape[1]}: leave such images out.')


def round_to_uint8(images: Array) -> Array:
  """The 8-bit picture that a PNG would hold: float32 0, 1, ..., 255."""
  return jnp.round(jnp.clip(images, 0, 1) * 255)


def luma_uint8(images: Array) -> Array:
  """The 8-bit gray picture that Pillow's mode L would hold, [n, h, w, 1].

  (19595 R + 38470 G + 7471 B) / 65536, rounded: BT.601 in integers, all of
  which float32 holds exactly, so that no device rounds another way.
  """
  levels = round_to_uint8(images)
  weighted = (19595 * levels[..., 0:1] + 38470 * levels[..., 1:2]
              + 7471 * levels[..., 2:3])
  return jnp.floor((weighted + 32768) / 65536)


def unit(features: Array) -> Array:
  """To length one along the channels; zeros stay as they are."""
  square = jnp.square(features).sum(axis=-1, keepdims=True)
  return features / (jnp.sqrt(square) + 1e-10)


def mean(values: Array) -> Array:
  """[n, h, w, c] -> [n].

  Row by row: one running float32 sum over the millions of values of a whole
  frame would lose the digits that tables print.
  """
  return values.mean(axis=(2, 3)).mean(axis=1)
