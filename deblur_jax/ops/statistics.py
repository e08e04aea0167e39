"""Means over the pixels of an image, or at test time over those around each.

A network that learnt on small crops and takes the mean over a whole photograph
meets numbers that it never saw. Within `local`, the means of the layers that
ask `mean` are of a window about each pixel instead, as large as the crops were
(TLC: Chu et al., ECCV 2022). The layers' weights stay as they are.
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
  """Within it, while a network is traced, `mean` is local.

  Args:
    window: side, in pixels of the network's input; TLC takes one and a half of
      the crops' side.
    height: of the network's input, by which the window of coarser features is
      made smaller.

  Raises:
    UserError: a window below one pixel.
  """
  if window < 1:
    raise errors.UserError(f'The window must be at least 1, got {window}.')
  token = _window.set((window, height))
  try:
    yield
  finally:
    _window.reset(token)


def mean(x: Array) -> Array:
  """[n, h, w, c] to float32 [n, 1, 1, c], or within `local` [n, h, w, c]."""
  x = x.astype(jnp.float32)
  if _window.get() is None:
    return x.mean(axis=(1, 2), keepdims=True)
  window, height = _window.get()
  side = max(1, round(window * x.shape[1] / height))
  centre = x.mean(axis=(1, 2), keepdims=True)
  y = x - centre     # small sums lose less
  for axis in (1, 2):
    y = _box(y, min(side, x.shape[axis]), axis=axis)
  return centre + y


def _box(x, side, *, axis):
  """Means of `side` along an axis; near its ends those of the last whole."""
  length = x.shape[axis]
  sums = jnp.cumsum(x, axis=axis)
  sums = jnp.concatenate([jnp.zeros_like(
      jnp.take(sums, jnp.array([0]), axis=axis)), sums], axis=axis)
  firsts = jnp.clip(jnp.arange(length) - side // 2, 0, length - side)
  return (jnp.take(sums, firsts + side, axis=axis)
          - jnp.take(sums, firsts, axis=axis)) / side
