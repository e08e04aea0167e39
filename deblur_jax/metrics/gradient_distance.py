"""The distance of an image's gradients from those of natural photos.

Natural photos have many faint gradients and a few strong ones, in nearly the
same proportion for all contents. Blur removes the strong ones, ringing and
noise remove the faint ones. So this distance grows in both cases, unlike
sharpness. A single photo, of the sky for example, can be far from the mean of
photos: compare means over sets, and with the distance of natural photos.
"""

import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.metrics import common
from deblur_jax.state import Array

COUNT = 256    # quantiles


def quantiles(image: Array) -> Array:
  """The distribution of log gradients, as evenly spaced quantiles.

  These are quantiles of log(1 + |g|), with g the horizontal and vertical
  differences of neighbours in the 8-bit gray image.

  Args:
    image: float32 [n, h, w, 3] in [0, 1], h and w at least 2.

  Returns:
    float32 [n, COUNT], in ascending order.

  Raises:
    UserError: images that are not RGB or too small.
  """
  common.check_images(image)
  common.check_size(image, side=2, what='A gradient')
  gray = common.luma_uint8(image)[..., 0]
  n = len(gray)
  slopes = jnp.concatenate([
      jnp.diff(gray, axis=1).reshape(n, -1),
      jnp.diff(gray, axis=2).reshape(n, -1)], axis=1)
  ranked = jnp.sort(jnp.log1p(jnp.abs(slopes)), axis=1)
  places = (jnp.arange(COUNT) + 0.5) / COUNT * ranked.shape[1]
  return ranked[:, places.astype(jnp.int32)]


def distance(image: Array, reference: Array) -> Array:
  """The Wasserstein distance of two distributions of log gradients.

  Args:
    image: float32 [n, h, w, 3] in [0, 1], h and w at least 2.
    reference: [COUNT], the mean of `quantiles` over natural photos.

  Returns:
    float32 [n], in nats; 0 for equal distributions.

  Raises:
    UserError: images that are not RGB or too small, or another number of
      quantiles.
  """
  if reference.shape != (COUNT,):
    raise errors.UserError(
        f'Expected {COUNT} quantiles, got {reference.shape}.')
  found = quantiles(image)
  return jnp.mean(jnp.abs(found - jnp.broadcast_to(reference, found.shape)), 1)
