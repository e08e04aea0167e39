"""The layers that the networks share."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deblur_jax.ops import conv as conv_ops
from deblur_jax.ops import depthwise as depthwise_ops
from deblur_jax.ops import norm, pad, statistics
from deblur_jax.state import Array


class Conv(nn.Module):
  """Convolution as in PyTorch: its borders, its initialisation, its bias.

  The parameters `kernel` [k, k, c_in, features] and `bias` [features] are
  float32 from U(-b, b), b = 1 / sqrt(k^2 c_in); a third of the variance of
  Flax's own default. The computation and the result are of `dtype`.

  Attributes:
    features: channels of the result.
    kernel_size: side of the square kernel.
    stride: of both axes.
    padding: on each side; `kernel_size // 2` keeps the size for stride 1.
    reflect: whether the image is mirrored there, instead of zeros.
    use_bias: whether a bias is added.
    std: kernels from N(0, std^2) and biases of zero instead of the above.
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
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel, bias = parameters(self, shape)
    padding = self.kernel_size // 2 if self.padding is None else self.padding
    x = x.astype(self.dtype)
    if self.reflect:
      x, padding = pad.reflect(x, padding=padding), 0
    y = conv_ops.conv(x, kernel, stride=self.stride, padding=padding)
    return y if bias is None else y + bias


class ConvTranspose(nn.Module):
  """Transposed convolution to twice the size: [n, 2h, 2w, features].

  PyTorch's with a stride of 2, a padding of 1 for kernels of 3 and 4, and an
  output_padding of 1 for odd ones; `kernel` is as `ops.conv.conv_transpose`
  wants it, all else as in `Conv`.
  """

  features: int
  kernel_size: int = 3
  std: float | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    size = self.kernel_size
    kernel, bias = parameters(self, (size, size, x.shape[-1], self.features))
    return bias + conv_ops.conv_transpose(
        x.astype(self.dtype), kernel, padding=(size - 1) // 2,
        output_padding=size % 2)


class Dense(nn.Module):
  """x @ kernel + bias along the channels of [n, h, w, c], as Flax' own."""

  features: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kernel = param(self, 'kernel', nn.initializers.lecun_normal(),
                   (x.shape[-1], self.features))
    bias = param(self, 'bias', nn.initializers.zeros, (self.features,))
    y = x.astype(self.dtype) @ kernel.astype(self.dtype)
    return y + bias.astype(self.dtype)[None, None, None, :]


class Depthwise(nn.Module):
  """3x3 convolution of each channel with a kernel of its own."""

  stride: int = 1
  use_bias: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kernel = self.param('kernel', uniform(1 / 3), (3, 3, x.shape[-1]))
    y = depthwise_ops.depthwise(
        x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride)
    if not self.use_bias:
      return y
    bias = self.param('bias', uniform(1 / 3), x.shape[-1:])
    return y + bias.astype(self.dtype)[None, None, None, :]


class ResBlock(nn.Module):
  """x + conv(relu(conv(x))): no normalisation, nothing after the sum.

  `attend`, a row of `attention.ATTENTION`, sees what is added to x.
  """

  kernel_size: int = 5
  dtype: Any = jnp.float32
  attend: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    options = dict(
        features=x.shape[-1], kernel_size=self.kernel_size, dtype=self.dtype)
    y = relu(Conv(**options, name='conv_0')(x))
    y = Conv(**options, name='conv_1')(y)
    return x + _attended(self, y)


class NormBlock(nn.Module):
  """x + norm(conv(dropout(relu(norm(conv(x)))))), 3x3 on a mirrored border.

  The block of Johnson et al. (2016) as DeblurGAN has it: instance norm, nothing
  after the sum. Dropout needs `rngs={'dropout': key}` while training.
  `attend`, a row of `attention.ATTENTION`, sees what is added to x.
  """

  dropout: float = 0.0
  std: float | None = None
  dtype: Any = jnp.float32
  attend: Any = None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
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
  """Each image by itself: `instance_norm`, times `scale`, plus `bias`.

  Batch norm of a batch of one. Both are learnt, [c] and float32, from ones (or
  zeros) and zeros.

  Attributes:
    zeros: whether `scale` starts from zeros.
    slope: by which what comes out negative is multiplied.
  """

  zeros: bool = False
  slope: float = 1.0

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = x.shape[-1:]
    ones = nn.initializers.zeros if self.zeros else nn.initializers.ones
    scale = self.param('scale', ones, shape)
    bias = self.param('bias', nn.initializers.zeros, shape)
    return norm.normalise(x, scale, bias, self.slope)


