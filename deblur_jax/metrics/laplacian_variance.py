"""The variance of the Laplacian: sharpness without a reference.

It must not rank methods. On Levin's images a Wiener filter that rings (29 dB)
has three times the Laplacian variance of the ground truth: noise and ringing
are sharp. Read it beside a metric with reference, or compare it with the value
of sharp photos.
"""

import math

import jax.numpy as jnp

from deblur_jax.metrics import common
from deblur_jax.metrics.record import Metric
from deblur_jax.state import Array

SIDE = 2


def laplacian_variance(image: Array) -> Array:
  """The variance of the 4-neighbour Laplacian of the 8-bit gray image.

  The border is mirrored without repeating it, as in OpenCV's
  `Laplacian(gray, CV_64F).var()`. Higher is sharper, or noisier.

  Args:
    image: float32 [n, h, w, 3] in [0, 1], h and w at least 2.

  Returns:
    float32 [n], in squared 8-bit levels.

  Raises:
    UserError: images that are not RGB or too small.
  """
  common.check_images(image)
  common.check_size(image, side=SIDE, what='A Laplacian')
  x = jnp.pad(common.luma_uint8(image), ((0, 0), (1, 1), (1, 1), (0, 0)),
              mode='reflect')
  laplacian = (x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2]
               + x[:, 1:-1, 2:] - 4 * x[:, 1:-1, 1:-1])
  mean = common.mean(laplacian)[:, None, None, None]
  return common.mean(jnp.square(laplacian - mean))


VARIANCE = Metric(
    laplacian_variance, 'variance of the 8-bit gray Laplacian',
    higher_is_better=True, range=(0, math.inf), inputs=(), side=SIDE)
