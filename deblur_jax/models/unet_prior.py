"""A plain U-Net as a prior, whose depth is chosen by the holes to be filled."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers, skip
from deblur_jax.ops import pad
from deblur_jax.state import Array


class UNetPrior(nn.Module):
  """A code [n, h, w, depth] to images [n, h, w, channels] in (0, 1).

  Half of the layers halve the size, the other half doubles it again, and what
  was there at each size is put beside (Ronneberger et al. 2015); of an odd
  number the middle one does neither. Each is a 3x3 convolution, a norm with the
  statistics of its image and a leaky ReLU of 0.2. With 5 layers a pixel knows
  of some 20 around it, with 10 of some 200: text and scratches, large holes.

  Attributes:
    num_layers: number of those convolutions.
    depth: channels of the code.
    channels: of the image.
    features: at all sizes.
    upsample: a row of `skip.UPSAMPLE`.
    dtype: of the convolutions; parameters, norms and images are float32.
  """

  num_layers: int = 5
  depth: int = 32
  channels: int = 3
  features: int = 64
  upsample: str = 'bilinear'
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(2, num_layers=self.num_layers)
    checks.at_least(
        1, depth=self.depth, channels=self.channels, features=self.features)
    errors.look_up(skip.UPSAMPLE, self.upsample, what='upsample')
    checks.dtype(self.dtype)
    super().__post_init__()

  def code(self, size: tuple[int, int]) -> tuple[int, int, int]:
    """The shape of the code for images of `size` = (h, w): that, and depth."""
    return (*size, self.depth)

  @nn.compact
  def __call__(
      self, z: Array, *, size: tuple[int, int] | None = None
  ) -> Array:
    """Images of `size`, by default that of the code, from the middle."""
    checks.code(self, z)
    levels, x, beside = self.num_layers // 2, z, []
    for i in range(levels):
      beside.append(x)
      x = self._conv(f'down_{i}', stride=2)(x)
    if self.num_layers % 2:
      x = self._conv('middle')(x)
    for i in reversed(range(levels)):
      x = skip.UPSAMPLE[self.upsample](x)
      x = jnp.concatenate(skip.crop_alike([beside[i], x]), axis=-1)
      x = self._conv(f'up_{i}')(x)
    x = layers.Conv(self.channels, 1, dtype=self.dtype, name='tail')(x)
    image = nn.sigmoid(x.astype(jnp.float32))
    return pad.crop_centre(image, size=size or z.shape[1:3])

  def _conv(self, name, *, stride=1):
    return layers.ConvNorm(
        self.features, stride=stride, dtype=self.dtype, name=name)
