"""The protocol of the camera-shake benchmark (Koehler et al., ECCV 2012).

The benchmark has about 199 sharp frames for each blurry image, taken along the
recorded path of the camera. For each frame x:

  1. The restored image z, rounded to 8 bits, is scaled by sum x z / sum z^2.
  2. z is moved by the whole pixels that maximise its circular cross-correlation
     with x (of the means over the channels). Pixels from outside are 0 in both.
  3. Both become luma and are compared.

Each metric takes its own best frame. This follows the benchmark's published
MATLAB code; PSNR against any single frame is meaningless here.

Frames may be uint8, as on disk: 199 frames of 800 x 800 take 1.5 GB as float32.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.metrics import common, ms_ssim, psnr, ssim
from deblur_jax.ops import colour, similarity
from deblur_jax.state import Array

# Half of the low-pass analysis filter of the biorthogonal 9/7 wavelet.
HALF_BAND = (0.037828455507260, -0.023849465019560, -0.110624404418440,
             0.377402855612830, 0.852698679008890)


def psnr_kohler(restored: Array, frames: Array) -> Array:
  """PSNR of the luma, of the best frame.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1].
    frames: the sharp frames of each, [n, t, h, w, 3], float32 in [0, 1] or
      uint8.

  Returns:
    float32 [n], in dB.

  Raises:
    UserError: images that are not RGB, or frames of other shapes.
  """
  return _best(restored, frames, _psnr)


def ms_ssim_kohler(restored: Array, frames: Array) -> Array:
  """MS-SSIM of the luma as in MeTriX MuX, of the best frame.

  It differs from `ms_ssim_luma` in two points: the low-pass filter of a 9/7
  wavelet makes the scales, and the means of contrast and of structure are
  separate factors.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 161.
    frames: the sharp frames of each, [n, t, h, w, 3], float32 in [0, 1] or
      uint8.

  Returns:
    float32 [n].

  Raises:
    UserError: images that are not RGB or too small, or frames of other shapes.
  """
  common.check_size(restored, side=ms_ssim.SIDE, what="Koehler's MS-SSIM")
  return _best(restored, frames, _ms_ssim)


def _best(restored, frames, metric):
  common.check_images(restored)
  n, *size = restored.shape
  if frames.ndim != 5 or frames.shape[0] != n or (
      list(frames.shape[2:]) != size):
    raise errors.UserError(
        f'Expected the frames of {n} paths, [{n}, t, *{tuple(size)}], got '
        f'{frames.shape}.')
  return jax.lax.map(lambda pair: _best_frame(*pair, metric),
                     (common.round_to_uint8(restored), frames))


def _best_frame(z, frames, metric):
  def score(frame):
    x = frame.astype(jnp.float32)
    if frame.dtype != jnp.uint8:
      x = common.round_to_uint8(x)
    scaled = z * (_sum(x * z) / _sum(z * z))
    x, aligned = _shift(x, scaled)
    return metric(colour.luma(x)[None], colour.luma(aligned)[None])[0]

  return jax.lax.map(score, frames).max()


def _shift(x, z):
  """(x where the moved z has pixels, z moved onto x)."""
  h, w, _ = x.shape
  # The means shift all correlations alike; without them, less rounding.
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


def _sum(x):
  return x.sum(axis=(1, 2)).sum()


def _psnr(x, z):
  return -10 * jnp.log10(common.mean(jnp.square(x - z)) / 255 ** 2)


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
      mean = common.mean(factor)
      value *= jnp.where(mean < 0, 0, mean) ** weight
  return value


def _coarser(x):
  """A low-pass filter with mirrored borders, then every second pixel."""
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
    # Without the barrier XLA fuses all scales and compiles for a minute.
    x = jax.lax.optimization_barrier(x)
  return x


PSNR = psnr.metric(
    psnr_kohler, "PSNR of the best sharp frame (Koehler's protocol)",
    inputs=('frames',))
MS_SSIM = ssim.metric(
    ms_ssim_kohler, 'MS-SSIM of the best sharp frame, by the same protocol',
    range=(0, 1), inputs=('frames',), side=ms_ssim.SIDE, test_size=(163, 170))
