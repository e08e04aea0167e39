"""Losses that compare a restored image with the sharp one, pixel by pixel."""

import jax
import jax.numpy as jnp

from deblur_jax.ops import similarity
from deblur_jax.state import Array


def l1(restored: Array, sharp: Array) -> Array:
  """mean |L - S|   (DeepDeblur's later choice).

  Args:
    restored: L, [n, h, w, c] in [0, 1].
    sharp: S, the same shape.

  Returns:
    A float32 scalar.

  Raises:
    ValueError: unequal shapes.
  """
  return jnp.mean(jnp.abs(_difference(restored, sharp)))


def mse(restored: Array, sharp: Array) -> Array:
  """mean (L - S)^2   (Nah et al. 2017, eq. 4, one scale).

  Args:
    restored: L, [n, h, w, c] in [0, 1].
    sharp: S, the same shape.

  Returns:
    A float32 scalar.

  Raises:
    ValueError: unequal shapes.
  """
  return jnp.mean(jnp.square(_difference(restored, sharp)))


def charbonnier(
    restored: Array, sharp: Array, *, epsilon: float = 1e-3) -> Array:
  """mean sqrt((L - S)^2 + eps^2)   (a smooth L1; Lai et al. 2017).

  Args:
    restored: L, [n, h, w, c] in [0, 1].
    sharp: S, the same shape.
    epsilon: eps, positive.

  Returns:
    A float32 scalar.

  Raises:
    ValueError: unequal shapes.
  """
  return _smooth_l1(_difference(restored, sharp), epsilon)


def huber(
    restored: Array, sharp: Array, *, threshold: float = 0.05) -> Array:
  """mean of d^2 / 2 for |d| <= t, of t (|d| - t / 2) above   (Huber 1964).

  It is an MSE for small errors and an L1 for outliers.

  Args:
    restored: [n, h, w, c] in [0, 1].
    sharp: the same shape; d is the difference.
    threshold: t, positive.

  Returns:
    A float32 scalar.

  Raises:
    ValueError: unequal shapes.
  """
  size = jnp.abs(_difference(restored, sharp))
  near = jnp.minimum(size, threshold)
  return jnp.mean(near * (size - near / 2))


def ssim(restored: Array, sharp: Array) -> Array:
  """1 - SSIM, a mean over all pixels and channels   (Wang et al. 2004, eq. 13).

  The Gaussian window has 11 taps and sigma 1.5. Values beyond the border are
  zero, and values are not rounded: SelfDeblur (Ren et al. 2020) minimises this
  loss.

  Args:
    restored: [n, h, w, c] in [0, 1].
    sharp: the same shape.

  Returns:
    A float32 scalar; 0 for equal images.

  Raises:
    ValueError: unequal shapes.
  """
  check_shapes(restored, sharp)
  margin = ((0, 0), *[(similarity.RADIUS,) * 2] * 2, (0, 0))
  x, y = (255 * jnp.pad(image.astype(jnp.float32), margin)
          for image in (restored, sharp))
  luminance, structure = similarity.terms(x, y)
  return 1 - jnp.mean(luminance * structure)


def psnr(restored: Array, sharp: Array, *, epsilon: float = 1e-8) -> Array:
  """-10 / ln 10 * mean_n ln(MSE_n + eps): PSNR in dB, to log; it is not a loss.

  Args:
    restored: [n, h, w, c] in [0, 1].
    sharp: the same shape.
    epsilon: eps, positive.

  Returns:
    A float32 scalar, in dB.

  Raises:
    ValueError: unequal shapes.
  """
  return -psnr_loss(restored, sharp, epsilon=epsilon)


def psnr_loss(restored: Array, sharp: Array, *, epsilon: float = 1e-8) -> Array:
  """10 / ln 10 * mean_n ln(MSE_n + eps): minus PSNR   (HINet, NAFNet).

  Args:
    restored: [n, h, w, c] in [0, 1].
    sharp: the same shape.
    epsilon: eps, positive.

  Returns:
    A float32 scalar, in dB.

  Raises:
    ValueError: unequal shapes.
  """
  square = jnp.square(_difference(restored, sharp))
  per_image = jnp.mean(square, axis=(1, 2, 3))  # [n]
  return 10 / jnp.log(10.) * jnp.mean(jnp.log(per_image + epsilon))


def fft_l1(restored: Array, sharp: Array) -> Array:
  """mean |Re F(L - S)|, |Im F(L - S)|, F unnormalised   (MIMO-UNet, eq. 6).

  It grows with the size of the crop; the published weight 0.1 is for 256x256.

  Args:
    restored: L, [n, h, w, c] in [0, 1].
    sharp: S, the same shape.

  Returns:
    A float32 scalar.

  Raises:
    ValueError: unequal shapes.
  """
  spectrum = jnp.fft.fft2(_difference(restored, sharp), axes=(1, 2))
  return (jnp.mean(jnp.abs(spectrum.real))
          + jnp.mean(jnp.abs(spectrum.imag))) / 2


def edge(
    restored: Array, sharp: Array, *, epsilon: float = 1e-3) -> Array:
  """mean sqrt(H(L - S)^2 + eps^2), H a high-pass   (MPRNet, CVPR 2021).

  H x = x - B (4 U D B x) is a level of the Laplacian pyramid: B blurs with five
  taps, beyond the border with the nearest pixel, D takes every second pixel and
  U puts zeros between them.

  Args:
    restored: L, [n, h, w, c] in [0, 1].
    sharp: S, the same shape.
    epsilon: eps, positive.

  Returns:
    A float32 scalar.

  Raises:
    ValueError: unequal shapes.
  """
  x = _difference(restored, sharp)
  coarse = jnp.zeros_like(x).at[:, ::2, ::2].set(4 * _blur(x)[:, ::2, ::2])
  return _smooth_l1(x - _blur(coarse), epsilon)


def _smooth_l1(x, epsilon):
  return jnp.mean(jnp.sqrt(jnp.square(x) + epsilon**2))


def _blur(x):
  """Burt and Adelson's filter along both axes."""
  for axis in (1, 2):
    around = [(2, 2) if side == axis else (0, 0) for side in range(4)]
    padded, length = jnp.pad(x, around, mode='edge'), x.shape[axis]
    x = sum(tap * jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
            for i, tap in enumerate((0.05, 0.25, 0.4, 0.25, 0.05)))
  return x


def _difference(restored: Array, sharp: Array) -> Array:
  check_shapes(restored, sharp)
  return restored.astype(jnp.float32) - sharp.astype(jnp.float32)


def check_shapes(restored: Array, sharp: Array) -> None:
  """Refuses images of unequal shapes.

  Args:
    restored: an image.
    sharp: should have its shape.

  Raises:
    ValueError: it has not.
  """
  if restored.shape != sharp.shape:
    raise ValueError(
        f'Expected equal shapes, got {restored.shape} and {sharp.shape}.')


PIXEL = {
    'charbonnier': charbonnier,
    'edge': edge,
    'fft_l1': fft_l1,
    'huber': huber,
    'l1': l1,
    'mse': mse,
    'psnr_loss': psnr_loss,
    'ssim': ssim,
}
