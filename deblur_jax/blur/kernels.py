"""Blur kernels: float32 [size, size], not negative, sum one, centred.

A kernel is a point spread function, so blurring is true convolution
(`operators.py`). Sizes are odd; the middle element is the point itself.
Lengths are in pixels. Angles are in radians from the x axis towards the y axis,
which points down: clockwise on a screen.

The functions of a formula are differentiable in their parameters. Those named
`random_...` take a key first and are the rows of `KERNELS` in `uniform.py`.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.state import Array

_SAMPLES = 4    # points of a line for each pixel of the kernel's side


def margins(size: Sequence[int]) -> list[tuple[int, int]]:
  """Computes by how many pixels the scene is larger than its picture.

  The 'valid' convolution makes the picture smaller than the scene, because each
  pixel needs a whole kernel.

  Args:
    size: (height, width) of the kernel.

  Returns:
    (before, after) for each axis, in pixels.
  """
  return [(side - 1 - side // 2, side // 2) for side in size]


def crop_scene(scene, size: Sequence[int], *, picture: Sequence[int]):
  """Crops a scene to the part that the picture shows.

  Args:
    scene: [..., h + kh - 1, w + kw - 1, c].
    size: (kh, kw) of the kernel.
    picture: (h, w) of the picture.

  Returns:
    [..., h, w, c].
  """
  (top, _), (left, _) = margins(size)
  height, width = picture
  return scene[..., top:top + height, left:left + width, :]


def line(length, angle, *, size: int) -> Array:
  """Makes the kernel of motion at constant speed along a line, antialiased.

  Args:
    length: of the line, in pixels; 0 is the identity.
    angle: of the motion, in radians.
    size: of the kernel, odd; points outside of it are moved to its edge.

  Returns:
    [size, size].

  Raises:
    UserError: size is even or below 1.
  """
  samples = _SAMPLES * check_size(size)
  along = ((jnp.arange(samples) + 0.5) / samples - 0.5) * length
  weights = jnp.ones_like(along)
  return splat(
      along * jnp.sin(angle), along * jnp.cos(angle), weights, size=size)


def disk(radius, *, size: int) -> Array:
  """Makes the kernel of defocus: a disk with an edge one pixel wide.

  Args:
    radius: in pixels.
    size: of the kernel, odd.

  Returns:
    [size, size].

  Raises:
    UserError: size is even or below 1.
  """
  y, x = _grid(size)
  distance = jnp.sqrt(y ** 2 + x ** 2)
  return normalise(jnp.clip(radius + 0.5 - distance, 0, 1))


def gaussian(along, across, angle, *, size: int) -> Array:
  """Makes a Gaussian kernel, isotropic or not.

  Args:
    along: standard deviation along the angle, in pixels, above 0.
    across: standard deviation across the angle, in pixels, above 0.
    angle: in radians.
    size: of the kernel, odd.

  Returns:
    [size, size].

  Raises:
    UserError: size is even or below 1.
  """
  y, x = _grid(size)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  u, v = (cos * x + sin * y) / along, (cos * y - sin * x) / across
  return normalise(jnp.exp(-0.5 * (u ** 2 + v ** 2)))


def delta(*, size: int) -> Array:
  """Makes the identity kernel.

  Args:
    size: of the kernel, odd.

  Returns:
    [size, size], 1 in the middle.

  Raises:
    UserError: size is even or below 1.
  """
  middle = check_size(size) // 2
  return jnp.zeros((size, size)).at[middle, middle].set(1.0)


def mix(first, second) -> Array:
  """Convolves two kernels; the result is cropped to the size of the first.

  Args:
    first: [size, size].
    second: [other, other].

  Returns:
    [size, size], scaled to sum one after the crop.

  Raises:
    UserError: a size is even or below 1.
  """
  size, other = check_size(first.shape[-1]), check_size(second.shape[-1])
  whole = (size + other - 1,) * 2
  spectrum = jnp.fft.rfft2(first, whole) * jnp.fft.rfft2(second, whole)
  cut = other // 2
  both = jnp.fft.irfft2(spectrum, whole)[cut:cut + size, cut:cut + size]
  return normalise(jnp.maximum(both, 0))    # FFT leaves -1e-9 where it is dark


def splat(y, x, weights, *, size: int) -> Array:
  """Makes a kernel from points, each spread bilinearly over four pixels.

  Args:
    y: [points], pixels down from the middle; points outside of the kernel are
      moved to its edge.
    x: [points], pixels right from the middle, likewise.
    weights: [points], not negative, not all 0.
    size: of the kernel, odd.

  Returns:
    [size, size], sum one.

  Raises:
    UserError: size is even or below 1.
  """
  half = check_size(size) // 2
  rows = _tent(jnp.clip(y, -half, half), half)
  columns = _tent(jnp.clip(x, -half, half), half)
  # A matrix product: faster than a scatter-add, and deterministic on GPUs.
  return normalise(jnp.einsum(
      'py,px->yx', weights[:, None] * rows, columns, precision='highest'))


def centre(y, x, weights) -> tuple[Array, Array]:
  """Moves points so that their weighted mean is the origin.

  Args:
    y: [points].
    x: [points].
    weights: [points], not all 0.

  Returns:
    (y, x), each [points].
  """
  share = weights / weights.sum()
  return y - (share * y).sum(), x - (share * x).sum()


def normalise(kernel) -> Array:
  """Scales a kernel [..., kh, kw] to sum one over its last two axes."""
  return kernel / kernel.sum((-2, -1), keepdims=True)


def likeness(first, second) -> Array:
  """Computes the greatest correlation of two kernels over all shifts.

  max over s of  sum over u of a(u) b(u + s) / (|a| |b|)

  Blind methods find a kernel up to a shift s, which only moves the picture.

  Args:
    first: [..., kh, kw].
    second: [..., kh, kw].

  Returns:
    [...], up to 1.

  Raises:
    UserError: the kernels have different sizes.
  """
  if first.shape[-2:] != second.shape[-2:]:
    raise errors.UserError(
        f'Kernels must have one size to be compared, got {first.shape[-2:]} '
        f'and {second.shape[-2:]}.')
  room = [2 * side for side in first.shape[-2:]]
  product = jnp.conj(jnp.fft.rfft2(first, room)) * jnp.fft.rfft2(second, room)
  best = jnp.fft.irfft2(product, room).max(axis=(-2, -1))
  power = lambda kernel: jnp.sum(jnp.square(kernel), axis=(-2, -1))
  return best / jnp.sqrt(power(first) * power(second))


def random_line(
    key, *, size: int = 31, length: tuple[float, float] = (1.0, 25.0),
    angle: tuple[float, float] = (0.0, math.pi)) -> Array:
  """Draws a line of random length and angle, uniform in their ranges.

  Args:
    key: a PRNG key.
    size: of the kernel, odd.
    length: range of the length, in pixels, within [0, size].
    angle: range of the angle, in radians, within [0, 2 pi].

  Returns:
    [size, size].

  Raises:
    UserError: size is even or below 1, or a range is invalid.
  """
  key_length, key_angle = jax.random.split(key)
  check_range('length', length, maximum=size)
  check_range('angle', angle, maximum=2 * math.pi)
  drawn = _uniform(key_length, length)
  return line(drawn, _uniform(key_angle, angle), size=size)


def random_disk(
    key, *, size: int = 31, radius: tuple[float, float] = (0.5, 8.0)) -> Array:
  """Draws a disk of random radius, uniform in its range.

  Args:
    key: a PRNG key.
    size: of the kernel, odd.
    radius: range of the radius, in pixels, within [0, size / 2].

  Returns:
    [size, size].

  Raises:
    UserError: size is even or below 1, or the range is invalid.
  """
  check_range('radius', radius, maximum=size / 2)
  return disk(_uniform(key, radius), size=size)


def random_gaussian(
    key, *, size: int = 31, sigma: tuple[float, float] = (0.4, 4.0),
    isotropic: bool = False) -> Array:
  """Draws a Gaussian with random standard deviations and a random angle.

  Args:
    key: a PRNG key.
    size: of the kernel, odd.
    sigma: range of both deviations, in pixels, within [0.1, size / 2].
    isotropic: whether both deviations are equal.

  Returns:
    [size, size].

  Raises:
    UserError: size is even or below 1, or the range is invalid.
  """
  check_range('sigma', sigma, maximum=size / 2, above=0.1)
  key_along, key_across, key_angle = jax.random.split(key, 3)
  along = _uniform(key_along, sigma)
  across = along if isotropic else _uniform(key_across, sigma)
  return gaussian(
      along, across, _uniform(key_angle, (0.0, jnp.pi)), size=size)


def check_kernel(kernel, *, where: str = 'The kernel') -> np.ndarray:
  """Checks a kernel that a user gave.

  Args:
    kernel: an array of numbers.
    where: the kernel's name at the beginning of a message.

  Returns:
    The kernel, float32 [kh, kw].

  Raises:
    UserError: the kernel is not two-dimensional, has an even size, has negative
      or infinite values, or its sum differs from one by more than 1e-3.
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
  """Returns the size of a kernel after a check.

  Args:
    size: of a kernel, in pixels.

  Raises:
    UserError: size is even or below 1.
  """
  if size < 1 or size % 2 == 0:
    raise errors.UserError(
        f'A kernel size must be odd and at least 1, got {size}; use '
        f'{max(size + 1, 1)}.')
  return size


def check_range(
    name: str, values: tuple[float, float], *, maximum: float,
    above: float = 0.0
) -> None:
  """Checks that an option is a range within [above, maximum].

  Args:
    name: of the option, for the message.
    values: (low, high).
    maximum: greatest allowed value.
    above: least allowed value.

  Raises:
    UserError: values are no pair (low, high) within these bounds.
  """
  if not (isinstance(values, Sequence) and len(values) == 2
          and above <= values[0] <= values[1] <= maximum):
    shown = tuple(values) if isinstance(values, Sequence) else values
    raise errors.UserError(
        f'{name}={shown} must be (low, high) with {above} <= low <= '
        f'high <= {maximum:g}.')


def _tent(position, half):
  """[points, 2 half + 1]: the bilinear weights of each position."""
  pixels = jnp.arange(-half, half + 1)
  return jnp.maximum(1 - jnp.abs(position[:, None] - pixels[None, :]), 0)


def _grid(size):
  half = check_size(size) // 2
  pixels = jnp.arange(-half, half + 1, dtype=jnp.float32)
  return pixels[:, None], pixels[None, :]


def _uniform(key, values):
  return jax.random.uniform(key, minval=values[0], maxval=values[1])
