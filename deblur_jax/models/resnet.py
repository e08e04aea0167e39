"""DeblurGAN's generator (Kupyn et al., CVPR 2018), after Johnson et al. 2016.

  S = clamp(B + tanh f(B)),  f = conv7 . up . up . blocks . down . down . conv7

on images in [-1, 1]. Instance norm and ReLU follow every convolution except the
last one. The blocks have dropout during training.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import attention, checks, layers
from deblur_jax.ops import pad
from deblur_jax.state import Array

STD = 0.02  # of the initial weights


class ResNet(nn.Module):
  """The generator: images to a list of one image in [0, 1].

  The input is padded at its lower and right edge to a multiple of 4. With the
  defaults it has the 11,378,179 parameters of the paper.

  Attributes:
    features: channels at full size; twice and four times as many below.
    blocks: residual blocks at a quarter of the size, 6 or 9 in the authors'
      code.
    dropout: share of values that a block drops during training, in [0, 1).
    upsample: a row of `UPSAMPLE`; 'resize' avoids checkerboard patterns.
    residual: whether it learns the difference to the blurry image, the paper's
      ResOut; without it the result is tanh alone.
    attention: a row of `attention.ATTENTION`, in every residual block.
    dtype: of the convolutions; parameters, norms and results are float32.
  """

  features: int = 64
  blocks: int = 9
  dropout: float = 0.5
  upsample: str = 'transposed'
  residual: bool = True
  attention: str = 'none'
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, features=self.features)
    checks.at_least(0, blocks=self.blocks)
    checks.share(dropout=self.dropout)
    errors.look_up(UPSAMPLE, self.upsample, what='upsample')
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
    padded, size = pad.to_multiple(blur, multiple=4)
    up = UPSAMPLE[self.upsample]
    attend = attention.ATTENTION[self.attention]
    options = dict(std=STD, dtype=self.dtype)
    thick = dict(kernel_size=7, reflect=True, **options)
    x = layers.Conv(self.features, **thick, name='head')(2 * padded - 1)
    x = _activate(x)
    for i in range(2):  # [n, h/2, w/2, 2 features], [n, h/4, w/4, 4 features]
      x = _activate(layers.Conv(
          2 * x.shape[-1], kernel_size=3, stride=2, **options,
          name=f'down_{i}')(x))
    for i in range(self.blocks):
      x = layers.NormBlock(
          self.dropout, **options, attend=attend, name=f'block_{i:02d}')(
              x, train=train)
    for i in range(2):
      x = _activate(up(x, features=x.shape[-1] // 2, name=f'up_{i}', **options))
    x = layers.Conv(3, **thick, name='tail')(x)
    # Without the image, a result of zero is mid-grey.
    base = padded if self.residual else jnp.full_like(padded, 0.5)
    return [pad.crop(layers.add_tanh(base, x), size=size)]


def _activate(x):
  return layers.relu(layers.instance_norm(x))


def _transposed(x, **options):
  return layers.ConvTranspose(**options)(x)


def _resize(x, **options):
  conv = layers.Conv(kernel_size=3, reflect=True, **options)
  return conv(layers.upsample_nearest(x, factor=2))


UPSAMPLE = {
    'transposed': _transposed,
    'resize': _resize,
}
