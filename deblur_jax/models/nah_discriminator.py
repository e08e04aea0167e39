"""The discriminator of Nah, Kim and Lee (CVPR 2017), table 1.

Convolutions of 5x5 that halve and quarter a 256x256 image to 4x4, one of 4x4
over that, and a single logit; no bias, no norm. The authors' code has one more
layer in front than the paper.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers, windows
from deblur_jax.state import Array


class NahDiscriminator(nn.Module):
  """Images [n, h, w, 3] in [0, 1] to logits [n, h', w', 1], float32.

  Images of 193 to 256 pixels get one logit, larger ones a map. 10,725,216
  parameters in the layout of the code, 10,699,616 in that of the paper.

  Attributes:
    variant: a row of `LAYOUTS`, 'code' or 'paper'.
    features: half the channels of the first layers; 16 times as many at last.
    scale: of the image as the first layer gets it, 255 in the authors' PyTorch
      code, 1 in their older one. Without bias and norm it only scales the
      logits, but training starts from there: those of 1 are nearly nothing.
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
  def layout(self) -> list[windows.Window]:
    """Kernel size, stride and padding of each convolution but the logit's."""
    return [window for _, window in LAYOUTS[self.variant]]

  @property
  def least_crop(self) -> int:
    """Side of the least image of which a logit is left."""
    return windows.least_size(self.layout, least=[1] * len(self.layout))

  @nn.compact
  def __call__(self, image: Array) -> Array:
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
    (1, windows.Window(5, 2, 2)),
    (2, windows.Window(5, 1, 2)),
    (2, windows.Window(5, 2, 2)),
    (4, windows.Window(5, 1, 2)),
    (4, windows.Window(5, 4, 2)),
    (8, windows.Window(5, 1, 2)),
    (8, windows.Window(5, 4, 2)),
    (16, windows.Window(5, 1, 2)),
    (16, windows.Window(4, 4, 0)),
]
LAYOUTS = {
    'code': [(1, windows.Window(5, 1, 2)), *_PAPER],
    'paper': _PAPER,
}
