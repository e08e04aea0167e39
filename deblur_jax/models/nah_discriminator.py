"""The discriminator of Nah, Kim and Lee (CVPR 2017), table 1.

Convolutions of 5x5 reduce a 256x256 image to 4x4 by strides of 2 and 4. One of
4x4 and a single logit follow, without biases and norms. The authors' code has
one more layer at the beginning than the paper.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers, receptive_field
from deblur_jax.state import Array


class NahDiscriminator(nn.Module):
  """The discriminator: images to logits [n, h', w', 1].

  Images of 193 to 256 pixels have one logit, larger ones a map. It has
  10,725,216 parameters in the layout of the code, 10,699,616 in that of the
  paper.

  Attributes:
    variant: a row of `LAYOUTS`, 'code' or 'paper'.
    features: half the channels of the first layers, a sixteenth of the last.
    scale: of the image at the first layer, 255 in the authors' PyTorch code, 1
      in their older one. Without bias and norm it only scales the logits, which
      start near zero with 1.
    dtype: of the convolutions; parameters and logits are float32.
  """

  variant: str = 'code'
  features: int = 32
  scale: float = 255.0
  dtype: Any = 'float32'

  def __post_init__(self):
    errors.look_up(LAYOUTS, self.variant, what='variant')
    checks.at_least(1, features=self.features)
    checks.dtype(self.dtype)
    super().__post_init__()

  @property
  def layout(self) -> list[receptive_field.Window]:
    """Kernel size, stride and padding of each convolution before the logit."""
    return [window for _, window in LAYOUTS[self.variant]]

  @property
  def least_crop(self) -> int:
    """The side of the smallest image that has a logit."""
    return receptive_field.least_size(self.layout)

  @nn.compact
  def __call__(self, image: Array) -> Array:
    """Classifies images.

    Args:
      image: [n, h, w, 3] in [0, 1], h and w at least `least_crop`.

    Returns:
      Logits [n, h', w', 1], float32.

    Raises:
      UserError: images of another shape or too small.
    """
    checks.images(image, least=self.least_crop)
    x = self.scale * image
    options = dict(use_bias=False, dtype=self.dtype)
    for i, (width, window) in enumerate(LAYOUTS[self.variant]):
      x = layers.leaky_relu(layers.Conv(
          width * self.features, *window, **options, name=f'conv_{i}')(x))
    return layers.Conv(
        1, kernel_size=1, **options, name='logit')(x).astype(jnp.float32)


# Channels in units of `features`, and the window.
_PAPER = [
    (1, receptive_field.Window(5, 2, 2)),
    (2, receptive_field.Window(5, 1, 2)),
    (2, receptive_field.Window(5, 2, 2)),
    (4, receptive_field.Window(5, 1, 2)),
    (4, receptive_field.Window(5, 4, 2)),
    (8, receptive_field.Window(5, 1, 2)),
    (8, receptive_field.Window(5, 4, 2)),
    (16, receptive_field.Window(5, 1, 2)),
    (16, receptive_field.Window(4, 4, 0)),
]
LAYOUTS = {
    'code': [(1, receptive_field.Window(5, 1, 2)), *_PAPER],
    'paper': _PAPER,
}