class JoinNorm(nn.Module):
  """`Norm` of several images [n, h, w, c_i] beside each other, on channels.

  Normalised first, which is the same, and spares XLA a copy.
  """

  @nn.compact
  def __call__(self, parts: Sequence[Array]) -> Array:
    widths = [x.shape[-1] for x in parts]
    scale = self.param('scale', nn.initializers.ones, (sum(widths),))
    bias = self.param('bias', nn.initializers.zeros, (sum(widths),))
    ends = list(itertools.accumulate(widths))
    return jnp.concatenate([
        norm.normalise(x, scale[end - width:end], bias[end - width:end])
        for x, width, end in zip(parts, widths, ends, strict=True)], axis=-1)


class ConvNorm(nn.Module):
  """leaky_relu(norm(shrink(conv(x)))), of which the deep priors are made.

  The papers' programs add a bias before the norm, which takes it away again.
  It is a parameter here too, `bias`, but neither added nor ever changed; there
  it wanders by rounding errors.

  Attributes: as of `Conv`, which is named `conv`, and what makes images
    smaller after it, if anything does; the norm is named `norm`.
  """

  features: int
  kernel_size: int = 3
  stride: int = 1
  reflect: bool = True
  shrink: Callable[[Array], Array] | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    bound = 1 / math.sqrt(self.kernel_size**2 * x.shape[-1])
    self.param('bias', uniform(bound), (self.features,))
    x = Conv(self.features, self.kernel_size, self.stride, use_bias=False,
             reflect=self.reflect, dtype=self.dtype, name='conv')(x)
    if self.shrink is not None:
      x = self.shrink(x)
    return Norm(slope=0.2, name='norm')(x)


@jax.custom_jvp
def relu(x: Array) -> Array:
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


def leaky_relu(x: Array) -> Array:
  """x where it is positive, else 0.2 x."""
  return jnp.where(x > 0, x, 0.2 * x)


def instance_norm(x: Array) -> Array:
  """Each image and channel to mean 0 and variance 1 over h and w.

  The variance is the biased one, plus 1e-5; nothing is learnt. Computed in
  float32, returned in the dtype of x.
  """
  y = x.astype(jnp.float32)
  y = y - statistics.mean(y)
  variance = statistics.mean(y**2)
  return (y * jax.lax.rsqrt(variance + 1e-5)).astype(x.dtype)


class LayerNorm(nn.Module):
  """Layer norm of each pixel's channels; float32 inside, the result of `dtype`.

  `scale` and `bias` are learnt, [c] and float32, from ones and zeros.
  """

  epsilon: float = 1e-5
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = x.shape[-1:]
    scale = param(self, 'scale', nn.initializers.ones, shape)
    bias = param(self, 'bias', nn.initializers.zeros, shape)
    return norm.layer_norm(x.astype(self.dtype), scale, bias, self.epsilon)


def add_tanh(blur: Array, y: Array) -> Array:
  """clamp(x + tanh(y), -1, 1) for x = 2 blur - 1, as an image in [0, 1]."""
  return jnp.clip(blur + jnp.tanh(y.astype(jnp.float32)) / 2, 0, 1)


def enlarge(x: Array, *, factor: int) -> Array:
  """[n, h, w, c] to [n, factor h, factor w, c] by repeating pixels."""
  n, h, w, c = x.shape
  x = jnp.broadcast_to(
      x[:, :, None, :, None], (n, h, factor, w, factor, c))
  return x.reshape(n, h * factor, w * factor, c)


def param(module: nn.Module, name: str, initializer, shape: tuple[int, ...]):
  """`module.param`, but one that is there is only looked up.

  Flax traces its initializer anew to know the shape: a third of the time that
  it takes to trace a network of many small layers.
  """
  if module.has_variable('params', name):
    value = module.get_variable('params', name)
    if jnp.shape(value) == shape:
      return value
  return module.param(name, initializer, shape)


def parameters(module: nn.Module, shape: tuple[int, ...]):
  """(kernel, bias or None) of a convolution, ready to compute with."""
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
  """An initializer: (key, shape) -> float32 from U(-bound, bound)."""
  return _in_a_row(lambda key, shape, dtype: jax.random.uniform(
      key, shape, dtype, -bound, bound))


def normal(std: float):
  """An initializer: (key, shape) -> float32 from N(0, std^2)."""
  return _in_a_row(nn.initializers.normal(std))


def _in_a_row(draw):
  """The same numbers, drawn along one axis and reshaped.

  XLA's compiler takes a fifth of a second for that, and one for four axes: of
  each shape that a network has.
  """
  def initialize(key, shape, dtype=jnp.float32):
    return draw(key, (math.prod(shape),), dtype).reshape(shape)
  return initialize
