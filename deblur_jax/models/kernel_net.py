"""A prior of blur kernels (SelfDeblur: Ren et al., CVPR 2020)."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.models import checks, layers
from deblur_jax.state import Array


class KernelNet(nn.Module):
  """SelfDeblur's G_k: a code to kernels that are not negative and have sum one.

  It has one hidden layer with ReLU6, and a softmax over all pixels of the
  kernel.

  Attributes:
    size: (kh, kw).
    depth: values of the code.
    hidden: values of the hidden layer.
  """

  size: Sequence[int]
  depth: int = 200
  hidden: int = 1000

  def __post_init__(self):
    if len(self.size) != 2:
      raise errors.UserError(
          f'The size of a kernel is (height, width), got {self.size}.')
    checks.at_least(1, size=min(self.size), depth=self.depth,
                    hidden=self.hidden)
    super().__post_init__()

  @nn.compact
  def __call__(self, z: Array) -> Array:
    """Makes kernels of a code.

    Args:
      z: [n, depth].

    Returns:
      [n, kh, kw], float32.

    Raises:
      UserError: a code of another shape.
    """
    if z.ndim != 2 or z.shape[1] != self.depth:
      raise errors.UserError(
          f'The network takes codes [n, {self.depth}], got {z.shape}.')
    height, width = self.size
    x = jnp.clip(self._dense(z, self.hidden, 'dense_0'), 0, 6)
    x = nn.softmax(self._dense(x, height * width, 'dense_1'))
    return x.reshape(-1, height, width)

  def _dense(self, x, features, name):
    initializer = layers.uniform(1 / math.sqrt(x.shape[1]))
    return nn.Dense(features, kernel_init=initializer, bias_init=initializer,
                    name=name)(x)
