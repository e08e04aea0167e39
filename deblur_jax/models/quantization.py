"""Simulated int8 convolutions: what a quantized network computes, in float32.

Kernels are rounded to 255 symmetric steps around zero, with a step for each
channel of the result. The inputs of convolutions are rounded to 255 steps of
the range that was observed there. Products of such numbers and their sums are
whole, so float32 gives the result of int8 arithmetic (Jacob et al., CVPR 2018).
Biases, norms and sums stay float32. Rounding passes gradients unchanged (the
straight-through estimator of Bengio et al., 2013), so networks can be trained
with it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from deblur_jax.models import layers
from deblur_jax.state import Array, Params

LARGEST = 127
KINDS = (layers.Conv, layers.ConvTranspose, layers.Dense, layers.Depthwise)

Ranges = dict[str, Array]   # path of a convolution -> largest |input|


def fake(x: Array, largest: Array) -> Array:
  """Rounds x to whole multiples of largest / 127, at most 127 of them.

  The gradient in x is one where |x| <= largest, and zero elsewhere.

  Args:
    x: float32.
    largest: a scalar, or of the rank of x and broadcastable with it; it has no
      gradient.

  Returns:
    float32 of the shape of x.
  """
  largest = jax.lax.stop_gradient(largest)
  step = jnp.maximum(largest, 1e-12) / LARGEST
  rounded = jnp.round(jnp.clip(x / step, -LARGEST, LARGEST)) * step
  # At |x| = largest, `clip` passes half of the gradient, or none.
  passed = jnp.where(jnp.abs(x) <= largest, x, jax.lax.stop_gradient(x))
  return passed + jax.lax.stop_gradient(rounded - x)


def kernels(params: Params) -> Params:
  """Rounds each kernel [..., c_out] channel by channel.

  Args:
    params: of a network.

  Returns:
    The parameters; biases and norms are unchanged.
  """
  def quantize(path, leaf):
    if path[-1].key != 'kernel':
      return leaf
    axes = tuple(range(leaf.ndim - 1))
    return fake(leaf, jnp.abs(leaf).max(axis=axes, keepdims=True))

  return jax.tree_util.tree_map_with_path(quantize, params)


def observe(
    net: nn.Module, params: Params, blur: Array) -> Ranges:
  """The largest magnitude of the inputs of each convolution.

  Args:
    net: a restorer.
    params: its parameters.
    blur: images as the network takes them.

  Returns:
    Path of a convolution -> float32 scalar.
  """
  ranges = {}

  def look(name, x):
    largest = jnp.abs(x).max().astype(jnp.float32)
    ranges[name] = jnp.maximum(ranges.get(name, 0.0), largest)
    return x

  with nn.intercept_methods(_before_convolutions(look)):
    _plain(net).apply({'params': params}, blur)
  return ranges


def apply(
    net: nn.Module, params: Params, ranges: Ranges, blur: Array,
    **options) -> list[Array]:
  """net.apply with int8 kernels and int8 inputs of convolutions.

  Args:
    net: a restorer; it computes in float32, whatever its dtype.
    params: its parameters, float32.
    ranges: of `observe`, on images like those to restore.
    blur: images as the network takes them.
    **options: further ones of net.apply.

  Returns:
    The restored images, finest first.
  """
  quantize = lambda name, x: fake(x, ranges[name])
  with nn.intercept_methods(_before_convolutions(quantize)):
    return _plain(net).apply({'params': kernels(params)}, blur, **options)


def _before_convolutions(fn):
  """An interceptor that replaces each convolution's input x by fn(path, x)."""
  def intercept(call, args, kwargs, context):
    module = context.module
    if isinstance(module, KINDS) and context.method_name == '__call__':
      args = (fn('/'.join(module.path), args[0]), *args[1:])
    return call(*args, **kwargs)

  return intercept


def _plain(net):
  """The network in float32, without remat, which interceptors cannot enter."""
  remat = {'remat': False} if getattr(net, 'remat', False) else {}
  return net.clone(dtype='float32', **remat)
