"""PSNR, SSIM and error ratio after the best shift: Levin et al. (2009).

A blind method cannot know a common shift of image and kernel, so it does not
count as an error. As in Levin's evaluation code, which SelfDeblur and others
use, the 15 pixels at each border are left out. Of all shifts up to 5 pixels in
steps of a quarter pixel (bilinear, on both axes, the same for all channels) the
one with the least sum of squared differences counts.

All 41^2 shifts cost 100 passes. The weights of bilinear interpolation sum to
one, so the difference to the sharp image is  sum_k w_k r_k  with r_k the
differences at the four whole shifts around it. Its square is w^T G w with
G_kl = <r_k, r_l>.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.metrics import common, psnr, ssim
from deblur_jax.metrics.record import Metric
from deblur_jax.state import Array

BORDER = 15
SIDE = 2 * BORDER + ssim.SIDE
MAX_SHIFT = 5
STEP = 0.25


def psnr_shift(
    restored: Array, sharp: Array, *, max_shift: int = MAX_SHIFT
) -> Array:
  """PSNR after the best shift; images are rounded to 8 bits before it.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 41.
    sharp: the same shape.
    max_shift: in pixels, 1 to 15. SelfDeblur takes 10 where 5 is too little.

  Returns:
    float32 [n], in dB; inf for equal images.

  Raises:
    UserError: unequal shapes, images that are not RGB or too small, or
      `max_shift` out of its range.
  """
  aligned, target = _align(restored, sharp, max_shift=max_shift)
  return -10 * jnp.log10(
      common.mean(jnp.square(aligned - target)) / 255 ** 2)


def ssim_shift(
    restored: Array, sharp: Array, *, max_shift: int = MAX_SHIFT
) -> Array:
  """SSIM at the shift of `psnr_shift`: windows that fit, mean over channels.

  For gray images it is the `ssim_index` of Wang et al.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 41.
    sharp: the same shape.
    max_shift: in pixels, 1 to 15.

  Returns:
    float32 [n]; 1 for equal images.

  Raises:
    UserError: see `psnr_shift`.
  """
  return ssim.index(*_align(restored, sharp, max_shift=max_shift))


def error_ratio(
    restored: Array, sharp: Array,
    restored_with_true_kernel: Array, *, max_shift: int = MAX_SHIFT
) -> Array:
  """Levin's error ratio: the cost of not knowing the kernel.

    |restored - sharp|^2 / |restored_with_true_kernel - sharp|^2

  each at its own best shift. (SelfDeblur's script takes the ratio of spectral
  norms instead.)

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 41.
    sharp: the same shape.
    restored_with_true_kernel: the same shape: the result of the same non-blind
      method with the true kernel.
    max_shift: in pixels, 1 to 15.

  Returns:
    float32 [n]; 1 where both are equally far from the sharp image.

  Raises:
    UserError: see `psnr_shift`.
  """
  blind, oracle = (
      common.mean(jnp.square(jnp.subtract(
          *_align(images, sharp, max_shift=max_shift))))
      for images in (restored, restored_with_true_kernel))
  return blind / oracle


def _align(restored, sharp, *, max_shift):
  """Both without borders, in [0, 255], the first one shifted."""
  common.check(restored, sharp)
  common.check_size(restored, side=SIDE, what='The best shift')
  if not 1 <= max_shift <= BORDER:
    raise errors.UserError(
        f'max_shift must be from 1 to the border of {BORDER}, got {max_shift}.')
  pair = common.round_to_uint8(restored), common.round_to_uint8(sharp)
  return jax.lax.map(lambda pair: _align_one(*pair, max_shift), pair)


def _align_one(image, sharp, max_shift):
  """[h, w, 3] each."""
  target = sharp[BORDER:-BORDER, BORDER:-BORDER]
  weights = jnp.asarray(_bilinear(), jnp.float32)            # [25, 4]

  def around(cell):
    """The four whole shifts of a cell: [4, h - 30, w - 30, 3]."""
    rows, columns = cell // (2 * max_shift), cell % (2 * max_shift)
    corner = BORDER - max_shift + rows, BORDER - max_shift + columns
    part = jax.lax.dynamic_slice(
        image, (*corner, 0),
        (target.shape[0] + 1, target.shape[1] + 1, target.shape[2]))
    return part[:-1, :-1], part[:-1, 1:], part[1:, :-1], part[1:, 1:]

  def squares(cell):
    differences = [part - target for part in around(cell)]
    total = 0
    for i, j in itertools.combinations_with_replacement(range(4), 2):
      product = (differences[i] * differences[j]).sum(axis=(1, 2)).sum()
      twice = 1 if i == j else 2
      total += twice * weights[:, i] * weights[:, j] * product
    return total

  cells = jnp.arange((2 * max_shift) ** 2)
  best = jnp.argmin(jax.lax.map(squares, cells))
  weight = weights[best % len(weights)]
  parts = around(best // len(weights))
  return sum(w * part for w, part in zip(weight, parts, strict=True)), target


def _bilinear() -> np.ndarray:
  """The weights of the four corners for each fraction of a shift, [25, 4]."""
  fractions = np.arange(0, 1 + STEP, STEP)
  rows, columns = np.meshgrid(fractions, fractions, indexing='ij')
  return np.stack([
      (1 - rows) * (1 - columns), (1 - rows) * columns,
      rows * (1 - columns), rows * columns], axis=-1).reshape(-1, 4)


PSNR = psnr.metric(
    psnr_shift, "PSNR after the best shift, borders cut (Levin's protocol)",
    side=SIDE, test_size=(56, 60))
SSIM = ssim.metric(
    ssim_shift, 'SSIM at that shift', side=SIDE, test_size=(56, 60))
ERROR_RATIO = Metric(
    error_ratio, "error over that with the true kernel (Levin's protocol)",
    higher_is_better=False, range=(0, math.inf), inputs=('sharp', 'oracle'),
    side=SIDE, test_size=(56, 60))
