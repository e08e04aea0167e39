"""Normalisation of each image or of each pixel, with custom gradients.

Without them XLA's CPU backend stores every step of the formula, forward and
backward: three times the work. Forward-mode differentiation does not work.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from deblur_jax.state import Array

EPSILON = 1e-5


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(x: Array, scale: Array, bias: Array,
              slope: float = 1.0) -> Array:
  """Applies instance normalisation and a leaky ReLU.

  leaky(scale (x - mean) / sqrt(variance + 1e-5) + bias)

  Mean and biased variance are over h and w of each image: batch norm for a
  batch of one. Computed in float32.

  Args:
    x: [n, h, w, c].
    scale: [c], float32.
    bias: [c], float32.
    slope: factor of negative results; 1 leaves the leaky ReLU out.

  Returns:
    An array of the shape and dtype of x.
  """
  return _forward(x, scale, bias, slope)[0]


def _forward(x, scale, bias, slope):
  centre, factor = _statistics(x.astype(jnp.float32))
  y = _affine(x, centre, factor, scale, bias)
  if slope != 1:
    y = jnp.where(y > 0, y, slope * y)
  return y.astype(x.dtype), (x, centre, factor, scale, bias)


def _backward(slope, residuals, dy):
  x, centre, factor, scale, bias = residuals
  # Without it the intermediate results of the forward pass stay in memory.
  x, dy = lax.optimization_barrier((x, dy))
  unit = (x.astype(jnp.float32) - centre) * factor
  dy = dy.astype(jnp.float32)
  if slope != 1:
    y = _affine(x, centre, factor, scale, bias)
    dy = jnp.where(y > 0, dy, slope * dy)
  dbias = dy.mean(axis=(1, 2), keepdims=True)
  dscale = (dy * unit).mean(axis=(1, 2), keepdims=True)
  dbias, dscale = lax.optimization_barrier((dbias, dscale))
  dx = factor * scale[None, None, None, :] * (dy - dbias - unit * dscale)
  pixels = x.shape[1] * x.shape[2]
  return (dx.astype(x.dtype), pixels * dscale.sum(axis=(0, 1, 2)),
          pixels * dbias.sum(axis=(0, 1, 2)))


normalise.defvjp(_forward, _backward)


def _statistics(x):
  """Mean and 1 / standard deviation, [n, 1, 1, c]."""
  centre = x.mean(axis=(1, 2), keepdims=True)
  variance = ((x - centre)**2).mean(axis=(1, 2), keepdims=True)
  return centre, lax.rsqrt(variance + EPSILON)


def _affine(x, centre, factor, scale, bias):
  factor = factor * scale[None, None, None, :]
  return (x.astype(jnp.float32) - centre) * factor + bias[None, None, None, :]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(x: Array, scale: Array, bias: Array,
               epsilon: float = EPSILON) -> Array:
  """Applies layer normalisation to each pixel (Ba et al. 2016).

  scale (x - mean) / sqrt(variance + epsilon) + bias

  Mean and biased variance are over the channels. Computed in float32.

  Args:
    x: [n, h, w, c].
    scale: [c], float32.
    bias: [c], float32.
    epsilon: added to the variance.

  Returns:
    An array of the shape and dtype of x.
  """
  unit, _ = _of_pixels(x, epsilon)
  y = unit * scale[None, None, None, :] + bias[None, None, None, :]
  return y.astype(x.dtype)


def _layer_forward(x, scale, bias, epsilon):
  return layer_norm(x, scale, bias, epsilon), (x, scale)


def _layer_backward(epsilon, residuals, dy):
  x, scale = residuals
  # The barriers prevent fusions that would compute this several times.
  x, dy = lax.optimization_barrier((x, dy))
  unit, factor = _of_pixels(x, epsilon)
  dy = dy.astype(jnp.float32)
  slope = dy * scale[None, None, None, :]
  dx = factor * (slope - slope.mean(axis=-1, keepdims=True)
                 - unit * (slope * unit).mean(axis=-1, keepdims=True))
  over = (0, 1, 2)
  return lax.optimization_barrier((
      dx.astype(x.dtype), (dy * unit).sum(axis=over), dy.sum(axis=over)))


layer_norm.defvjp(_layer_forward, _layer_backward)


def _of_pixels(x, epsilon):
  """(x with mean 0 and variance 1 over its channels, 1 / deviation)."""
  x = x.astype(jnp.float32)
  x = x - x.mean(axis=-1, keepdims=True)
  variance = jnp.square(x).mean(axis=-1, keepdims=True)
  factor = lax.rsqrt(variance + epsilon)
  return x * factor, factor
