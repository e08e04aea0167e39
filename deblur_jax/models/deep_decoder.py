"""The deep decoder (Heckel and Hand, ICLR 2019), a prior of few parameters."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax.models import checks, layers
from deblur_jax.ops import pad, resize
from deblur_jax.state import Array


class DeepDecoder(nn.Module):
  """The prior: a coarse code [n, h', w', features] to [n, h, w, channels].

  All convolutions are 1x1, so pixels mix in the bilinear enlargement alone.
  With fewer parameters than the picture has values it cannot fit noise, and
  needs no early stop. Each layer is

    norm(relu(upsample(conv(x))))

  The last one has no enlargement; a convolution and a sigmoid follow. It has
  25,536 parameters for 64 features, 100,224 for 128. Every image has its own
  statistics.

  Attributes:
    features: channels of the code and of all layers.
    channels: of the image.
    levels: how often the code is enlarged twice.
    dtype: of the convolutions; parameters, norms and images are float32.
  """

  features: int = 128
  channels: int = 3
  levels: int = 5
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, features=self.features, channels=self.channels)
    checks.at_least(0, levels=self.levels)
    checks.dtype(self.dtype)
    super().__post_init__()

  @property
  def depth(self) -> int:
    """Channels of the code."""
    return self.features

  def code(self, size: tuple[int, int]) -> tuple[int, int, int]:
    """The shape of the code for images of a size.

    Args:
      size: (h, w) of the images.

    Returns:
      (h / 2^levels, w / 2^levels, depth), rounded up.
    """
    height, width = (-(-side // 2**self.levels) for side in size)
    return height, width, self.depth

  @nn.compact
  def __call__(
      self, z: Array, *, size: tuple[int, int] | None = None
  ) -> Array:
    """Makes images of a code.

    Args:
      z: [n, h', w', features].
      size: (h, w) of the images, the middle of the result; None takes all of
        it, 2^levels times the code.

    Returns:
      [n, h, w, channels], float32 in (0, 1).

    Raises:
      UserError: a code of another shape.
    """
    checks.code(self, z)
    conv = lambda features, name: layers.Conv(
        features, 1, use_bias=False, dtype=self.dtype, name=name)
    x = z
    for i in range(self.levels + 1):
      x = conv(self.features, f'conv_{i}')(x)
      if i < self.levels:
        x = resize.double_bilinear(x)
      x = layers.Norm(name=f'norm_{i}')(layers.relu(x))
    image = nn.sigmoid(conv(self.channels, 'tail')(x).astype(jnp.float32))
    return pad.crop_centre(image, size=size or image.shape[1:3])
