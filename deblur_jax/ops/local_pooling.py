"""Means over the pixels of an image, or at test time over local windows.

A network trained on small crops has other statistics when its layers average
over a whole photograph. Within `local`, `mean` averages over a window around
each pixel, about as large as the crops (TLC: Chu et al., ECCV 2022). The
layers' weights stay the same.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.state import Array

# (side of the window, height of the image), in pixels of the image.
_window = contextvars.ContextVar('window', default=None)


@contextlib.contextmanager
def local(window: int, *, height: int) -> Iterator[None]:
  """Makes `mean` local for networks that are traced in this context.

  Args:
    window: side in pixels of the network's input, 1 or more; TLC uses 1.5 times
      the crops' side.
    height: of the network's input; the window of coarser features is smaller by
      the ratio of the heights.

  Raises:
    UserError: window is below 1.
  """
  if window < 1:
    raise errors.UserError(f'The window must be at least 1, got {window}.')
  token = _window.set((window, height))
  try:
    yield
  finally:
    _window.reset(token)


def mean(x: Array) -> Array:
  """Averages over pixels: float32 [n, 1, 1, c], or [n, h, w, c] in `local`."""
  x = x.astype(jnp.float32)
  if _window.get() is None:
    return x.mean(axis=(1, 2), keepdims=True)
  window, height = _window.get()
  side = max(1, round(window * x.shape[1] / height))
  centre = x.mean(axis=(1, 2), keepdims=True)
  y = x - centre     # smaller sums have smaller rounding errors
  for axis in (1, 2):
    y = _box(y, min(side, x.shape[axis]), axis=axis)
  return centre + y


def _box(x, side, *, axis):
  """Means of `side` values along an axis; at its ends the last whole window."""
  length = x.shape[axis]
  sums = jnp.cumsum(x, axis=axis)
  sums = jnp.concatenate([jnp.zeros_like(
      jnp.take(sums, jnp.array([0]), axis=axis)), sums], axis=axis)
  firsts = jnp.clip(jnp.arange(length) - side // 2, 0, length - side)
  return (jnp.take(sums, firsts + side, axis=axis)
          - jnp.take(sums, firsts, axis=axis)) / side
