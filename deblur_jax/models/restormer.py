"""A transformer for long-range blur, after Restormer (Zamir et al., CVPR 2022).

Attention runs over channels, not over pixels (eq. 1). So its cost grows
linearly with the number of pixels, and every pixel depends on all others:

  Attention(Q, K, V) = V softmax(t K Q),   Q, K: each channel of length one

A gated feed-forward network, gelu(D1 x) * D2 x (eq. 2), follows. Both have 3x3
depthwise convolutions. The network is a U with pixel shuffles up and down.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers
from deblur_jax.ops import conv as conv_ops
from deblur_jax.ops import local_pooling, pad
from deblur_jax.state import Array


class Restormer(nn.Module):
  """The network: images to a list of one image, not clipped.

  The input is padded at its lower and right edge to a multiple of
  2^(len(blocks) - 1). The default is far smaller than the paper's network,
  which has features=48, blocks=(4, 6, 6, 8), refinement=4 and 26,126,644
  parameters.

  Attributes:
    features: channels at full size; twice as many at each level below.
    blocks: transformer blocks at each level, finest first.
    refinement: further blocks at full size, at the end.
    heads: of the attention at full size; twice as many at each level below.
    expansion: channels inside of the feed-forward network over those outside.
    local: side in pixels of the squares in which channels attend to each other
      at test time (TLC), 384 in the paper on it; 0 is the whole image. See
      `ops.local_pooling`.
    dtype: of the convolutions and products; parameters, norms, the softmax and
      results are float32.
  """

  features: int = 24
  blocks: Sequence[int] = (1, 2, 2, 4)
  refinement: int = 1
  heads: int = 1
  expansion: float = 2.66
  local: int = 0
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, features=self.features, heads=self.heads,
                    levels=len(self.blocks), expansion=self.expansion)
    checks.at_least(0, refinement=self.refinement, local=self.local,
                    blocks=min(self.blocks))
    if self.features % (2 * self.heads):
      raise errors.UserError(
          f"The network's features must be a multiple of 2 heads = "
          f'{2 * self.heads}, got {self.features}.')
    checks.dtype(self.dtype)
    super().__post_init__()

  @nn.compact
  def __call__(
      self, blur: Array, *, train: bool = False) -> list[Array]:
    """Restores images.

    Args:
      blur: [n, h, w, 3] in [0, 1], of any size.
      train: whether attention is over the whole image; there is no dropout.

    Returns:
      One image.

    Raises:
      UserError: images of another shape.
    """
    checks.images(blur)
    window = 0 if train else self.local
    with local_pooling.local_by_default(window, height=blur.shape[1]):
      return [self._restore(blur)]

  def _restore(self, blur):
    lowest = len(self.blocks) - 1
    padded, size = pad.to_multiple(blur, multiple=2**lowest)
    x = self._conv(self.features, 'head')(padded)
    skips = []
    for level in range(lowest):
      x = self._blocks(x, level, name=f'down_{level}')
      skips.append(x)
      x = self._conv(x.shape[-1] // 2, f'shrink_{level}')(x)
      x = conv_ops.pixel_unshuffle(x, factor=2)
    x = self._blocks(x, lowest, name='lowest')
    for level in reversed(range(lowest)):
      x = self._conv(2 * x.shape[-1], f'grow_{level}')(x)
      x = conv_ops.pixel_shuffle(x, factor=2)
      x = jnp.concatenate([x, skips[level]], axis=-1)
      if level:  # the finest level keeps both halves, as in the paper
        x = self._conv(x.shape[-1] // 2, f'join_{level}', size=1)(x)
      x = self._blocks(x, level, name=f'up_{level}')
    for i in range(self.refinement):
      x = self._block(0, f'refine_{i}')(x)
    x = self._conv(3, 'tail')(x).astype(jnp.float32)
    return pad.crop(padded + x, size=size)

  def _blocks(self, x, level, *, name):
    for i in range(self.blocks[level]):
      x = self._block(level, f'{name}_{i}')(x)
    return x

  def _block(self, level, name):
    return Block(
        heads=self.heads * 2**level, expansion=self.expansion,
        dtype=self.dtype, name=name)

  def _conv(self, features, name, *, size=3):
    return layers.Conv(
        features, size, use_bias=False, dtype=self.dtype, name=name)


class Block(nn.Module):
  """x + attention(norm(x)), then x + feed_forward(norm(x))."""

  heads: int
  expansion: float
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps features [n, h, w, c] to the same shape."""
    options = dict(dtype=self.dtype)
    attention = Attention(self.heads, **options, name='attention')
    forward = FeedForward(self.expansion, **options, name='forward')
    x = x + attention(layers.LayerNorm(name='norm_0')(x))
    return x + forward(layers.LayerNorm(name='norm_1')(x))


class Attention(nn.Module):
  """Multi-head attention between the channels of an image (MDTA)."""

  heads: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps features [n, h, w, c] to the same shape."""
    channels = x.shape[-1]
    options = dict(use_bias=False, dtype=self.dtype)
    x = layers.Conv(3 * channels, 1, **options, name='expand')(x)
    x = layers.Depthwise(dtype=self.dtype, name='depth')(x)
    heat = self.param('temperature', nn.initializers.ones, (self.heads,))
    y = local_pooling.over_squares(functools.partial(_attend, heat), x)
    return layers.Conv(channels, 1, **options, name='project')(y)


class FeedForward(nn.Module):
  """Two hidden feature maps; one gates the other (GDFN)."""

  expansion: float
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps features [n, h, w, c] to the same shape."""
    channels = x.shape[-1]
    hidden = int(self.expansion * channels)
    options = dict(use_bias=False, dtype=self.dtype)
    y = layers.Conv(2 * hidden, 1, **options, name='expand')(x)
    y = layers.Depthwise(dtype=self.dtype, name='depth')(y)
    gate = jax.lax.slice_in_dim(y, 0, hidden, axis=-1)
    y = (nn.gelu(gate, approximate=False)
         * jax.lax.slice_in_dim(y, hidden, None, axis=-1))
    return layers.Conv(channels, 1, **options, name='project')(y)


def _attend(temperature, x):
  """Attention between the channels of queries, keys and values.

  Args:
    temperature: t of each head, [heads].
    x: [n, h, w, 3 c].

  Returns:
    [n, h, w, c].
  """
  n, h, w, channels = x.shape
  heads = len(temperature)
  x = x.reshape(n, h * w, 3, heads, channels // (3 * heads))
  q, k, v = (jax.lax.index_in_dim(x, i, 2, keepdims=False)
             for i in range(3))  # [n, h w, heads, channels]
  scores = jnp.einsum(
      'npac,npad->nacd', _unit(q), _unit(k),
      preferred_element_type=jnp.float32)
  weights = nn.softmax(scores * temperature[None, :, None, None])
  y = jnp.einsum('nacd,npad->npac', weights.astype(v.dtype), v)
  return y.reshape(n, h, w, channels // 3)


def _unit(x):
  """[n, pixels, heads, channels]: each channel to length one over pixels."""
  y = x.astype(jnp.float32)
  square = (y**2).sum(axis=1, keepdims=True)
  return (y * jax.lax.rsqrt(square + 1e-12)).astype(x.dtype)
