"""What a network would restore if its convolutions were int8.

Kernels are rounded to 255 steps, symmetric around zero, with a step of its own
for each channel of the result; what enters a convolution to 255 steps of the
range that was seen there. Products of such numbers and their sums are whole, so
that float32 here gives what int8 arithmetic would give (Jacob et al., CVPR
2018). Biases, norms and sums stay float32. Rounding hands gradients straight on
(Bengio et al., 2013), so networks can learn to live with it.
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
  """x rounded to whole multiples of largest / 127, at most 127 of them.

  The gradient in x is one where |x| <= largest, and else zero.

  Args:
    x: float32.
    largest: of a shape that x broadcasts with, of the same rank, or a scalar;
      no gradient flows to it.
  """
  largest = jax.lax.stop_gradient(largest)
  step = jnp.maximum(largest, 1e-12) / LARGEST
  rounded = jnp.round(jnp.clip(x / step, -LARGEST, LARGEST)) * step
  # Of the largest itself `clip` would pass a half of the gradient, or none.
  passed = jnp.where(jnp.abs(x) <= largest, x, jax.lax.stop_gradient(x))
  return passed + jax.lax.stop_gradient(rounded - x)


def kernels(params: Params) -> Params:
  """Each kernel [..., c_out], rounded channel by channel; the rest as it is."""
  def quantise(path, leaf):
    if path[-1].key != 'kernel':
      return leaf
    axes = tuple(range(leaf.ndim - 1))
    return fake(leaf, jnp.abs(leaf).max(axis=axes, keepdims=True))

  return jax.tree_util.tree_map_with_path(quantise, params)


def observe(
    net: nn.Module, params: Params, blur: Array) -> Ranges:
  """The largest magnitude that enters each convolution, in float32."""
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
  """net.apply with int8 kernels and inputs of convolutions.

  Args:
    net: a generator; whatever its dtype, it computes in float32.
    params: its parameters, float32.
    ranges: of `observe`, on images like those that will be restored.
    blur: images as the network takes them.
    **options: further ones of net.apply.
  """
  quantise = lambda name, x: fake(x, ranges[name])
  with nn.intercept_methods(_before_convolutions(quantise)):
    return _plain(net).apply({'params': kernels(params)}, blur, **options)


def _before_convolutions(fn):
  """An interceptor by which fn(path, x) takes the place of each one's x."""
  def intercept(call, args, kwargs, context):
    module = context.module
    if isinstance(module, KINDS) and context.method_name == '__call__':
      args = (fn('/'.join(module.path), args[0]), *args[1:])
    return call(*args, **kwargs)

  return intercept


def _plain(net):
  """In float32, and without remat, whose inside no interceptor may look at."""
  remat = {'remat': False} if getattr(net, 'remat', False) else {}
  return net.clone(dtype='float32', **remat)
