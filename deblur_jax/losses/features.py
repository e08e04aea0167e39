"""The perceptual loss: a distance between features of a frozen network."""

from collections.abc import Callable

from deblur_jax.losses import pixel
from deblur_jax.state import Array, Params

# (restored, sharp, parameters of a frozen network) -> scalar.
Frozen = Callable[[Array, Array, Params], Array]


def perceptual(features: Callable[[Params, Array], Array]) -> Frozen:
  """mean (phi(L) - phi(S))^2 of features   (DeblurGAN, section 3.2: L_X).

  The paper divides by the W H of the features only, and so has as many times as
  much as they have channels, 256 at conv3_3. A mean over the channels too is
  what its released code takes, and what its weight of 100 is for, with the
  features of torchvision's network: see `ops.vgg` for those of others.

  Args:
    features: phi, (params, images) -> [n, h', w', c], as `apply` of
      `ops.vgg.build`.

  Returns:
    (restored, sharp, params) -> scalar. The parameters come last, at each call:
    what is closed over would be written into the executable.
  """
  def loss(restored: Array, sharp: Array, params: Params) -> Array:
    pixel.check_shapes(restored, sharp)
    return pixel.mse(features(params, restored), features(params, sharp))

  return loss
