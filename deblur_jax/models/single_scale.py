"""A light residual network of one scale, of which trained weights are at large.

  S = tail(body(relu(head(B))))

with thick convolutions at both ends and thin residual blocks between them. It
is what hieubkset/pytorch-image-deblurring calls SingleScaleNet: the blocks of
Nah, Kim and Lee (CVPR 2017), on images that no mean is subtracted from.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers
from deblur_jax.state import Array


class SingleScale(nn.Module):
  """Images [n, h, w, 3] of any size to a list of one, float32 and not clipped.

  With the defaults it has 674,371 parameters.

  Attributes:
    blocks: residual blocks.
    features: channels between the first and the last convolution.
    kernel_size: of the blocks.
    end_kernel_size: of the first and the last convolution.
    skip: whether what enters the blocks is added to what leaves them.
    dtype: of the convolutions; parameters and results are float32.
  """

  blocks: int = 9
  features: int = 64
  kernel_size: int = 3
  end_kernel_size: int = 5
  skip: bool = False
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, features=self.features)
    checks.at_least(0, blocks=self.blocks)
    checks.dtype(self.dtype)
    for name in ('kernel_size', 'end_kernel_size'):
      if getattr(self, name) % 2 == 0:
        raise errors.UserError(
            f'nets.net.{name} must be odd, got {getattr(self, name)}.')
    super().__post_init__()

  @nn.compact
  def __call__(
      self, blur: Array, *, train: bool = False) -> list[Array]:
    del train  # it has no dropout
    checks.images(blur)
    ends = dict(kernel_size=self.end_kernel_size, dtype=self.dtype)
    x = layers.relu(layers.Conv(self.features, **ends, name='head')(blur))
    y = x
    for i in range(self.blocks):
      y = layers.ResBlock(
          kernel_size=self.kernel_size, dtype=self.dtype,
          name=f'block_{i:02d}')(y)
    y = layers.Conv(3, **ends, name='tail')(y + x if self.skip else y)
    return [y.astype(jnp.float32)]
