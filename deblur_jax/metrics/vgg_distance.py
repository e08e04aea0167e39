"""A perceptual distance that needs only the weights of VGG19.

  mean over layers l of  mean over pixels of  |u_l(x) - u_l(y)|^2

where u_l are the features of VGG19 scaled to unit length at each pixel. It is
LPIPS (Zhang et al. 2018, eq. 1) without the trained linear layers, so that all
channels have the same weight, with the three layers up to conv3_3. Its values
are not comparable with those of LPIPS.
"""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp

from deblur_jax.metrics import common
from deblur_jax.metrics.record import Metric
from deblur_jax.ops import vgg
from deblur_jax.state import Array

LAYERS = ('relu1_2', 'relu2_2', 'relu3_3')
SIDE = 4


def build_unit(
    *, path: str | pathlib.Path, convention: str | None = None,
    sha256: str = ''
) -> Callable[[Array, Array], Array]:
  """The distance with the weights of a file.

  Args:
    path: the file, see `ops.vgg.load`.
    convention: how the network takes its inputs, see `ops.vgg.load`.
    sha256: the expected checksum of the file, see `ops.vgg.load`.

  Returns:
    (restored, sharp) -> float32 [n] in [0, 2], 0 for equal images. Both are
    float32 [n, h, w, 3] in [0, 1] with h and w at least 4, and are rounded to
    8 bits first.

  Raises:
    UserError: no such file, or one that does not hold VGG19.
  """
  net, params = vgg.load(
      path=path, layers=LAYERS, convention=convention, sha256=sha256)

  def features(images):
    # Accelerators round the factors of products, each in its own way.
    with jax.default_matmul_precision('highest'):
      return net.apply({'params': params}, common.round_to_uint8(images) / 255)

  def distance(restored: Array, sharp: Array) -> Array:
    common.check(restored, sharp)
    common.check_size(restored, side=SIDE, what='vgg19_unit')
    pairs = zip(features(restored), features(sharp), strict=True)
    squares = (jnp.square(common.unit(f) - common.unit(g)) for f, g in pairs)
    # The squared length is a sum over the channels.
    return sum(common.mean(square) * square.shape[-1]
               for square in squares) / len(LAYERS)

  return distance


UNIT = Metric(
    build_unit, 'LPIPS without its linear layers, on VGG19',
    higher_is_better=False, range=(0, 2), needs_weights=True, side=SIDE)
