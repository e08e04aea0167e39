"""Losses that compare a restored image with the sharp one, pixel by pixel.

Each takes two images [n, h, w, c] in [0, 1] and returns a float32 scalar, which
is a mean.
"""

import jax.numpy as jnp

from deblur_jax.ops import similarity
from deblur_jax.state import Array


def l1(restored: Array, sharp: Array) -> Array:
  """mean |L - S|   (DeepDeblur's later choice)."""
  return jnp.mean(jnp.abs(_difference(restored, sharp)))


def mse(restored: Array, sharp: Array) -> Array:
  """mean (L - S)^2   (Nah et al. 2017, eq. 4, one scale)."""
  return jnp.mean(jnp.square(_difference(restored, sharp)))


def charbonnier(
    restored: Array, sharp: Array, *, epsilon: float = 1e-3) -> Array:
  """mean sqrt((L - S)^2 + eps^2)   (a smooth L1; Lai et al. 2017)."""
  square = jnp.square(_difference(restored, sharp))
  return jnp.mean(jnp.sqrt(square + epsilon**2))


def huber(
    restored: Array, sharp: Array, *, threshold: float = 0.05) -> Array:
  """mean of d^2 / 2 up to the threshold, t (|d| - t / 2) above   (Huber 1964).

  As MSE for what is nearly right, as L1 for outliers.
  """
  size = jnp.abs(_difference(restored, sharp))
  near = jnp.minimum(size, threshold)
  return jnp.mean(near * (size - near / 2))


def ssim(restored: Array, sharp: Array) -> Array:
  """1 - SSIM, a mean over all pixels and channels   (Wang et al. 2004, eq. 13).

  Gaussian window of 11 taps, sigma 1.5, zeros beyond the border, values not
  rounded: what SelfDeblur (Ren et al. 2020) minimises.
  """
  check_shapes(restored, sharp)
  margin = ((0, 0), *[(similarity.RADIUS,) * 2] * 2, (0, 0))
  x, y = (255 * jnp.pad(image.astype(jnp.float32), margin)
          for image in (restored, sharp))
  luminance, structure = similarity.terms(x, y)
  return 1 - jnp.mean(luminance * structure)


def psnr(restored: Array, sharp: Array, *, epsilon: float = 1e-8) -> Array:
  """-10 / ln 10 * mean_n ln(MSE_n + eps): PSNR in dB, no loss itself."""
  return -psnr_loss(restored, sharp, epsilon=epsilon)


def psnr_loss(restored: Array, sharp: Array, *, epsilon: float = 1e-8) -> Array:
  """10 / ln 10 * mean_n ln(MSE_n + eps): minus PSNR in dB   (HINet, NAFNet)."""
  square = jnp.square(_difference(restored, sharp))
  per_image = jnp.mean(square, axis=(1, 2, 3))  # [n]
  return 10 / jnp.log(10.) * jnp.mean(jnp.log(per_image + epsilon))


def fft_l1(restored: Array, sharp: Array) -> Array:
  """mean |Re F(L - S)|, |Im F(L - S)|, F unnormalised   (MIMO-UNet, eq. 6).

  It grows with the size of the crop; the published weight 0.1 is for 256x256.
  """
  spectrum = jnp.fft.fft2(_difference(restored, sharp), axes=(1, 2))
  return (jnp.mean(jnp.abs(spectrum.real))
          + jnp.mean(jnp.abs(spectrum.imag))) / 2


def _difference(restored: Array, sharp: Array) -> Array:
  check_shapes(restored, sharp)
  return restored.astype(jnp.float32) - sharp.astype(jnp.float32)


def check_shapes(restored: Array, sharp: Array) -> None:
  """Raises a ValueError where two images differ in their shapes."""
  if restored.shape != sharp.shape:
    raise ValueError(
        f'Expected equal shapes, got {restored.shape} and {sharp.shape}.')


PIXEL = {
    'charbonnier': charbonnier,
    'fft_l1': fft_l1,
    'huber': huber,
    'l1': l1,
    'mse': mse,
    'psnr_loss': psnr_loss,
    'ssim': ssim,
}
