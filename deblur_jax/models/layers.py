"""Layers that the networks share. Images are [n, h, w, c]."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deblur_jax.ops import conv as conv_ops
from deblur_jax.ops import depthwise as depthwise_ops
from deblur_jax.ops import local_pooling, norm, pad
from deblur_jax.state import Array


class Conv(nn.Module):
  """Convolution as in PyTorch: its borders, its initialisation, its bias.

  The parameters `kernel` [k, k, c_in, features] and `bias` [features] are
  float32 from U(-b, b) with b = 1 / sqrt(k^2 c_in), a third of the variance of
  Flax's default. The computation and the result have the type `dtype`.

  Attributes:
    features: channels of the result.
    kernel_size: side of the square kernel.
    stride: along both axes.
    padding: pixels on each side; None takes kernel_size // 2, which keeps the
      size for stride 1.
    reflect: whether the border is mirrored; otherwise it is zero.
    use_bias: whether a bias is added.
    std: if given, kernels are from N(0, std^2) and biases zero.
    dtype: of the computation.
  """

  features: int
  kernel_size: int = 5
  stride: int = 1
  padding: int | None = None
  reflect: bool = False
  use_bias: bool = True
  std: float | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, h', w', features]."""
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel, bias = parameters(self, shape)
    padding = self.kernel_size // 2 if self.padding is None else self.padding
    x = x.astype(self.dtype)
    if self.reflect:
      x, padding = pad.reflect(x, padding=padding), 0
    y = conv_ops.conv(x, kernel, stride=self.stride, padding=padding)
    return y if bias is None else y + bias


class ConvTranspose(nn.Module):
  """Transposed convolution to twice the size.

  It is PyTorch's with a stride of 2, a padding of 1 for kernels of 3 and 4, and
  an output_padding of 1 for odd kernels. `ops.conv.conv_transpose` describes
  `kernel`.

  Attributes:
    features: channels of the result.
    kernel_size: side of the square kernel.
    std: see `Conv`.
    dtype: of the computation.
  """

  features: int
  kernel_size: int = 3
  std: float | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, 2 h, 2 w, features]."""
    size = self.kernel_size
    kernel, bias = parameters(self, (size, size, x.shape[-1], self.features))
    return bias + conv_ops.conv_transpose(
        x.astype(self.dtype), kernel, padding=(size - 1) // 2,
        output_padding=size % 2)


class Dense(nn.Module):
  """x @ kernel + bias along the channels, as in Flax.

  Attributes:
    features: channels of the result.
    dtype: of the computation.
  """

  features: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, h, w, features]."""
    kernel = param(self, 'kernel', nn.initializers.lecun_normal(),
                   (x.shape[-1], self.features))
    bias = param(self, 'bias', nn.initializers.zeros, (self.features,))
    y = x.astype(self.dtype) @ kernel.astype(self.dtype)
    return y + bias.astype(self.dtype)[None, None, None, :]


class Depthwise(nn.Module):
  """3x3 convolution of each channel with its own kernel.

  Attributes:
    stride: along both axes.
    use_bias: whether a bias is added.
    dtype: of the computation.
  """

  stride: int = 1
  use_bias: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, ceil(h / stride), ceil(w / stride), c]."""
    kernel = self.param('kernel', uniform(1 / 3), (3, 3, x.shape[-1]))
    y = depthwise_ops.depthwise(
        x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride)
    if not self.use_bias:
      return y
    bias = self.param('bias', uniform(1 / 3), x.shape[-1:])
    return y + bias.astype(self.dtype)[None, None, None, :]


class ResBlock(nn.Module):
  """x + conv(relu(conv(x))), without normalisation.

  Attributes:
    kernel_size: of both convolutions, odd.
    dtype: of the computation.
    attend: a row of `attention.ATTENTION`, applied before the sum.
  """

  kernel_size: int = 5
  dtype: Any = jnp.float32
  attend: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    options = dict(
        features=x.shape[-1], kernel_size=self.kernel_size, dtype=self.dtype)
    y = relu(Conv(**options, name='conv_0')(x))
    y = Conv(**options, name='conv_1')(y)
    return x + _attended(self, y)


class NormBlock(nn.Module):
  """x + norm(conv(dropout(relu(norm(conv(x)))))), 3x3 with mirrored borders.

  The block of Johnson et al. (2016) as in DeblurGAN: with instance norm.

  Attributes:
    dropout: share of values that are dropped in training, in [0, 1).
    std: see `Conv`.
    dtype: of the computation.
    attend: a row of `attention.ATTENTION`, applied before the sum.
  """

  dropout: float = 0.0
  std: float | None = None
  dtype: Any = jnp.float32
  attend: Any = None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps [n, h, w, c] to the same shape.

    Args:
      x: features.
      train: whether dropout is on; it needs `rngs={'dropout': key}`.

    Returns:
      The sum.
    """
    options = dict(features=x.shape[-1], kernel_size=3, reflect=True,
                   std=self.std, dtype=self.dtype)
    y = relu(instance_norm(Conv(**options, name='conv_0')(x)))
    y = nn.Dropout(self.dropout, deterministic=not train)(y)
    y = instance_norm(Conv(**options, name='conv_1')(y))
    return x + _attended(self, y)


