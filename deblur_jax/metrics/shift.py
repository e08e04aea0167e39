"""PSNR, SSIM and error ratio after the best shift: Levin et al. (2009).

A blind method may give picture and kernel shifted against each other, which is
no fault of it. As in Levin's evaluation code, which SelfDeblur and others use,
the 15 pixels at each border are left out, and of all shifts up to 5 pixels in
steps of a quarter pixel (bilinear), on both axes, that of the least sum of
squared differences counts; all channels move as one.

All 41^2 shifts cost 100 passes. The weights of bilinear interpolation sum to
one, so the difference to the sharp picture is  sum_k w_k r_k  with r_k the
differences at the four whole shifts around, and its square is w^T G w with
G_kl = <r_k, r_l>.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.metrics import levels, ssim
from deblur_jax.ops import similarity
from deblur_jax.state import Array

BORDER = 15
MAX_SHIFT = 5
STEP = 0.25


def psnr_shift(
    restored: Array, sharp: Array, *, max_shift: int = MAX_SHIFT
) -> Array:
  """PSNR in dB after the best shift; `restored` is rounded to 8 bits before it.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 41.
    sharp: the same shape.
    max_shift: in pixels; SelfDeblur says to try 10 where 5 looks too few.

  Returns:
    float32 [n].
  """
  aligned, target = _align(restored, sharp, max_shift=max_shift)
  return -10 * jnp.log10(
      levels.mean(jnp.square(aligned - target)) / 255 ** 2)


def ssim_shift(
    restored: Array, sharp: Array, *, max_shift: int = MAX_SHIFT
) -> Array:
  """SSIM at the shift of `psnr_shift`: windows that fit, mean over channels.

  For gray pictures the `ssim_index` of Wang et al. Args and result as there.
  """
  return ssim.index(*_align(restored, sharp, max_shift=max_shift))


def error_ratio(
    restored: Array, sharp: Array,
    restored_with_true_kernel: Array, *, max_shift: int = MAX_SHIFT
) -> Array:
  """Levin's error ratio: what not knowing the kernel costs.

    |restored - sharp|^2 / |restored_with_true_kernel - sharp|^2

  each at its own best shift.
  (SelfDeblur's script takes the ratio of spectral norms instead.)

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 41.
    sharp: the same shape.
    restored_with_true_kernel: the same shape: by the same non-blind method.
    max_shift: in pixels.

  Returns:
    float32 [n].
  """
  blind, oracle = (
      levels.mean(jnp.square(jnp.subtract(
          *_align(images, sharp, max_shift=max_shift))))
      for images in (restored, restored_with_true_kernel))
  return blind / oracle


def _align(restored, sharp, *, max_shift):
  """Both without borders in 255 levels, the first shifted."""
  levels.check(restored, sharp)
  levels.check_size(restored, side=2 * BORDER + 2 * similarity.RADIUS + 1,
                    what='The best shift')
  if not 1 <= max_shift <= BORDER:
    raise errors.UserError(
        f'max_shift must be from 1 to the border of {BORDER}, got {max_shift}.')
  pair = levels.round_to_uint8(restored), levels.round_to_uint8(sharp)
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
  """Weights of the four corners for each fraction of a shift, [25, 4]."""
  fractions = np.arange(0, 1 + STEP, STEP)
  rows, columns = np.meshgrid(fractions, fractions, indexing='ij')
  return np.stack([
      (1 - rows) * (1 - columns), (1 - rows) * columns,
      rows * (1 - columns), rows * columns], axis=-1).reshape(-1, 4)
