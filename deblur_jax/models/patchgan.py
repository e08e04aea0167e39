"""The PatchGAN discriminator of pix2pix (Isola et al., CVPR 2017).

DeblurGAN uses it on the sharp or restored image alone, with two zeros around
each layer where pix2pix has one: a 256x256 image has 35x35 logits instead of
30x30, each with a receptive field of 70x70 pixels.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers, receptive_field
from deblur_jax.state import Array

STD = 0.02  # of the initial weights


class PatchGAN(nn.Module):
  """The discriminator: images to logits [n, h', w', 1].

  With the defaults it has 2,764,737 parameters.

  Attributes:
    features: channels of the first layer; each further one doubles them.
    depth: strided convolutions; two of stride 1 follow.
    padding: zeros around each layer: DeblurGAN's 2 or pix2pix' 1.
    norm: a row of `NORMS`, after all convolutions but the first and the last.
      There is no batch norm: with it the logits of an image depend on the other
      images, which a gradient penalty does not allow.
    dtype: of the convolutions; parameters, norms and logits are float32.
  """

  features: int = 64
  depth: int = 3
  padding: int = 2
  norm: str = 'instance'
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, features=self.features, depth=self.depth)
    checks.at_least(0, padding=self.padding)
    if self.norm == 'batch':
      raise errors.UserError(
          "A discriminator with norm 'batch' compares images of a batch, "
          "which forbids a gradient penalty: take 'instance' or 'none'.")
    errors.look_up(NORMS, self.norm, what='norm')
    checks.dtype(self.dtype)
    super().__post_init__()

  @property
  def layout(self) -> list[receptive_field.Window]:
    """Kernel size, stride and padding of each convolution."""
    strides = [2] * self.depth + [1, 1]
    return [receptive_field.Window(4, stride,
                                   self.padding) for stride in strides]

  @property
  def least_crop(self) -> int:
    """The side of the smallest image: the receptive field, 70 by default.

    In a smaller image each logit sees the zeros around it. Far below, an
    instance norm has a single value, which it maps to zero for any image.
    """
    return receptive_field.receptive_field(self.layout)

  @nn.compact
  def __call__(self, image: Array) -> Array:
    """Classifies patches of images.

    Args:
      image: [n, h, w, 3] in [0, 1], h and w at least `least_crop`.

    Returns:
      Logits [n, h', w', 1], float32.

    Raises:
      UserError: images of another shape or too small.
    """
    checks.images(image, least=self.least_crop)
    x = 2 * image - 1
    *hidden, last = self.layout
    for i, window in enumerate(hidden):
      # pix2pix doubles the channels three times at most.
      features = self.features * 2**min(i, 3)
      x = self._conv(features, window, name=f'conv_{i}')(x)
      x = layers.leaky_relu(NORMS[self.norm](x) if i else x)
    x = self._conv(1, last, name=f'conv_{len(hidden)}')(x)
    return x.astype(jnp.float32)

  def _conv(self, features, window, *, name):
    return layers.Conv(
        features, window.kernel_size, window.stride, window.padding, std=STD,
        dtype=self.dtype, name=name)


NORMS = {
    'instance': layers.instance_norm,
    'none': lambda x: x,
}
