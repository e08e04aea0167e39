"""The "CW-SSIM" of DeblurGAN's tables: `cw_ssim_value` of the package pyssim.

It is neither complex nor two-dimensional. The rows of the gray image form one
signal, which is filtered with 30 Ricker wavelets ("Mexican hats") of widths 1,
..., 30. At each pixel, with sums over the 30 filters, it is

    2 sum |p| |q| + k         2 |sum p q| + k
  ---------------------  x  -------------------,   k = 0.01, 255 levels,
  sum p^2 + sum q^2 + k      2 sum |p q| + k

and the result is the mean over the pixels. (Versions of pyssim that filter with
PyWavelets instead of SciPy give about 1e-4 more.) The index of Sampat et al.
(2009) has the same form with the coefficients of a complex steerable pyramid;
its numbers are not comparable. DeblurGAN's .958 is of this kind, so it is far
above the SSIM of others.
"""

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.metrics import common, ssim
from deblur_jax.state import Array

WIDTHS = range(1, 31)
TAPS = 10            # length of a wavelet, in widths
K = 0.01
CHUNK = 4096         # length of the transforms: fits into the cache


def cw_ssim_pyssim(restored: Array, sharp: Array) -> Array:
  """pyssim's `SSIM(restored).cw_ssim_value(sharp)`, as DeblurGAN calls it.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], with h w at least 300.
    sharp: the same shape.

  Returns:
    float32 [n]; 1 for equal images.

  Raises:
    UserError: unequal shapes, images that are not RGB or too small.
  """
  common.check(restored, sharp)
  longest = TAPS * WIDTHS[-1]
  if restored.shape[1] * restored.shape[2] < longest:
    raise errors.UserError(
        f'CW-SSIM needs images of at least {longest} pixels, got '
        f'{restored.shape[2]}x{restored.shape[1]}: leave such images out.')
  return jax.lax.map(lambda pair: _index(*pair), (
      common.luma_uint8(restored), common.luma_uint8(sharp)))


def _index(x, y):
  """Two [h, w, 1] -> a scalar."""
  chunks, mask = _overlapping(x.reshape(-1) + 1j * y.reshape(-1))
  spectra = jnp.fft.fft(chunks)  # of both images: one real, one imaginary

  def add(sums, wavelet):
    # The filter is real, so the two stay apart.
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
  """[m] -> overlapping chunks [c, CHUNK], and the mask of their own values.

  Circular filters are wrong for the first values of a chunk, as many as the
  longest filter has taps: there the chunk before overlaps.
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

  A wavelet has an even number of taps, so its middle lies between two of them;
  pyssim takes the first of the two.
  """
  rows = np.zeros((len(WIDTHS), CHUNK))
  for row, width in zip(rows, WIDTHS, strict=True):
    taps = TAPS * width
    t = (np.arange(taps) - (taps - 1) / 2) / width
    wavelet = (1 - t ** 2) * np.exp(-t ** 2 / 2)
    wavelet *= 2 / (np.sqrt(3 * width) * np.pi ** 0.25)
    row[np.arange(taps) - (taps - 1) // 2] = wavelet
  return np.fft.fft(rows).astype(np.complex64)


PYSSIM = ssim.metric(
    cw_ssim_pyssim, "DeblurGAN's CW-SSIM (pyssim), unlike any other SSIM",
    range=(0, 1), side=1)
