"""Colour: saturation, luma, YCbCr. RGB [..., 3] in [0, 1], any shape.

Gradients are finite everywhere, also for gray and black, whose hue and
saturation are undefined.
"""

import jax.numpy as jnp

from deblur_jax import errors

_NEUTRAL = 128 / 255    # Cb and Cr of grays


def saturate(image, factor):
  """Multiplies the saturation S of HSV, up to S = 1; hue and value stay.

  At constant H and V a channel is  V - S * f(H, V), so it becomes
  V - (V - channel) * S' / S  without a conversion to HSV.

  Args:
    image: RGB [..., 3] in [0, 1].
    factor: scalar, at least 0.

  Returns:
    RGB [..., 3] in [0, 1].

  Raises:
    UserError: the last axis is not RGB.
  """
  _check_rgb(image)
  value, _, saturation = _value_chroma_saturation(image)
  # S' / S = min(factor, 1 / S); for gray any ratio is right.
  safe = jnp.where(saturation > 0, saturation, 1)
  ratio = jnp.minimum(factor, 1 / safe)[..., None]
  value = value[..., None]
  return value - (value - image) * ratio


def luma(image):
  """Y' of ITU-R BT.601 in full range: 0.299 R + 0.587 G + 0.114 B.

  Black is 0 and white is 1, not 16 / 255 and 235 / 255.

  Args:
    image: RGB [..., 3] in [0, 1].

  Returns:
    [..., 1] in [0, 1].

  Raises:
    UserError: the last axis is not RGB.
  """
  _check_rgb(image)
  return (0.299 * image[..., 0:1] + 0.587 * image[..., 1:2]
          + 0.114 * image[..., 2:3])


def rgb_to_ycbcr(image):
  """Converts RGB to Y', Cb, Cr of ITU-R BT.601 in the full range of JPEG.

  Args:
    image: RGB [..., 3] in [0, 1].

  Returns:
    [..., 3] in [0, 1]; gray has Cb = Cr = 128/255.

  Raises:
    UserError: the last axis is not RGB.
  """
  y = luma(image)[..., 0]
  return jnp.stack(
      [y, _NEUTRAL + (image[..., 2] - y) / 1.772,
       _NEUTRAL + (image[..., 0] - y) / 1.402], axis=-1)


def ycbcr_to_rgb(image):
  """Converts Y', Cb, Cr [..., 3] to RGB [..., 3], not clipped.

  Raises:
    UserError: the last axis has not three channels.
  """
  _check_rgb(image)
  y, cb, cr = image[..., 0], image[..., 1] - _NEUTRAL, image[..., 2] - _NEUTRAL
  return jnp.stack(
      [y + 1.402 * cr, y - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587,
       y + 1.772 * cb], axis=-1)


def _value_chroma_saturation(image):
  value = image.max(axis=-1)
  chroma = value - image.min(axis=-1)
  return value, chroma, chroma / jnp.where(value > 0, value, 1)


def _check_rgb(image):
  if image.shape[-1] != 3:
    raise errors.UserError(
        f'Expected RGB in the last axis, got an array of shape {image.shape}; '
        'repeat a gray picture three times.')
