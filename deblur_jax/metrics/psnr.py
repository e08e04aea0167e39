"""Peak signal-to-noise ratio of RGB images, in dB."""

import functools
import math

import jax.numpy as jnp
import numpy as np

from deblur_jax.metrics import common
from deblur_jax.metrics.record import Metric
from deblur_jax.state import Array

SHAVE = 4    # pixels at each border
_LUMA = np.array([[[[65.481, 128.553, 24.966]]]], np.float32) / 255


def psnr_uint8(restored: Array, sharp: Array) -> Array:
  """10 log10(255^2 / MSE) of images that are clipped and rounded to 8 bits.

  The convention of DeepDeblur-PyTorch, MPRNet, Restormer and NAFNet.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1].
    sharp: the same shape.

  Returns:
    float32 [n], in dB; inf for equal images, NaN where an image has a NaN.

  Raises:
    UserError: unequal shapes, or images that are not RGB.
  """
  common.check(restored, sharp)
  return _psnr(common.round_to_uint8(restored), common.round_to_uint8(sharp),
               peak=255)


def psnr_float(restored: Array, sharp: Array) -> Array:
  """10 log10(1 / MSE) of images that are clipped, not rounded (MIMO-UNet).

  Args:
    restored: float32 [n, h, w, 3] in [0, 1].
    sharp: the same shape.

  Returns:
    float32 [n], in dB; inf for equal images.

  Raises:
    UserError: unequal shapes, or images that are not RGB.
  """
  common.check(restored, sharp)
  return _psnr(jnp.clip(restored, 0, 1), jnp.clip(sharp, 0, 1), peak=1)


def psnr_luma_shaved(
    restored: Array, sharp: Array, *, shave: int = SHAVE
) -> Array:
  """PSNR of the luma of BT.601 without the border, as in super-resolution.

  Y = 16 + 65.481 R + 128.553 G + 24.966 B of 8-bit images, not rounded, with
  a peak of 255: the convention of the tables for Set5 and Set14.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1].
    sharp: the same shape.
    shave: how many pixels are left out at each border.

  Returns:
    float32 [n], in dB; inf for equal images.

  Raises:
    UserError: unequal shapes, images that are not RGB, or nothing left.
  """
  common.check(restored, sharp)
  common.check_size(restored, side=2 * shave + 1, what='PSNR of the inside')
  height, width = restored.shape[1:3]
  difference = (common.round_to_uint8(restored) - common.round_to_uint8(sharp))[
      :, shave:height - shave, shave:width - shave] / 255
  # No product of matrices: accelerators round the factors of those.
  luma = (difference * _LUMA).sum(axis=-1, keepdims=True)
  return -10 * jnp.log10(common.mean(jnp.square(luma)))


def _psnr(a: Array, b: Array, *, peak: float) -> Array:
  return -10 * jnp.log10(common.mean(jnp.square((a - b) / peak)))


# The record of any PSNR.
metric = functools.partial(
    Metric, higher_is_better=True, range=(0, math.inf), digits=2)
UINT8 = metric(
    psnr_uint8, 'PSNR of RGB frames, clipped and rounded to 8 bits',
    standard=True)
# It differs from UINT8 by about 0.01 dB; report.csv has it.
FLOAT = metric(
    psnr_float, 'PSNR of RGB frames, clipped, not rounded', standard=True,
    in_report=False)
LUMA_SHAVED = metric(
    psnr_luma_shaved, 'PSNR of luma, 4 pixels off the border (Set5, Set14)',
    side=2 * SHAVE + 1)
