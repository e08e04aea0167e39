"""Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003).

  l_5^w5 prod_{s=1..5} (c s)_s^ws,   w = .0448 .2856 .3001 .2363 .1333

where l and (c s) are the means over the map of SSIM's two factors (11 taps,
sigma 1.5, only where the window fits) at scale s. Scale 5 takes the mean of
their product instead. Each scale is the 2 x 2 mean of the finer one, and an odd
last row or column counts twice. This is the authors' MATLAB code with its
default options. Both images are rounded to 8 bits. Means below 0 count as 0,
since their power is complex.
"""

import jax
import jax.numpy as jnp

from deblur_jax.metrics import common, ssim
from deblur_jax.ops import pyramid, similarity
from deblur_jax.state import Array

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SIDE = 161   # halved four times, rounding up, that is 11


def ms_ssim_luma(restored: Array, sharp: Array) -> Array:
  """MS-SSIM of the 8-bit gray images, as in the paper.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 161.
    sharp: the same shape.

  Returns:
    float32 [n]; 1 for equal images.

  Raises:
    UserError: unequal shapes, images that are not RGB or too small.
  """
  _check(restored, sharp)
  return _ms_ssim(common.luma_uint8(restored), common.luma_uint8(sharp))


def ms_ssim_rgb(restored: Array, sharp: Array) -> Array:
  """The mean of the three channels' MS-SSIM: `tf.image.ssim_multiscale`.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 161.
    sharp: the same shape.

  Returns:
    float32 [n]; 1 for equal images.

  Raises:
    UserError: unequal shapes, images that are not RGB or too small.
  """
  _check(restored, sharp)
  return _ms_ssim(common.round_to_uint8(restored),
                  common.round_to_uint8(sharp))


def _check(restored, sharp):
  common.check(restored, sharp)
  common.check_size(
      restored, side=SIDE, what=f'MS-SSIM with {len(WEIGHTS)} scales')


def _ms_ssim(x, y):
  """[n, h, w, c] of 255 levels -> [n], the mean over channels."""
  pyramids = [pyramid.average(z, levels=len(WEIGHTS)) for z in (x, y)]
  # Without the barrier XLA fuses the computation of a scale into each use.
  xs, ys = jax.lax.optimization_barrier(pyramids)
  value = 1
  for scale, weight in enumerate(WEIGHTS):
    luminance, structure = similarity.terms(xs[scale], ys[scale])
    if scale == len(WEIGHTS) - 1:
      structure = luminance * structure
    mean = structure.mean(axis=2).mean(axis=1)  # [n, c]
    # Neither clip nor maximum: a NaN must stay a NaN.
    value *= jnp.where(mean < 0, 0, mean) ** weight
  return value.mean(axis=-1)


LUMA, RGB = (
    ssim.metric(fn, convention, range=(0, 1), side=SIDE, test_size=(163, 170))
    for fn, convention in (
        (ms_ssim_luma, 'MS-SSIM (Wang et al. 2003) of 8-bit gray pictures'),
        (ms_ssim_rgb, "MS-SSIM, mean over channels, as TensorFlow's")))
