"""A network that tells by what type of blur a picture was blurred.

Types differ in how edges look and in what directions, at sizes from one pixel
to many: edges first, then residual blocks at a quarter and an eighth of the
size, and what they see averaged over the whole picture.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import uniform
from deblur_jax.models import checks, kernel_estimator, layers
from deblur_jax.ops import colour
from deblur_jax.state import Array

# Of the logits: a blur's type, or that there is none.
NONE = 'none'
NAMES = (*uniform.BLUR_TYPES, NONE)


class BlurType(nn.Module):
  """Images [n, h, w, 3] in [0, 1] to logits [n, len(NAMES)], float32.

  Attributes:
    features: channels at half the size; two and four times as many below.
    blocks: residual blocks at a quarter and at an eighth of the size.
    dtype: of the convolutions; parameters and logits are float32.
  """

  features: int = 16
  blocks: int = 1
  dtype: Any = 'float32'

  def __post_init__(self):
    checks.at_least(1, features=self.features)
    checks.at_least(0, blocks=self.blocks)
    checks.dtype(self.dtype)
    super().__post_init__()

  @nn.compact
  def __call__(self, blur: Array) -> Array:
    checks.images(blur)
    x = kernel_estimator.standard(colour.luma(blur).astype(jnp.float32))
    for i in range(3):
      x = layers.relu(layers.Conv(
          2**i * self.features, 5, 2, dtype=self.dtype, name=f'conv_{i}')(x))
      for j in range(self.blocks * (i > 0)):
        x = layers.ResBlock(3, dtype=self.dtype, name=f'block_{i}_{j}')(x)
    x = x.astype(jnp.float32)
    # How strong, and how often: the mean alone forgets a few sharp edges.
    seen = jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], axis=-1)
    x = layers.relu(nn.Dense(4 * self.features, name='hidden')(seen))
    return nn.Dense(len(NAMES), name='result')(x)


def place(name: str, *, what: str = 'blur type') -> int:
  """The logit of a type, or a UserError that lists them all."""
  return errors.look_up(
      {name: number for number, name in enumerate(NAMES)}, name, what=what)
