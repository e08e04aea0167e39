"""Bilinear resizing by whole factors.

`double_bilinear` has a custom gradient, thirty times faster on XLA's CPU
backend than the automatic one. Forward-mode differentiation does not work.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deblur_jax.state import Array


@jax.custom_vjp
def double_bilinear(x: Array) -> Array:
  """Doubles the size of an image, as PyTorch with align_corners=False.

  Along both axes each pixel becomes two: 3/4 of it and 1/4 of its neighbour on
  that side. Edge pixels repeat.

  Args:
    x: [n, h, w, c].

  Returns:
    [n, 2h, 2w, c].
  """
  return double_along(double_along(x, axis=2), axis=1)


def _forward(x):
  return double_bilinear(x), None


def _backward(_, dy):
  # The barriers prevent a fusion of the two passes, which is four times slower.
  dx = _double_transposed(lax.optimization_barrier(dy), axis=1)
  dx = _double_transposed(lax.optimization_barrier(dx), axis=2)
  return (lax.optimization_barrier(dx),)


double_bilinear.defvjp(_forward, _backward)


def double_along(x: Array, *, axis: int) -> Array:
  """Doubles the size along one axis, as `double_bilinear` does along two.

  Args:
    x: any shape.
    axis: from 0 on.

  Returns:
    x with twice the length along the axis.
  """
  before, after = _neighbours(x, x, axis)
  pair = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after],
                   axis=axis + 1)
  shape = list(x.shape)
  shape[axis] *= 2
  return pair.reshape(shape)


def _double_transposed(dy, *, axis):
  shape = list(dy.shape)
  shape[axis:axis + 1] = [shape[axis] // 2, 2]
  first, second = (
      lax.index_in_dim(dy.reshape(shape), i, axis + 1, keepdims=False)
      for i in (0, 1))
  before, after = _neighbours(second, first, axis, ends=(first, second))
  return 0.75 * (first + second) + 0.25 * (before + after)


def _neighbours(x, y, axis, *, ends=None):
  """(x moved by one forward, y by one back), padded by the edges of `ends`."""
  size = x.shape[axis]
  part = lambda x, start, stop: lax.slice_in_dim(x, start, stop, axis=axis)
  low, high = ends or (x, y)
  return (
      jnp.concatenate([part(low, 0, 1), part(x, 0, size - 1)], axis),
      jnp.concatenate([part(y, 1, size), part(high, size - 1, size)], axis))


def downsample_bilinear(x: Array, *, factor: int) -> Array:
  """Shrinks an image by a whole factor, bilinear and antialiased.

  The filter is a triangle of 2 factor pixels, normalised at the borders: the
  result of `jax.image.resize(..., 'bilinear')`, without its matrix products.

  Args:
    x: [n, h, w, c], h and w multiples of `factor`.
    factor: even, or 1.

  Returns:
    [n, h / factor, w / factor, c].
  """
  if factor == 1:
    return x
  return _downsample(_downsample(x, factor, axis=1), factor, axis=2)


def upsample_bilinear(x: Array, *, factor: int) -> Array:
  """Enlarges an image by a whole factor, bilinear; edge pixels repeat.

  The result is that of `jax.image.resize(..., 'bilinear')`.

  Args:
    x: [n, h, w, c].
    factor: even, or 1.

  Returns:
    [n, factor h, factor w, c].
  """
  if factor == 1:
    return x
  return _upsample(_upsample(x, factor, axis=1), factor, axis=2)


def _downsample(x, factor, *, axis):
  size = x.shape[axis] // factor
  blocks = x.reshape(*x.shape[:axis], size, factor, *x.shape[axis + 1:])
  # The taps of the previous block, of this one and of the next.
  distance = abs(np.arange(-factor, 2 * factor) - (factor - 1) / 2) / factor
  before, here, after = np.maximum(1 - distance, 0).reshape(3, factor) / factor
  weigh = lambda taps: sum(
      float(tap) * lax.index_in_dim(blocks, a, axis + 1, keepdims=False)
      for a, tap in enumerate(taps) if tap)
  part = lambda y, start, stop: lax.slice_in_dim(y, start, stop, axis=axis)
  low, high = weigh(before), weigh(after)
  zeros = jnp.zeros_like(part(low, 0, 1))
  total = (weigh(here)
           + jnp.concatenate([zeros, part(low, 0, size - 1)], axis)
           + jnp.concatenate([part(high, 1, size), zeros], axis))
  place = lax.broadcasted_iota(jnp.int32, (size,), 0)
  lost = (jnp.where(place == 0, before.sum(), 0.0)
          + jnp.where(place == size - 1, after.sum(), 0.0))
  shape = [1] * total.ndim
  shape[axis] = size
  return total * (1 / (1 - lost)).reshape(shape).astype(x.dtype)


def _upsample(x, factor, *, axis):
  before, after = _neighbours(x, x, axis)
  phases = []
  for a in range(factor):
    offset = (a + 0.5) / factor - 0.5    # from the centre of the pixel
    neighbour = before if offset < 0 else after
    phases.append((1 - abs(offset)) * x + abs(offset) * neighbour)
  shape = list(x.shape)
  shape[axis] *= factor
  return jnp.stack(phases, axis=axis + 1).reshape(shape)
