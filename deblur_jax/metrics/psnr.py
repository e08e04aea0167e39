"""Peak signal-to-noise ratio of full RGB frames, in dB."""

import jax.numpy as jnp
import numpy as np

from deblur_jax.metrics import levels
from deblur_jax.state import Array

_LUMA = np.array([65.481, 128.553, 24.966], np.float32) / 255


def psnr_uint8(restored: Array, sharp: Array) -> Array:
  """10 log10(255^2 / MSE) of the clipped pictures, rounded to 8 bits.

  The convention of DeepDeblur-PyTorch, MPRNet, Restormer and NAFNet. Equal
  pictures give inf, a NaN in a picture gives NaN.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1].
    sharp: the same shape.

  Returns:
    float32 [n].
  """
  levels.check(restored, sharp)
  return _psnr(levels.round_to_uint8(restored), levels.round_to_uint8(sharp),
               peak=255)


def psnr_float(restored: Array, sharp: Array) -> Array:
  """10 log10(1 / MSE) of the clipped pictures, not rounded (MIMO-UNet).

  Args and result as of `psnr_uint8`.
  """
  levels.check(restored, sharp)
  return _psnr(jnp.clip(restored, 0, 1), jnp.clip(sharp, 0, 1), peak=1)


def psnr_luma_shaved(
    restored: Array, sharp: Array, *, shave: int = 4
) -> Array:
  """PSNR of the luma of BT.601, 4 pixels off the border: super-resolution's.

  Y = 16 + 65.481 R + 128.553 G + 24.966 B, not rounded, peak 255: what the
  tables of Set5 and Set14 have. Args and result as of `psnr_uint8`.
  """
  levels.check(restored, sharp)
  levels.check_size(restored, side=2 * shave + 1, what='PSNR of the inside')
  inside = slice(shave, -shave)
  a, b = (levels.round_to_uint8(image)[:, inside, inside] @ _LUMA
          for image in (restored, sharp))
  return -10 * jnp.log10(
      levels.mean(jnp.square((a - b) / 255)[..., None]))


def _psnr(a: Array, b: Array, *, peak: float) -> Array:
  return -10 * jnp.log10(levels.mean(jnp.square((a - b) / peak)))
