"""Attention layers for residual blocks.

They map features [n, h, w, c] of any size to the same shape. A layer is applied
to the result of a residual block before it is added to the input. `se` scales
the channels, `cbam` the channels and then the pixels; in `window` the pixels of
a square attend to each other. The option `attention` of a network is a row of
`ATTENTION`.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from deblur_jax.models import layers
from deblur_jax.ops import local_pooling
from deblur_jax.state import Array


class SE(nn.Module):
  """Scales channels by a function of their means (Hu et al., CVPR 2018).

    x * sigmoid(W_2 relu(W_1 mean(x)))

  For c channels and h = max(c // reduction, 1) it has 2 c h + h + c parameters.

  Attributes:
    reduction: channels outside of the two layers over those between them.
    dtype: of the product; the statistics and both layers are float32.
  """

  reduction: int = 16
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    mean = local_pooling.mean(x)
    weights = nn.sigmoid(Mlp(self.reduction, name='channels')(mean))
    return x.astype(self.dtype) * weights.astype(self.dtype)


class CBAM(nn.Module):
  """Scales channels, then pixels (Woo et al., ECCV 2018, eq. 1-3).

    x' = x * sigmoid(M(mean x) + M(max x)),    over pixels, one M for both
    x' * sigmoid(conv7([mean x', max x'])),    over channels

  Their code has a batch norm after the 7x7 convolution. Here it is a bias,
  since the convolution itself can do the rest. It has 2 c h + h + c + 99
  parameters.

  Attributes:
    reduction: as in SE.
    dtype: as in SE; the convolution is float32 too.
  """

  reduction: int = 16
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    x = x.astype(self.dtype)
    look = Mlp(self.reduction, name='channels')
    weights = look(local_pooling.mean(x)) + look(local_pooling.maximum(x))
    x = x * nn.sigmoid(weights).astype(x.dtype)
    full = x.astype(jnp.float32)
    maps = jnp.stack([full.mean(axis=-1), full.max(axis=-1)], axis=-1)
    maps = layers.Conv(1, kernel_size=7, name='pixels')(maps)
    return x * nn.sigmoid(maps).astype(x.dtype)


class Mlp(nn.Module):
  """Two layers with fewer channels between them, float32."""

  reduction: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, 1, 1, c] to the same shape."""
    channels = x.shape[-1]
    hidden = max(channels // self.reduction, 1)
    x = layers.relu(layers.Conv(hidden, kernel_size=1, name='shrink')(x))
    return layers.Conv(channels, kernel_size=1, name='grow')(x)


class Window(nn.Module):
  """x + self-attention of the pixels in each square, after Swin (Liu 2021).

    softmax(q k / sqrt(d) + B) v,   q, k, v from norm(x),   B by position

  B has a learnt value for each head and each difference of two positions. The
  squares do not shift: the convolutions around the layer connect them.
  Positions outside of the image are masked. It has 4 c^2 + 6 c + heads (2 size
  - 1)^2 parameters.

  Attributes:
    size: side of the squares, in pixels.
    heads: at most; the number used is the greatest common divisor of this and
      the channels.
    dtype: of the products; the norm and the softmax are float32.
  """

  size: int = 8
  heads: int = 4
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    channels = x.shape[-1]
    heads = math.gcd(self.heads, channels)
    options = dict(kernel_size=1, dtype=self.dtype)
    y = layers.LayerNorm(name='norm')(x)
    y = layers.Conv(3 * channels, **options, name='expand')(y)
    squares = _to_squares(y, self.size)  # [n, windows, pixels, 3 c]
    squares = squares.reshape(
        *squares.shape[:3], 3, heads, channels // heads)
    q, k, v = (squares[:, :, :, i] for i in range(3))
    scores = jnp.einsum(
        'nwqhc,nwkhc->nwhqk', q, k, preferred_element_type=jnp.float32)
    scores = scores / math.sqrt(channels // heads)
    scores = scores + self._bias(heads)[None, None]
    there = _is_image(*x.shape[1:3], self.size)[None, :, None, None, :]
    weights = nn.softmax(jnp.where(there, scores, -1e9))
    y = jnp.einsum('nwhqk,nwkhc->nwqhc', weights.astype(v.dtype), v)
    y = y.reshape(*y.shape[:3], channels)
    y = _from_squares(y, self.size, x.shape)
    return x + layers.Conv(channels, **options, name='project')(y)

  def _bias(self, heads):
    """[heads, pixels, pixels], by the difference of two positions."""
    side = 2 * self.size - 1
    table = self.param(
        'bias', nn.initializers.truncated_normal(0.02), (side**2, heads))
    rows, columns = np.divmod(np.arange(self.size**2), self.size)
    down, right = (place[:, None] - place[None, :] + self.size - 1
                   for place in (rows, columns))
    return table[down * side + right].transpose(2, 0, 1)


def _to_squares(x, size):
  """[n, h, w, c] to [n, windows, size^2, c], zeros below and on the right."""
  n, h, w, channels = x.shape
  x = jnp.pad(x, ((0, 0), (0, -h % size), (0, -w % size), (0, 0)))
  rows, columns = x.shape[1] // size, x.shape[2] // size
  x = x.reshape(n, rows, size, columns, size, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, rows * columns, size**2, channels)


def _from_squares(x, size, shape):
  """The inverse, cut to the height and width of `shape`."""
  n, h, w, channels = shape
  rows, columns = -(-h // size), -(-w // size)
  x = x.reshape(n, rows, columns, size, size, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  x = x.reshape(n, rows * size, columns * size, channels)
  return x[:, :h, :w]


def _is_image(height, width, size):
  """[windows, size^2]: which positions of the squares are on the image."""
  rows, columns = -(-height // size), -(-width // size)
  there = ((np.arange(rows * size) < height)[:, None]
           & (np.arange(columns * size) < width)[None, :])
  there = there.reshape(rows, size, columns, size).transpose(0, 2, 1, 3)
  return there.reshape(rows * columns, size**2)


ATTENTION = {
    'cbam': CBAM,
    'none': None,
    'se': SE,
    'window': Window,
}
