"""How near a restored image is to the sharp one: one value an image.

Every metric is fn(restored, sharp) -> [n] float32 for float32 [n, h, w, 3] in
[0, 1], may be jitted and vmapped, and has its convention in its name.
"""

import jax.numpy as jnp

from deblur_jax import types
from deblur_jax.metrics import psnr, ssim


def reduce(values: types.Array, mask: types.Array) -> types.Array:
  """The mean over the real rows of a padded batch.

  Args:
    values: [n], one value an image; what stands in padding is not read, be it
      NaN.
    mask: [n], true (or not 0) where the row is real.

  Returns:
    A scalar; NaN where no row is real.
  """
  if values.shape != mask.shape:
    raise types.UserError(
        f'Expected one mask value for each image, got values {values.shape} '
        f'and mask {mask.shape}.')
  real = mask != 0
  return jnp.where(real, values, 0).sum() / real.sum()


METRICS = {
    'psnr_uint8': psnr.psnr_uint8,
    'psnr_float': psnr.psnr_float,
    'ssim_matlab3d': ssim.ssim_matlab3d,
    'ssim_skimage': ssim.ssim_skimage,
}
