"""Crete's blur effect: sharpness without a reference.

It must not rank methods. On Levin's images a Wiener filter that rings (29 dB)
has less blur by this measure than the ground truth: noise and ringing are
sharp. Read it beside a metric with reference, or compare it with the value of
sharp photos.
"""

import jax.numpy as jnp

from deblur_jax.metrics import common
from deblur_jax.metrics.record import Metric
from deblur_jax.state import Array

REBLUR = 11        # pixels of the mean
SMALLEST = 1e-16   # scikit-image's floor of a gradient


def blur_effect(image: Array) -> Array:
  """How little a second blur changes an image (Crete et al. 2007).

  `skimage.measure.blur_effect(image, channel_axis=-1)`: it compares the
  gradients of the gray image before and after a mean over 11 pixels, and takes
  the worse one of both axes. Images are rounded to 8 bits first. Lower is
  sharper, or noisier.

  Args:
    image: float32 [n, h, w, 3] in [0, 1], h and w at least 11.

  Returns:
    float32 [n] in [0, 1]; 1 for a flat image.

  Raises:
    UserError: images that are not RGB or too small.
  """
  common.check_images(image)
  common.check_size(image, side=REBLUR, what='The blur effect')
  colour = common.round_to_uint8(image) / 255
  gray = (0.2125 * colour[..., 0:1] + 0.7154 * colour[..., 1:2]
          + 0.0721 * colour[..., 2:3])
  return jnp.maximum(_blur_along(gray), _blur_along(gray.swapaxes(1, 2)))


def _blur_along(gray):
  """Along the first axis: 1 - (gradients that the mean removed) / (all)."""
  _, h, _, _ = gray.shape
  radius = REBLUR // 2
  padded = jnp.pad(gray, ((0, 0), (radius, radius), (0, 0), (0, 0)),
                   mode='symmetric')
  blurred = sum(padded[:, i:i + h] for i in range(REBLUR)) / REBLUR
  sharp, blur = _sobel(gray), _sobel(blurred)
  total = common.mean(sharp)
  return (total - common.mean(jnp.maximum(sharp - blur, 0))) / total


def _sobel(x):
  """The absolute gradient along the first axis, where scikit-image has it.

  It leaves out the first two rows and columns, and the last one.
  """
  dy = (x[:, 2:] - x[:, :-2])[:, 1:]
  smooth = (dy[:, :, 1:-2] + 2 * dy[:, :, 2:-1] + dy[:, :, 3:]) / 8
  return jnp.maximum(jnp.abs(smooth), SMALLEST)


EFFECT = Metric(
    blur_effect, "Crete's blur, as scikit-image's", higher_is_better=False,
    range=(0, 1), inputs=(), side=REBLUR)
