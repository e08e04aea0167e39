"""The "CW-SSIM" of DeblurGAN's tables: `cw_ssim_value` of the package pyssim.

It is neither complex nor two-dimensional. The gray picture's rows are laid end
to end, and that one signal is filtered with 30 Ricker wavelets ("Mexican hats")
of widths 1, ..., 30; at each pixel, sums being over the 30 filters,

    2 sum |p| |q| + k         2 |sum p q| + k
  ---------------------  x  -------------------,   k = 0.01, 255 levels,
  sum p^2 + sum q^2 + k      2 sum |p q| + k

and the mean over the pixels. (Versions of pyssim that filter with PyWavelets
in place of SciPy give about 1e-4 more.) The index of Sampat et al. (2009) has
the same form with the coefficients of a complex steerable pyramid; the numbers
do not compare. DeblurGAN's .958 is of this kind, which is why it stands so far
above others' SSIM.
"""

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.metrics import levels
from deblur_jax.state import Array

WIDTHS = range(1, 31)
TAPS = 10            # of a wavelet, in widths
K = 0.01
CHUNK = 4096         # of the transforms: fits the cache, wastes little overlap


def cw_ssim_pyssim(restored: Array, sharp: Array) -> Array:
  """pyssim's `SSIM(restored).cw_ssim_value(sharp)`, as DeblurGAN calls it.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], of at least 300 pixels in all.
    sharp: the same shape.

  Returns:
    float32 [n]; 1 for equal pictures.
  """
  levels.check(restored, sharp)
  longest = TAPS * WIDTHS[-1]
  if restored.shape[1] * restored.shape[2] < longest:
    raise errors.UserError(
        f'CW-SSIM needs images of at least {longest} pixels, got '
        f'{restored.shape[2]}x{restored.shape[1]}: leave such images out.')
  return jax.lax.map(lambda pair: _index(*pair), (
      levels.luma_uint8(restored), levels.luma_uint8(sharp)))


def _index(x, y):
  """Two [h, w, 1] -> a scalar."""
  chunks, mask = _overlapping(x.reshape(-1) + 1j * y.reshape(-1))
  spectra = jnp.fft.fft(chunks)  # both pictures: one real, one imaginary

  def add(sums, wavelet):
    # A real filter keeps the two apart.
    pq = jnp.fft.ifft(spectra * wavelet[None])
    p, q = pq.real, pq.imag
    absolute, squares, products = sums
    return (absolute + jnp.abs(p * q), squares + p * p + q * q,
            products + p * q), None

  zeros = jnp.zeros(chunks.shape, jnp.float32)
  (absolute, squares, products), _ = jax.lax.scan(
      add, (zeros, zeros, zeros), jnp.asarray(_wavelets()))
  index = ((2 * absolute + K) / (squares + K)
           * (2 * jnp.abs(products) + K) / (2 * absolute + K))
  rows = jnp.where(mask, index, 0).sum(axis=1)
  return rows.sum() / mask.sum()


def _overlapping(signal):
  """[m] -> chunks [c, CHUNK] with zeros around, and what of them is new.

  Position j of the first chunk's filtered signal is valid from the length of
  the filter on; the next chunk goes on where that one ends.
  """
  longest = TAPS * WIDTHS[-1]
  new = CHUNK - longest
  before, count = longest // 2, -(-signal.size // new)
  padded = jnp.pad(signal, (before, count * new + longest - before
                            - signal.size))
  starts = new * np.arange(count)
  chunks = padded[starts[:, None] + np.arange(CHUNK)[None, :]]
  inside = np.arange(CHUNK)[None, :] - before
  mask = ((inside >= 0) & (inside < new)
          & (starts[:, None] + inside < signal.size))
  return chunks, mask


def _wavelets() -> np.ndarray:
  """The transforms of the 30 wavelets, complex64 [30, CHUNK].

  Of 10 a taps, an even number: the middle lies between two of them, and pyssim
  takes the one before.
  """
  rows = np.zeros((len(WIDTHS), CHUNK))
  for row, width in zip(rows, WIDTHS, strict=True):
    taps = TAPS * width
    t = (np.arange(taps) - (taps - 1) / 2) / width
    wavelet = (1 - t ** 2) * np.exp(-t ** 2 / 2)
    wavelet *= 2 / (np.sqrt(3 * width) * np.pi ** 0.25)
    row[np.arange(taps) - (taps - 1) // 2] = wavelet
  return np.fft.fft(rows).astype(np.complex64)
