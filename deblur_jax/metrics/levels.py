"""What the metrics share: the check of shapes, the 8-bit picture, the mean."""

import jax.numpy as jnp

from deblur_jax import types


def check(restored: types.Array, sharp: types.Array) -> None:
  """Refuses anything but two equal [n, h, w, 3]."""
  if restored.shape != sharp.shape:
    raise types.UserError(
        'Expected restored and sharp images of equal shapes, got '
        f'{restored.shape} and {sharp.shape}.')
  if restored.ndim != 4 or restored.shape[-1] != 3:
    raise types.UserError(
        f'Expected RGB images [n, h, w, 3], got {restored.shape}.')


def round_to_uint8(images: types.Array) -> types.Array:
  """The 8-bit picture that a PNG would hold: float32 0, 1, ..., 255."""
  return jnp.round(jnp.clip(images, 0, 1) * 255)


def mean(values: types.Array) -> types.Array:
  """[n, h, w, c] -> [n].

  Row by row: one running float32 sum over the millions of values of a whole
  frame would lose the digits that tables print.
  """
  return values.mean(axis=(2, 3)).mean(axis=1)
