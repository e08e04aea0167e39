"""The protocol of the camera-shake benchmark (Koehler et al., ECCV 2012).

The benchmark has about 199 sharp frames for each blurry picture, taken along
the camera's recorded path. For each frame x, the restored picture z, rounded
to 8 bits, is scaled by  sum x z / sum z^2  and moved by the whole pixels at
which its cross-correlation with the frame, both as means of the channels and
circular, is greatest; what comes in from outside is 0, and so is x there.
Both are then turned into luma, and the best frame counts, for each metric its
own. After the benchmark's published MATLAB code; plain PSNR against any one
frame means nothing here.

`frames` are float32 in [0, 1], or uint8 as they lie on disk: 199 frames of
800 x 800 are 1.5 GB as float32.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.metrics import levels, ms_ssim
from deblur_jax.ops import similarity
from deblur_jax.state import Array

# The low-pass analysis filter of the biorthogonal 9/7 wavelet.
HALF_BAND = (0.037828455507260, -0.023849465019560, -0.110624404418440,
             0.377402855612830, 0.852698679008890)


def psnr_kohler(restored: Array, frames: Array) -> Array:
  """PSNR of the luma in dB, of the best frame.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1].
    frames: [n, t, h, w, 3], float32 in [0, 1] or uint8: the path of each.

  Returns:
    float32 [n].
  """
  return _best(restored, frames, _psnr)


def ms_ssim_kohler(restored: Array, frames: Array) -> Array:
  """MS-SSIM of the luma as MeTriX MuX has it, of the best frame.

  That differs from `ms_ssim_luma`: between scales a 9/7 wavelet's low-pass
  filter, and the means of contrast and of structure are taken apart. Args and
  result as of `psnr_kohler`; h and w are at least 161.
  """
  levels.check_size(restored, side=ms_ssim.SIDE, what="Koehler's MS-SSIM")
  return _best(restored, frames, _ms_ssim)


def _best(restored, frames, metric):
  levels.check_images(restored)
  n, *size = restored.shape
  if frames.ndim != 5 or frames.shape[0] != n or (
      list(frames.shape[2:]) != size):
    raise errors.UserError(
        f'Expected the frames of {n} paths, [{n}, t, *{tuple(size)}], got '
        f'{frames.shape}.')
  return jax.lax.map(lambda pair: _best_frame(*pair, metric),
                     (levels.round_to_uint8(restored), frames))


def _best_frame(z, frames, metric):
  def score(frame):
    x = frame.astype(jnp.float32)
    if frame.dtype != jnp.uint8:
      x = levels.round_to_uint8(x)
    scaled = z * (_sum(x * z) / _sum(z * z))
    x, aligned = _shift(x, scaled)
    return metric(_luma(x)[None], _luma(aligned)[None])[0]

  return jax.lax.map(score, frames).max()


def _shift(x, z):
  """z moved onto x, and x where z has pixels."""
  h, w, _ = x.shape
  # Without their means, which move all the correlation alike, less rounding.
  spectra = [jnp.fft.rfft2(gray - gray.mean()) for gray in
             (x.mean(axis=-1), z.mean(axis=-1))]
  correlation = jnp.fft.irfft2(spectra[0] * spectra[1].conj(), (h, w))
  row, column = jnp.unravel_index(jnp.argmax(correlation), (h, w))
  row, column = (jnp.where(at >= side // 2, at - side, at)
                 for at, side in ((row, h), (column, w)))
  inside = _covered(h, row)[:, None] & _covered(w, column)[None, :]
  moved = jnp.roll(z, (row, column), axis=(0, 1))
  mask = inside[..., None]
  return jnp.where(mask, x, 0), jnp.where(mask, moved, 0)


def _covered(side, shift):
  at = jnp.arange(side) - shift
  return (at >= 0) & (at < side)


def _luma(x):
  return (0.299 * x[..., 0:1] + 0.587 * x[..., 1:2] + 0.114 * x[..., 2:3])


def _sum(x):
  return x.sum(axis=(1, 2)).sum()


def _psnr(x, z):
  return -10 * jnp.log10(levels.mean(jnp.square(x - z)) / 255 ** 2)


def _ms_ssim(x, z):
  """[n, h, w, 1] of 255 levels -> [n]."""
  value = 1
  for scale, weight in enumerate(ms_ssim.WEIGHTS):
    if scale:
      x, z = _coarser(x), _coarser(z)
    mx, mz, sxx, szz, sxz = similarity.moments(x, z)
    contrast = jnp.sqrt(jnp.maximum(sxx, 0) * jnp.maximum(szz, 0))
    factors = [(2 * contrast + similarity.C2) / (sxx + szz + similarity.C2),
               (sxz + similarity.C2 / 2) / (contrast + similarity.C2 / 2)]
    if scale == len(ms_ssim.WEIGHTS) - 1:
      factors.append(
          (2 * mx * mz + similarity.C1) / (mx * mx + mz * mz + similarity.C1))
    for factor in factors:
      mean = levels.mean(factor)
      value *= jnp.where(mean < 0, 0, mean) ** weight
  return value


def _coarser(x):
  """Low-pass with the border mirrored, then every second pixel."""
  taps = np.asarray([*HALF_BAND, *HALF_BAND[-2::-1]])
  taps = taps / taps.sum()
  radius = len(taps) // 2
  for axis in (1, 2):
    widths = [(0, 0)] * 4
    widths[axis] = (radius, radius)
    padded = jnp.pad(x, widths, mode='symmetric')
    size = x.shape[axis]
    cut = functools.partial(jax.lax.slice_in_dim, padded, axis=axis, stride=2)
    x = sum(float(tap) * cut(i, i + size) for i, tap in enumerate(taps))
    # Else XLA fuses scale into scale, and compiles for a minute.
    x = jax.lax.optimization_barrier(x)
  return x
