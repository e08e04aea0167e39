"""The perceptual loss: a distance between features of a frozen network."""

from collections.abc import Callable

from deblur_jax.losses import pixel
from deblur_jax.state import Array, Params

# (restored, sharp, parameters of a frozen network) -> scalar.
Frozen = Callable[[Array, Array, Params], Array]


def perceptual(features: Callable[[Params, Array], Array]) -> Frozen:
  """mean (phi(L) - phi(S))^2 of features   (DeblurGAN, section 3.2: L_X).

  The paper divides by W H of the features alone, so its loss is larger by the
  number of their channels, 256 at conv3_3. The authors' released code takes a
  mean over the channels too. Its weight of 100 belongs to that mean and to the
  features of torchvision's network: see `ops.vgg` for those of others.

  Args:
    features: phi, (params, images) -> [n, h', w', c], as `apply` of
      `ops.vgg.build`.

  Returns:
    (restored, sharp, params) -> scalar. The parameters are an argument of each
    call, since constants of a closure become a part of the executable.
  """
  def loss(restored: Array, sharp: Array, params: Params) -> Array:
    pixel.check_shapes(restored, sharp)
    return pixel.mse(features(params, restored), features(params, sharp))

  return loss