def _attended(block, y):
  if block.attend is None:
    return y
  return block.attend(dtype=block.dtype, name='attention')(y)


class Norm(nn.Module):
  """`instance_norm`, times `scale`, plus `bias`: batch norm of a batch of one.

  `scale` and `bias` are learnt, [c] and float32, from ones (or zeros) and
  zeros.

  Attributes:
    zeros: whether `scale` starts from zeros.
    slope: factor of the negative results.
  """

  zeros: bool = False
  slope: float = 1.0

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    shape = x.shape[-1:]
    ones = nn.initializers.zeros if self.zeros else nn.initializers.ones
    scale = self.param('scale', ones, shape)
    bias = self.param('bias', nn.initializers.zeros, shape)
    return norm.normalise(x, scale, bias, self.slope)


class JoinNorm(nn.Module):
  """`Norm` of several images that are concatenated along their channels.

  Each is normalised before the concatenation: the result is the same, and XLA
  makes no copy.
  """

  @nn.compact
  def __call__(self, parts: Sequence[Array]) -> Array:
    """Maps images [n, h, w, c_i] to [n, h, w, sum of c_i]."""
    widths = [x.shape[-1] for x in parts]
    scale = self.param('scale', nn.initializers.ones, (sum(widths),))
    bias = self.param('bias', nn.initializers.zeros, (sum(widths),))
    ends = list(itertools.accumulate(widths))
    return jnp.concatenate([
        norm.normalise(x, scale[end - width:end], bias[end - width:end])
        for x, width, end in zip(parts, widths, ends, strict=True)], axis=-1)


