"""A light residual network of one scale with published weights.

  S = tail(body(relu(head(B))))

The first and the last convolution are large, the residual blocks between them
are small. hieubkset/pytorch-image-deblurring calls it SingleScaleNet. It has
the blocks of Nah, Kim and Lee (CVPR 2017), without a mean to subtract.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers
from deblur_jax.state import Array


class SingleScale(nn.Module):
  """The network: images to a list of one image, float32 and not clipped.

  With the defaults it has 674,371 parameters.

  Attributes:
    blocks: residual blocks.
    features: channels between the first and the last convolution.
    kernel_size: of the blocks, odd.
    end_kernel_size: of the first and the last convolution, odd.
    skip: whether the input of the blocks is added to their result.
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
    """Restores images.

    Args:
      blur: [n, h, w, 3] in [0, 1], of any size.
      train: not used, since the network has no dropout.

    Returns:
      One image.

    Raises:
      UserError: images of another shape.
    """
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
