"""A U-Net (Ronneberger et al. 2015) with residual blocks.

DeblurGAN's code has a U-Net without residual blocks beside its ResNet. This one
has the blocks, norms, borders and global skip of that ResNet at every size.
With blocks=0 it is the classic U-Net: one convolution down, one up, one to
join.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import attention, checks, layers
from deblur_jax.ops import pad
from deblur_jax.state import Array

STD = 0.02  # of the initial weights


class UNet(nn.Module):
  """The network: images to a list of one image in [0, 1].

  The input is padded at its lower and right edge to a multiple of 2^levels.

  Attributes:
    features: channels at full size; twice as many at each level below.
    levels: how often the size is halved.
    blocks: residual blocks at each size on the way up, with the lowest one.
    dropout: share of values that a block drops during training, in [0, 1).
    attention: a row of `attention.ATTENTION`, in every residual block.
    dtype: of the convolutions; parameters, norms and results are float32.
  """

  features: int = 32
  levels: int = 4
  blocks: int = 1
  dropout: float = 0.0
  attention: str = 'none'
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, features=self.features, levels=self.levels)
    checks.at_least(0, blocks=self.blocks)
    checks.share(dropout=self.dropout)
    errors.look_up(attention.ATTENTION, self.attention, what='attention')
    checks.dtype(self.dtype)
    super().__post_init__()

  @nn.compact
  def __call__(
      self, blur: Array, *, train: bool = False) -> list[Array]:
    """Restores images.

    Args:
      blur: [n, h, w, 3] in [0, 1], of any size.
      train: whether dropout is on; it needs `rngs={'dropout': key}`.

    Returns:
      One image.

    Raises:
      UserError: images of another shape.
    """
    checks.images(blur)
    padded, size = pad.to_multiple(blur, multiple=2**self.levels)
    x = self._conv(2 * padded - 1, self.features, name='head')
    skips = []
    for i in range(self.levels):
      skips.append(x)
      x = self._conv(x, 2 * x.shape[-1], stride=2, name=f'down_{i}')
    x = self._blocks(x, train, name=f'block_{self.levels}')
    for i in reversed(range(self.levels)):
      x = layers.upsample_nearest(x, factor=2)
      x = self._conv(x, x.shape[-1] // 2, name=f'up_{i}')
      x = jnp.concatenate([skips[i], x], axis=-1)
      x = self._conv(x, x.shape[-1] // 2, name=f'join_{i}')
      x = self._blocks(x, train, name=f'block_{i}')
    x = layers.Conv(3, 7, reflect=True, std=STD, dtype=self.dtype,
                    name='tail')(x)
    return [pad.crop(layers.add_tanh(padded, x), size=size)]

  def _conv(self, x, features, *, stride=1, name):
    conv = layers.Conv(features, 3, stride, reflect=stride == 1, std=STD,
                       dtype=self.dtype, name=name)
    return layers.relu(layers.instance_norm(conv(x)))

  def _blocks(self, x, train, *, name):
    for i in range(self.blocks):
      block = layers.NormBlock(
          self.dropout, std=STD, dtype=self.dtype,
          attend=attention.ATTENTION[self.attention], name=f'{name}_{i}')
      x = block(x, train=train)
    return x
