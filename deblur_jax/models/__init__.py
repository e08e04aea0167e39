"""Networks: pure linen modules that map images to lists of images.

Each takes [n, h, w, 3] in [0, 1] and returns a list, finest first.
"""

import math

import flax.linen as nn
import jax

from deblur_jax import types
from deblur_jax.models import multiscale


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


MODELS = {
    'multiscale': multiscale.MultiScale,
}
