"""Networks: pure linen modules that map images to lists of images.

Each takes [n, h, w, 3] in [0, 1] and returns a list, finest first.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from deblur_jax import types
from deblur_jax.models import multiscale, single_scale


def build(*, name: str, **kwargs) -> nn.Module:
  """A network from one leaf of the config, such as `nets.net`.

  Raises:
    types.UserError: for an unknown name or option.
  """
  network = types.look_up(MODELS, name, what='network')
  return types.call(network, kwargs=kwargs, where='nets')


def count_parameters(params: types.Params) -> int:
  """The number of values in a tree of arrays, or of their shapes."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def init(net: nn.Module, key: types.Array) -> types.Params:
  """Fresh parameters of an image-to-images network.

  Runs eagerly on a small image, whose size parameters do not depend on: jit and
  `lazy_init` take a minute to compile the random numbers of 120 layers.
  """
  return net.init(key, jnp.zeros((1, 32, 32, 3)))['params']


MODELS = {
    'multiscale': multiscale.MultiScale,
    'single_scale': single_scale.SingleScale,
}
