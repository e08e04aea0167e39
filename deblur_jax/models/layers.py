"""The layers that the networks share."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deblur_jax import types
from deblur_jax.ops import conv as conv_ops


class Conv(nn.Module):
  """Convolution as in PyTorch: zeros around, its initialisation, its bias.

  The parameters `kernel` [k, k, c_in, features] and `bias` [features] are
  float32 from U(-b, b), b = 1 / sqrt(k^2 c_in); a third of the variance of
  Flax's own default. The computation and the result are of `dtype`.

  Attributes:
    features: channels of the result.
    kernel_size: side of the square kernel.
    stride: of both axes.
    padding: zeros on each side; `kernel_size // 2` keeps the size for stride 1.
    use_bias: whether a bias is added.
    dtype: of the computation.
  """

  features: int
  kernel_size: int = 5
  stride: int = 1
  padding: int | None = None
  use_bias: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    size = self.kernel_size
    shape = (size, size, x.shape[-1], self.features)
    initializer = uniform(1 / math.sqrt(math.prod(shape[:3])))
    kernel = self.param('kernel', initializer, shape)
    padding = size // 2 if self.padding is None else self.padding
    y = conv_ops.conv(
        x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride,
        padding=padding)
    if self.use_bias:
      bias = self.param('bias', initializer, (self.features,))
      y = y + bias.astype(self.dtype)[None, None, None, :]
    return y


class ResBlock(nn.Module):
  """x + conv(relu(conv(x))): no normalisation, nothing after the sum."""

  kernel_size: int = 5
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: types.Array) -> types.Array:
    options = dict(
        features=x.shape[-1], kernel_size=self.kernel_size, dtype=self.dtype)
    y = relu(Conv(**options, name='conv_0')(x))
    return x + Conv(**options, name='conv_1')(y)


@jax.custom_jvp
def relu(x: types.Array) -> types.Array:
  """max(x, 0), whose gradient is told from the result, not from x.

  The next convolution keeps the result anyway. XLA would rather keep x, or what
  x came from: half as much memory again, and no convolution fused with its ReLU
  while training.
  """
  return jnp.maximum(x, 0)


@relu.defjvp
def _relu_jvp(primals, tangents):
  y = relu(*primals)
  positive = jax.lax.optimization_barrier(jax.lax.stop_gradient(y)) > 0
  return y, jnp.where(positive, tangents[0], 0)


def uniform(bound: float):
  """An initializer: (key, shape) -> float32 from U(-bound, bound)."""
  def initialize(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)
  return initialize
