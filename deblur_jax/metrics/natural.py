"""How far a picture's gradients are from those of natural photos.

Natural photos have many faint gradients and a few strong ones, in much the same
proportion whatever they show. Blur takes the strong ones, ringing and noise
take the faint ones: other than sharpness, this distance grows on both sides.
One photo of the sky is far from the mean of photos as well: compare means over
sets, and with what natural photos have themselves.
"""

import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.metrics import levels
from deblur_jax.state import Array

COUNT = 256    # quantiles


def quantiles(image: Array) -> Array:
  """The distribution of log gradients, as evenly spaced quantiles.

  Of log(1 + |g|), g the differences of neighbours, across and down, in the
  8-bit gray picture.

  Args:
    image: float32 [n, h, w, 3] in [0, 1], h and w at least 2.

  Returns:
    float32 [n, COUNT], rising.
  """
  levels.check_images(image)
  levels.check_size(image, side=2, what='A gradient')
  gray = levels.luma_uint8(image)[..., 0]
  n = len(gray)
  slopes = jnp.concatenate([
      jnp.diff(gray, axis=1).reshape(n, -1),
      jnp.diff(gray, axis=2).reshape(n, -1)], axis=1)
  ranked = jnp.sort(jnp.log1p(jnp.abs(slopes)), axis=1)
  places = (jnp.arange(COUNT) + 0.5) / COUNT * ranked.shape[1]
  return ranked[:, places.astype(jnp.int32)]


def distance(image: Array, reference: Array) -> Array:
  """Wasserstein's distance of both distributions, in nats.

  Args:
    image: float32 [n, h, w, 3] in [0, 1].
    reference: [COUNT], the mean of `quantiles` over natural photos.

  Returns:
    float32 [n]; 0: the same distribution.
  """
  if reference.shape != (COUNT,):
    raise errors.UserError(
        f'Expected {COUNT} quantiles, got {reference.shape}.')
  found = quantiles(image)
  return jnp.mean(jnp.abs(found - jnp.broadcast_to(reference, found.shape)), 1)