class ConvNorm(nn.Module):
  """leaky_relu(norm(downsample(conv(x)))), the layer of the deep priors.

  The papers' programs add a bias before the norm, which removes it again. It is
  a parameter here too, `bias`, but it is neither added nor changed; there it
  drifts by rounding errors.

  Attributes:
    features: channels of the result.
    kernel_size: side of the square kernel.
    stride: along both axes.
    reflect: whether the border is mirrored; otherwise it is zero.
    downsample: makes the result of the convolution smaller; None does not.
    dtype: of the convolution.
  """

  features: int
  kernel_size: int = 3
  stride: int = 1
  reflect: bool = True
  downsample: Callable[[Array], Array] | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, h', w', features]."""
    bound = 1 / math.sqrt(self.kernel_size**2 * x.shape[-1])
    self.param('bias', uniform(bound), (self.features,))
    x = Conv(self.features, self.kernel_size, self.stride, use_bias=False,
             reflect=self.reflect, dtype=self.dtype, name='conv')(x)
    if self.downsample is not None:
      x = self.downsample(x)
    return Norm(slope=0.2, name='norm')(x)


@jax.custom_jvp
def relu(x: Array) -> Array:
  """max(x, 0), with a gradient that depends on the result alone.

  The next convolution keeps the result for its own gradient. XLA would keep x
  or its source as well, which takes half as much memory again, and would not
  fuse the convolution with its ReLU in training.

  Args:
    x: any array.

  Returns:
    The same shape.
  """
  return jnp.maximum(x, 0)


@relu.defjvp
def _relu_jvp(primals, tangents):
  y = relu(*primals)
  positive = jax.lax.optimization_barrier(jax.lax.stop_gradient(y)) > 0
  return y, jnp.where(positive, tangents[0], 0)


def leaky_relu(x: Array) -> Array:
  """x if it is positive, 0.2 x otherwise.

  Args:
    x: any array.

  Returns:
    The same shape.
  """
  return jnp.where(x > 0, x, 0.2 * x)


def instance_norm(x: Array) -> Array:
  """Normalises each image and channel to mean 0 and variance 1 over h and w.

  The variance is the biased one, plus 1e-5. Nothing is learnt. The computation
  is in float32.

  Args:
    x: [n, h, w, c].

  Returns:
    The same shape and type.
  """
  mean, variance = local_pooling.moments(x)
  y = x.astype(jnp.float32) - mean
  return (y * jax.lax.rsqrt(variance + 1e-5)).astype(x.dtype)


class LayerNorm(nn.Module):
  """Layer norm over the channels of each pixel, computed in float32.

  `scale` and `bias` are learnt, [c] and float32, from ones and zeros.

  Attributes:
    epsilon: added to the variance.
    dtype: of the result.
  """

  epsilon: float = 1e-5
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    shape = x.shape[-1:]
    scale = param(self, 'scale', nn.initializers.ones, shape)
    bias = param(self, 'bias', nn.initializers.zeros, shape)
    return norm.layer_norm(x.astype(self.dtype), scale, bias, self.epsilon)


def add_tanh(blur: Array, y: Array) -> Array:
  """clamp(x + tanh(y), -1, 1) for x = 2 blur - 1, as an image in [0, 1].

  Args:
    blur: [n, h, w, 3] in [0, 1].
    y: the same shape.

  Returns:
    float32 of the same shape.
  """
  return jnp.clip(blur + jnp.tanh(y.astype(jnp.float32)) / 2, 0, 1)


def upsample_nearest(x: Array, *, factor: int) -> Array:
  """Enlarges images by repeating their pixels.

  Args:
    x: [n, h, w, c].
    factor: how often.

  Returns:
    [n, factor h, factor w, c].
  """
  n, h, w, c = x.shape
  x = jnp.broadcast_to(
      x[:, :, None, :, None], (n, h, factor, w, factor, c))
  return x.reshape(n, h * factor, w * factor, c)


def param(module: nn.Module, name: str, initializer, shape: tuple[int, ...]):
  """`module.param` that looks up an existing parameter without its initializer.

  Flax traces the initializer each time to know the shape, which takes a third
  of the time to trace a network of many small layers.

  Args:
    module: the layer.
    name: of the parameter.
    initializer: (key, shape) -> array.
    shape: of the parameter.

  Returns:
    The parameter.
  """
  if module.has_variable('params', name):
    value = module.get_variable('params', name)
    if jnp.shape(value) == shape:
      return value
  return module.param(name, initializer, shape)


def parameters(module: nn.Module, shape: tuple[int, ...]):
  """The kernel and the bias of a convolution in its dtype.

  Args:
    module: the layer, with `std`, `dtype` and maybe `use_bias`.
    shape: of the kernel, [k, k, c_in, c_out].

  Returns:
    (kernel, bias [1, 1, 1, c_out] or None).
  """
  bound = 1 / math.sqrt(math.prod(shape[:3]))
  std = module.std
  initializer = uniform(bound) if std is None else normal(std)
  kernel = param(module, 'kernel', initializer, shape).astype(module.dtype)
  if not getattr(module, 'use_bias', True):
    return kernel, None
  initializer = uniform(bound) if std is None else nn.initializers.zeros
  bias = param(module, 'bias', initializer, shape[3:])
  return kernel, bias.astype(module.dtype)[None, None, None, :]


def uniform(bound: float):
  """An initializer of the uniform distribution U(-bound, bound).

  Args:
    bound: the largest magnitude.

  Returns:
    (key, shape) -> float32.
  """
  return _in_a_row(lambda key, shape, dtype: jax.random.uniform(
      key, shape, dtype, -bound, bound))


def normal(std: float):
  """An initializer of the normal distribution N(0, std^2).

  Args:
    std: standard deviation.

  Returns:
    (key, shape) -> float32.
  """
  return _in_a_row(nn.initializers.normal(std))


def _in_a_row(draw):
  """The same numbers, drawn along one axis and reshaped.

  For each shape in a network XLA compiles this in a fifth of a second, and
  draws along four axes in a second.
  """
  def initialize(key, shape, dtype=jnp.float32):
    return draw(key, (math.prod(shape),), dtype).reshape(shape)
  return initialize
