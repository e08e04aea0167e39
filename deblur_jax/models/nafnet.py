"""A U-Net without activation functions (NAFNet: Chen et al., ECCV 2022).

  x + beta * conv1(SCA(gate(depthwise3(conv1(norm(x))))))
  x + gamma * conv1(gate(conv1(norm(x))))

The gate multiplies one half of the channels by the other. SCA scales each
channel by a linear map of the means of all channels. beta and gamma start at
zero. 2x2 convolutions halve the size, pixel shuffles double it, skips are
added.
"""

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


class NAFNet(nn.Module):
  """The network: images to a list of one image, not clipped.

  The input is padded at its lower and right edge to a multiple of
  2^len(blocks), by its last pixels (by zeros in the authors' program). With the
  defaults, NAFNet-32, it has 17,111,907 parameters; with features=64,
  67,888,835.

  Attributes:
    features: channels at full size; twice as many at each level below.
    blocks: at each level of the encoder, finest first.
    middle: blocks at the lowest level.
    up_blocks: at each level of the decoder, finest first; as many numbers as
      `blocks` has.
    expansion: channels inside of a block, before its gates, over those outside.
    local: side in pixels of the windows over which SCA averages at test time
      (TLC), 384 in the paper; 0 is the whole image. See `ops.local_pooling`.
    dtype: of the convolutions; parameters, norms and results are float32.
  """

  features: int = 32
  blocks: Sequence[int] = (1, 1, 1, 28)
  middle: int = 1
  up_blocks: Sequence[int] = (1, 1, 1, 1)
  expansion: float = 2.0
  local: int = 0
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, features=self.features, levels=len(self.blocks))
    checks.at_least(
        0, middle=self.middle, local=self.local, blocks=min(self.blocks),
        up_blocks=min(self.up_blocks, default=0))
    if len(self.up_blocks) != len(self.blocks):
      raise errors.UserError(
          "The network's up_blocks must be as many numbers as its blocks, got "
          f'{list(self.up_blocks)} and {list(self.blocks)}.')
    if self.features * self.expansion < 2:
      raise errors.UserError(
          "The network's expansion must leave one channel behind the gate: at "
          f'least {2 / self.features:g}, got {self.expansion}.')
    checks.dtype(self.dtype)
    super().__post_init__()

  @nn.compact
  def __call__(
      self, blur: Array, *, train: bool = False) -> list[Array]:
    """Restores images.

    Args:
      blur: [n, h, w, 3] in [0, 1], of any size.
      train: whether SCA averages over the whole image; there is no dropout.

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
    levels = len(self.blocks)
    padded, size = pad.to_multiple(blur, multiple=2**levels)
    x = self._conv(self.features, 3, name='head')(padded)
    skips = []
    for i in range(levels):
      x = self._blocks(x, self.blocks[i], f'encode_{i}')
      skips.append(x)
      x = self._conv(2 * x.shape[-1], 2, stride=2, padding=0,
                     name=f'down_{i}')(x)
    x = self._blocks(x, self.middle, 'middle')
    for i in reversed(range(levels)):
      x = self._conv(2 * x.shape[-1], 1, use_bias=False, name=f'up_{i}')(x)
      x = skips[i] + conv_ops.pixel_shuffle(x, factor=2)
      x = self._blocks(x, self.up_blocks[i], f'decode_{i}')
    x = self._conv(3, 3, name='tail')(x).astype(jnp.float32)
    return pad.crop(padded + x, size=size)

  def _blocks(self, x, count, name):
    for i in range(count):
      x = Block(self.expansion, self.dtype, name=f'{name}_{i:02d}')(x)
    return x

  def _conv(self, features, kernel_size, **options):
    return layers.Conv(features, kernel_size, dtype=self.dtype, **options)


class Block(nn.Module):
  """One block, see the equations of the module."""

  expansion: float
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps features [n, h, w, c] to the same shape."""
    channels = x.shape[-1]
    hidden = int(self.expansion * channels) // 2   # behind the gates
    y = layers.LayerNorm(epsilon=1e-6, name='norm_0')(x)
    y = self._conv(2 * hidden, 'expand_0')(y)
    y = _gate(layers.Depthwise(
        use_bias=True, dtype=self.dtype, name='depth')(y))
    mean = local_pooling.mean(y)
    y = y * self._conv(hidden, 'weigh')(mean)
    y = self._conv(channels, 'project_0')(y)
    x = x + y * self._scale('beta', channels)
    y = layers.LayerNorm(epsilon=1e-6, name='norm_1')(x)
    y = _gate(self._conv(2 * hidden, 'expand_1')(y))
    y = self._conv(channels, 'project_1')(y)
    return x + y * self._scale('gamma', channels)

  def _conv(self, features, name):
    return layers.Conv(features, kernel_size=1, dtype=self.dtype, name=name)

  def _scale(self, name, channels):
    scale = self.param(name, nn.initializers.zeros, (channels,))
    return scale.astype(self.dtype)[None, None, None, :]


def _gate(x):
  """One half of the channels times the other."""
  half = x.shape[-1] // 2
  return (jax.lax.slice_in_dim(x, 0, half, axis=-1)
          * jax.lax.slice_in_dim(x, half, None, axis=-1))
