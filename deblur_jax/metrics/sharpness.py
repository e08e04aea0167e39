"""Sharpness without a sharp picture. Never rank by it.

On Levin's images a Wiener filter that rings (29 dB) has three times the
Laplacian variance of the ground truth, and less blur by Crete's measure than
the ground truth itself: noise and ringing are sharp. Read these beside a
metric with reference, or as a distance from what sharp photos have.
"""

import jax.numpy as jnp

from deblur_jax.metrics import levels
from deblur_jax.state import Array

REBLUR = 11
SMALLEST = 1e-16   # scikit-image's floor of a gradient


def laplacian_variance(image: Array) -> Array:
  """The variance of the 4-neighbour Laplacian of the 8-bit gray picture.

  The border is mirrored without repeating it: OpenCV's
  `Laplacian(gray, CV_64F).var()`. Higher is sharper, or noisier.

  Args:
    image: float32 [n, h, w, 3] in [0, 1], h and w at least 2.

  Returns:
    float32 [n], in squared 8-bit levels.
  """
  levels.check_images(image)
  levels.check_size(image, side=2, what='A Laplacian')
  x = jnp.pad(levels.luma_uint8(image), ((0, 0), (1, 1), (1, 1), (0, 0)),
              mode='reflect')
  laplacian = (x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2]
               + x[:, 1:-1, 2:] - 4 * x[:, 1:-1, 1:-1])
  mean = levels.mean(laplacian)[:, None, None, None]
  return levels.mean(jnp.square(laplacian - mean))


def blur_effect(image: Array) -> Array:
  """How little a picture changes when blurred once more (Crete et al. 2007).

  `skimage.measure.blur_effect(image, channel_axis=-1)`: gradients of the gray
  picture before and after a mean over 11 pixels, the worse of both axes. The
  pictures are rounded to 8 bits first. Lower is sharper, or noisier.

  Args:
    image: float32 [n, h, w, 3] in [0, 1], h and w at least 11.

  Returns:
    float32 [n] in [0, 1]; 1 for a flat picture.
  """
  levels.check_images(image)
  levels.check_size(image, side=REBLUR, what='The blur effect')
  colour = levels.round_to_uint8(image) / 255
  gray = (0.2125 * colour[..., 0:1] + 0.7154 * colour[..., 1:2]
          + 0.0721 * colour[..., 2:3])
  return jnp.maximum(_blur_along(gray), _blur_along(gray.swapaxes(1, 2)))


def _blur_along(gray):
  """Along the first axis: 1 - (what the mean took away) / (what there was)."""
  _, h, _, _ = gray.shape
  radius = REBLUR // 2
  padded = jnp.pad(gray, ((0, 0), (radius, radius), (0, 0), (0, 0)),
                   mode='symmetric')
  blurred = sum(padded[:, i:i + h] for i in range(REBLUR)) / REBLUR
  sharp, blur = _sobel(gray), _sobel(blurred)
  total = levels.mean(sharp)
  return (total - levels.mean(jnp.maximum(sharp - blur, 0))) / total


def _sobel(x):
  """The absolute gradient along the first axis, on scikit-image's part of it.

  That part leaves out two rows and columns before, but one after.
  """
  dy = (x[:, 2:] - x[:, :-2])[:, 1:]
  smooth = (dy[:, :, 1:-2] + 2 * dy[:, :, 2:-1] + dy[:, :, 3:]) / 8
  return jnp.maximum(jnp.abs(smooth), SMALLEST)
