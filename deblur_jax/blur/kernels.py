"""Blur kernels: float32 [size, size], never negative, sum one, centred.

A kernel says where the light of a point goes, so blurring is true convolution
(`operators.py`). Size is odd and the middle element is the point itself.
Lengths are pixels, angles radians from the x axis towards y (down), as seen on
a screen: clockwise.

The functions by formula may be differentiated in what they take; those called
`random_...` take a key first, and are the rows of `KERNELS` in `uniform.py`.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.state import Array

_SAMPLES = 4    # of a line, for each pixel of the kernel's side


def margins(size: Sequence[int]) -> list[tuple[int, int]]:
  """Pixels of the scene before and after the picture, along each axis.

  A picture of a scene without a border of its own is smaller than the scene:
  each pixel needs a whole kernel.

  Args:
    size: (height, width) of the kernel.
  """
  return [(side - 1 - side // 2, side // 2) for side in size]


def crop_scene(scene, size: Sequence[int], *, picture: Sequence[int]):
  """The part of a scene that the picture shows, at the middle of the kernel.

  Args:
    scene: [..., h + kh - 1, w + kw - 1, c].
    size: (kh, kw) of the kernel.
    picture: (h, w).

  Returns:
    [..., h, w, c].
  """
  (top, _), (left, _) = margins(size)
  height, width = picture
  return scene[..., top:top + height, left:left + width, :]


def line(length, angle, *, size: int) -> Array:
  """Motion at constant speed along a line, antialiased.

  Args:
    length: of the line, in pixels; 0 is the identity.
    angle: of the motion.
    size: of the kernel; what reaches beyond it is held at its edge.
  """
  samples = _SAMPLES * check_size(size)
  along = ((jnp.arange(samples) + 0.5) / samples - 0.5) * length
  weights = jnp.ones_like(along)
  return splat(
      along * jnp.sin(angle), along * jnp.cos(angle), weights, size=size)


def disk(radius, *, size: int) -> Array:
  """Defocus: a disk of that radius, its edge one pixel soft."""
  y, x = _grid(size)
  distance = jnp.sqrt(y ** 2 + x ** 2)
  return normalise(jnp.clip(radius + 0.5 - distance, 0, 1))


def gaussian(along, across, angle, *, size: int) -> Array:
  """A Gaussian with standard deviations along an angle and across it."""
  y, x = _grid(size)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  u, v = (cos * x + sin * y) / along, (cos * y - sin * x) / across
  return normalise(jnp.exp(-0.5 * (u ** 2 + v ** 2)))


def delta(*, size: int) -> Array:
  """The identity."""
  middle = check_size(size) // 2
  return jnp.zeros((size, size)).at[middle, middle].set(1.0)


def mix(first, second) -> Array:
  """Both blurs, one after the other, cut to the size of the first.

  What falls outside of that size is lost, and the rest is scaled to sum one.
  """
  size, other = check_size(first.shape[-1]), check_size(second.shape[-1])
  whole = (size + other - 1,) * 2
  spectrum = jnp.fft.rfft2(first, whole) * jnp.fft.rfft2(second, whole)
  cut = other // 2
  both = jnp.fft.irfft2(spectrum, whole)[cut:cut + size, cut:cut + size]
  return normalise(jnp.maximum(both, 0))    # FFT leaves -1e-9 where it is dark


def splat(y, x, weights, *, size: int) -> Array:
  """A kernel from points: each is shared out bilinearly over four pixels.

  Args:
    y, x: [points], pixels down and right from the middle; held inside.
    weights: [points], not negative, not all 0.
    size: of the kernel.
  """
  half = check_size(size) // 2
  rows = _tent(jnp.clip(y, -half, half), half)
  columns = _tent(jnp.clip(x, -half, half), half)
  # A product of matrices: quicker than a scatter-add, and the same everywhere.
  return normalise(jnp.einsum(
      'py,px->yx', weights[:, None] * rows, columns, precision='highest'))


def centre(y, x, weights) -> tuple[Array, Array]:
  """The points moved so that their weighted mean is the origin."""
  share = weights / weights.sum()
  return y - (share * y).sum(), x - (share * x).sum()


def normalise(kernel) -> Array:
  """Scaled to sum one over its last two axes."""
  return kernel / kernel.sum((-2, -1), keepdims=True)


def likeness(first, second) -> Array:
  """The greatest correlation of two kernels over all shifts, [...], up to 1.

  sum a(u) b(u + s) / (|a| |b|): blind methods find kernels up to a shift s,
  which only moves the picture. For kernels [..., kh, kw] of one size.

  Raises:
    UserError: kernels of two sizes.
  """
  if first.shape[-2:] != second.shape[-2:]:
    raise errors.UserError(
        f'Kernels of one size are compared, got {first.shape[-2:]} and '
        f'{second.shape[-2:]}.')
  room = [2 * side for side in first.shape[-2:]]
  product = jnp.conj(jnp.fft.rfft2(first, room)) * jnp.fft.rfft2(second, room)
  best = jnp.fft.irfft2(product, room).max(axis=(-2, -1))
  power = lambda kernel: jnp.sum(jnp.square(kernel), axis=(-2, -1))
  return best / jnp.sqrt(power(first) * power(second))


def random_line(
    key, *, size: int = 31, length: tuple[float, float] = (1.0, 25.0),
    angle: tuple[float, float] = (0.0, math.pi)) -> Array:
  """A line of random length and angle, uniform in those ranges."""
  key_length, key_angle = jax.random.split(key)
  check_range('length', length, most=size)
  check_range('angle', angle, most=2 * math.pi)
  drawn = _uniform(key_length, length)
  return line(drawn, _uniform(key_angle, angle), size=size)


def random_disk(
    key, *, size: int = 31, radius: tuple[float, float] = (0.5, 8.0)) -> Array:
  """A disk of random radius, uniform in that range."""
  check_range('radius', radius, most=size / 2)
  return disk(_uniform(key, radius), size=size)


def random_gaussian(
    key, *, size: int = 31, sigma: tuple[float, float] = (0.4, 4.0),
    isotropic: bool = False) -> Array:
  """A Gaussian with random deviations, uniform in that range.

  Args:
    key: a PRNG key.
    size: of the kernel.
    sigma: range of both deviations, in pixels, from 0.1.
    isotropic: whether both are the same.
  """
  check_range('sigma', sigma, most=size / 2, above=0.1)
  key_along, key_across, key_angle = jax.random.split(key, 3)
  along = _uniform(key_along, sigma)
  across = along if isotropic else _uniform(key_across, sigma)
  return gaussian(
      along, across, _uniform(key_angle, (0.0, jnp.pi)), size=size)


def check_kernel(kernel, *, where: str = 'The kernel') -> np.ndarray:
  """A kernel from outside as float32 [kh, kw], or a UserError.

  Args:
    kernel: an array of numbers.
    where: what to call it in the message.

  Raises:
    UserError: not two-dimensional, of an even size, with negative or infinite
      values, or of another sum than one (to 1e-3).
  """
  kernel = np.asarray(kernel, np.float32)
  if kernel.ndim != 2 or not kernel.size:
    raise errors.UserError(
        f'{where} must be [height, width], got the shape {kernel.shape}.')
  if not all(side % 2 for side in kernel.shape):
    raise errors.UserError(
        f'{where} has the even size {kernel.shape[0]}x{kernel.shape[1]}: its '
        'middle lies between pixels; pad it with a row or column of zeros.')
  if not np.isfinite(kernel).all() or kernel.min() < 0:
    raise errors.UserError(
        f'{where} has values from {kernel.min():g} to {kernel.max():g}; light '
        'is neither negative nor infinite.')
  total = float(kernel.sum())
  if abs(total - 1) > 1e-3:
    raise errors.UserError(
        f'{where} sums to {total:g} instead of 1; divide it by its sum.')
  return kernel


def check_size(size: int) -> int:
  """size, or a UserError where it is even or below 1."""
  if size < 1 or size % 2 == 0:
    raise errors.UserError(
        f'A kernel size must be odd and at least 1, got {size}; use '
        f'{max(size + 1, 1)}.')
  return size


def check_range(
    name: str, values: tuple[float, float], *, most: float, above: float = 0.0
) -> None:
  """A UserError where (low, high) is no range within [above, most]."""
  if not (isinstance(values, Sequence) and len(values) == 2
          and above <= values[0] <= values[1] <= most):
    shown = tuple(values) if isinstance(values, Sequence) else values
    raise errors.UserError(
        f'{name}={shown} must be (low, high) with {above} <= low <= '
        f'high <= {most:g}.')


def _tent(position, half):
  """[points, 2 half + 1]: each position's bilinear shares."""
  pixels = jnp.arange(-half, half + 1)
  return jnp.maximum(1 - jnp.abs(position[:, None] - pixels[None, :]), 0)


def _grid(size):
  half = check_size(size) // 2
  pixels = jnp.arange(-half, half + 1, dtype=jnp.float32)
  return pixels[:, None], pixels[None, :]


def _uniform(key, values):
  return jax.random.uniform(key, minval=values[0], maxval=values[1])
