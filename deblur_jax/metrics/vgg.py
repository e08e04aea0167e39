"""A perceptual distance that needs VGG19's weights alone.

  mean over layers l of  mean over pixels of  |u_l(x) - u_l(y)|^2

where u_l are the features of VGG19 scaled to unit length at each pixel: LPIPS
(Zhang et al. 2018, eq. 1) with all channels alike, which is what remains of it
without its trained linear layers, and with the three layers up to conv3_3. Its
values cannot be compared with those of LPIPS.
"""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp

from deblur_jax.metrics import levels
from deblur_jax.ops import vgg
from deblur_jax.state import Array

LAYERS = ('relu1_2', 'relu2_2', 'relu3_3')


def build_unit(
    *, path: str | pathlib.Path, convention: str | None = None,
    sha256: str = ''
) -> Callable[[Array, Array], Array]:
  """fn(restored, sharp) -> [n], 0 for equal pictures and never above 2.

  Both pictures, [n, h, w, 3] in [0, 1] with h and w at least 4, are rounded to
  8 bits first. The options are those of `ops.vgg.load`, which says what a file
  must hold and refuses others.
  """
  net, params = vgg.load(
      path=path, layers=LAYERS, convention=convention, sha256=sha256)

  def features(images):
    # Accelerators would round what they multiply, unlike each other.
    with jax.default_matmul_precision('highest'):
      return net.apply({'params': params}, levels.round_to_uint8(images) / 255)

  def distance(restored: Array, sharp: Array) -> Array:
    levels.check(restored, sharp)
    levels.check_size(restored, side=4, what='vgg19_unit')
    pairs = zip(features(restored), features(sharp), strict=True)
    squares = (jnp.square(levels.unit(f) - levels.unit(g)) for f, g in pairs)
    # |.|^2 is a sum over channels.
    return sum(levels.mean(square) * square.shape[-1]
               for square in squares) / len(LAYERS)

  return distance
