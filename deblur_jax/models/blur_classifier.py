"""A network that classifies the blur of a picture.

Types of blur differ in the shape and direction of blurred edges, at sizes from
one pixel to many. So the network detects edges, has residual blocks at a
quarter and an eighth of the size, and averages over the whole picture.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import uniform
from deblur_jax.models import checks, kernel_estimator, layers
from deblur_jax.ops import colour
from deblur_jax.state import Array

# The types of the logits: those of blur, and none.
NONE = 'none'
NAMES = (*uniform.BLUR_TYPES, NONE)


class BlurType(nn.Module):
  """The classifier: images to logits [n, len(NAMES)].

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
    """Classifies the blur of images.

    Args:
      blur: [n, h, w, 3] in [0, 1].

    Returns:
      Logits [n, len(NAMES)], float32.

    Raises:
      UserError: images of another shape.
    """
    checks.images(blur)
    x = kernel_estimator.standard(colour.luma(blur).astype(jnp.float32))
    for i in range(3):
      x = layers.relu(layers.Conv(
          2**i * self.features, 5, 2, dtype=self.dtype, name=f'conv_{i}')(x))
      for j in range(self.blocks * (i > 0)):
        x = layers.ResBlock(3, dtype=self.dtype, name=f'block_{i}_{j}')(x)
    x = x.astype(jnp.float32)
    # The mean alone loses a few sharp edges, which the maximum keeps.
    seen = jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], axis=-1)
    x = layers.relu(nn.Dense(4 * self.features, name='hidden')(seen))
    return nn.Dense(len(NAMES), name='result')(x)


def place(name: str, *, what: str = 'blur type') -> int:
  """The index of a type among the logits.

  Args:
    name: one of NAMES.
    what: the words for it in the message.

  Returns:
    The index.

  Raises:
    UserError: another name; the message lists them all.
  """
  return errors.look_up(
      {name: number for number, name in enumerate(NAMES)}, name, what=what)
