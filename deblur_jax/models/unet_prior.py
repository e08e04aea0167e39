"""A plain U-Net as a prior, with a depth for the size of the holes to fill."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers, skip
from deblur_jax.ops import pad
from deblur_jax.state import Array


class UNetPrior(nn.Module):
  """The prior: a code [n, h, w, depth] to images [n, h, w, channels] in (0, 1).

  Half of the layers halve the size and the other half double it. The features
  of each size are concatenated on the way up (Ronneberger et al. 2015). With an
  odd number of layers the middle one keeps the size. Each layer is a 3x3
  convolution, a norm with the statistics of its image and a leaky ReLU of 0.2.
  With 5 layers a pixel depends on about 20 pixels around it, for text and
  scratches; with 10 layers on about 200, for large holes.

  Attributes:
    num_layers: of those convolutions, at least 2.
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
    """The shape of the code for images of a size.

    Args:
      size: (h, w) of the images.

    Returns:
      (h, w, depth).
    """
    return (*size, self.depth)

  @nn.compact
  def __call__(
      self, z: Array, *, size: tuple[int, int] | None = None
  ) -> Array:
    """Makes images of a code.

    Args:
      z: [n, h', w', depth].
      size: (h, w) of the images, the middle of the result; None takes all of
        it.

    Returns:
      [n, h, w, channels], float32 in (0, 1).

    Raises:
      UserError: a code of another shape.
    """
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
