"""Linear operators of blur, each with its exact adjoint.

Blurring is true convolution, y[i] = sum over j of k[j] x[i + c - j], where
c = size // 2 is the kernel's middle; for an even size it is the element after
the true middle. The border is the assumption about the outside of the picture:

  valid      none: y is smaller than x by size - 1
  reflect    mirrored about the edge pixels (numpy's 'reflect')
  symmetric  mirrored about the edge, with the edge pixels twice
  edge       the edge pixels repeat
  circular   the picture repeats
  zero       black

All but 'valid' are H = V P, padding and then the valid operator. Their adjoint
is P^T V^T, exact for every border and for both methods of convolution.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.blur import kernels as kernels_lib
from deblur_jax.state import Array

# From this number of kernel elements on FFT is faster. Measured on 2 CPU cores
# with three channels, 16 pictures of 256x256 and one of 720x1280: direct 5x5
# takes a third of FFT's time, 13x13 three quarters, 21x21 twice its time.
FFT_FROM = 225


class Operator(NamedTuple):
  """A linear map of images [n, h, w, c] and its adjoint.

  Attributes:
    forward: x -> H x.
    adjoint: y -> H' y, the transpose.
  """

  forward: Callable[[Array], Array]
  adjoint: Callable[[Array], Array]


def uniform(
    kernel, *, border: str = 'reflect', method: str = 'auto') -> Operator:
  """Makes the operator of one kernel for the whole picture: y = k * x.

  Args:
    kernel: [kh, kw], or [n, kh, kw] with one for each picture.
    border: a name in `BORDERS`, see above.
    method: 'direct', 'fft', or 'auto', which uses FFT for large kernels.

  Returns:
    An Operator.

  Raises:
    UserError: the border or the method is unknown. At a call: the kernel is
      larger than the picture, or the number of kernels is not that of the
      pictures.
  """
  pad = errors.look_up(BORDERS, border, what='border')
  valid = errors.look_up(METHODS, method, what='method of convolution')
  size = kernel.shape[-2:]

  def forward(x):
    check(x, kernel)
    return valid(_pad(x, size, pad), kernel)

  def adjoint(y):
    check(y, kernel, fits=pad is not None)
    zeros = [(0, 0), *((side - 1, side - 1) for side in size), (0, 0)]
    full = valid(jnp.pad(y, zeros), kernel[..., ::-1, ::-1])
    return _pad_transposed(full, size, pad)

  return Operator(forward, adjoint)


def gather(
    kernels, weights, *, border: str = 'reflect', method: str = 'auto'
) -> Operator:
  """Makes space-varying blur weighted after blurring: y = sum of w_b (h_b * x).

  Each pixel of y has its own kernel, a mixture of the basis kernels: the
  distribution of the light that arrives at this pixel. Constant pictures are
  kept where the weights sum to one. The adjoint is `scatter` with flipped
  kernels.

  Args:
    kernels: [b, kh, kw], or [n, b, kh, kw].
    weights: [h, w, b] or [n, h, w, b], of the size of y.
    border: as of `uniform`.
    method: as of `uniform`.

  Returns:
    An Operator.

  Raises:
    UserError: as `uniform`, or the weights do not fit the kernels or, at a
      call, the pictures.
  """
  return _mixture(kernels, weights, border, method, after=True)


def scatter(
    kernels, weights, *, border: str = 'reflect', method: str = 'auto'
) -> Operator:
  """Makes space-varying blur weighted before it: y = sum of h_b * (w_b x).

  Each pixel of x has its own kernel: the distribution of the light that leaves
  this pixel (Nagy and O'Leary 1998). Circular borders keep the sum of the light
  where the weights sum to one; with the others light leaves the picture, or its
  mirror image adds some.

  Args:
    kernels: [b, kh, kw], or [n, b, kh, kw].
    weights: [h, w, b] or [n, h, w, b], of the size of x.
    border: as of `uniform`.
    method: as of `uniform`.

  Returns:
    An Operator.

  Raises:
    UserError: as `gather`.
  """
  return _mixture(kernels, weights, border, method, after=False)


def lanczos_downsample(*, factor: int) -> Operator:
  """Makes downsampling by a whole factor, as in the code of Deep Image Prior.

  The kernel is Lanczos2 with phase 0.5 and 4 factor taps along each axis; edge
  pixels repeat. It is separable: two matrix products.

  Args:
    factor: 1 or more; heights and widths must be multiples of it.

  Returns:
    An Operator [n, h, w, c] -> [n, h / factor, w / factor, c].

  Raises:
    UserError: factor is below 1, or at a call a size is no multiple of it.
  """
  if factor < 1:
    raise errors.UserError(f'factor must be at least 1, got {factor}.')

  def forward(x):
    _, height, width, _ = x.shape
    if height % factor or width % factor:
      raise errors.UserError(
          f'Pictures of {height}x{width} cannot be made {factor} times '
          f'smaller; crop them to multiples of {factor}.')
    return _separable(
        x, _lanczos(height, factor), _lanczos(width, factor))

  def adjoint(y):
    _, height, width, _ = y.shape
    return _separable(
        y, _lanczos(height * factor, factor).T,
        _lanczos(width * factor, factor).T)

  return Operator(forward, adjoint)


def mask(known) -> Operator:
  """Makes the operator that keeps known pixels and sets others to 0.

  Args:
    known: 1 or 0; broadcasts to [n, h, w, c].

  Returns:
    An Operator; it is its own adjoint.
  """
  apply = lambda x: x * jnp.asarray(known, x.dtype)
  return Operator(apply, apply)


def identity() -> Operator:
  """Makes the identity operator."""
  return Operator(lambda x: x, lambda y: y)


def compose(*operators: Operator) -> Operator:
  """Composes operators; the first argument is applied first.

  Args:
    *operators: any of the above, whose shapes fit.

  Returns:
    An Operator.
  """
  def forward(x):
    for operator in operators:
      x = operator.forward(x)
    return x

  def adjoint(y):
    for operator in reversed(operators):
      y = operator.adjoint(y)
    return y

  return Operator(forward, adjoint)


def norm(operator: Operator, shape: Sequence[int], *, steps: int = 30) -> Array:
  """Computes the largest singular value by power iteration, from below.

  Args:
    operator: any of the above.
    shape: of its input, (n, h, w, c).
    steps: number of iterations.

  Returns:
    A scalar.
  """
  def step(_, x):
    x = operator.adjoint(operator.forward(x))
    return x / jnp.linalg.norm(x)

  start = jax.random.uniform(jax.random.key(0), shape, minval=0.5)
  x = jax.lax.fori_loop(0, steps, step, start / jnp.linalg.norm(start))
  return jnp.linalg.norm(operator.forward(x))


def check_fits(size: tuple[int, int], picture: tuple[int, int]) -> None:
  """Checks that a kernel is not larger than the picture.

  Args:
    size: (height, width) of the kernel.
    picture: (height, width) of the picture.

  Raises:
    UserError: the kernel is larger.
  """
  if size[0] > picture[0] or size[1] > picture[1]:
    raise errors.UserError(
        f'A kernel of {size[0]}x{size[1]} is larger than the picture of '
        f'{picture[0]}x{picture[1]}.')


def fade(image, size: tuple[int, int], *, axes: tuple[int, int]) -> Array:
  """Blends a picture with its mirror image, so that it repeats smoothly.

  Args:
    image: any shape.
    size: width of the blend from each border along each axis, in pixels.
    axes: the axes of height and width.

  Returns:
    The picture, of the same shape.
  """
  for axis, side in zip(axes, size, strict=True):
    place = jnp.arange(image.shape[axis])
    inner = jnp.minimum(place, place[::-1]) + 0.5
    share = jnp.clip(0.5 + 0.5 * inner / side, 0, 1)
    share = share.reshape(
        [-1 if a == axis else 1 for a in range(image.ndim)])
    image = share * image + (1 - share) * jnp.flip(image, axis)
  return image


def otf(kernel, size: tuple[int, int]) -> Array:
  """Computes a kernel's optical transfer function for circular borders.

  Args:
    kernel: [..., kh, kw].
    size: (h, w) of the pictures.

  Returns:
    complex64 [..., h, w // 2 + 1], for use with `jnp.fft.rfft2`.

  Raises:
    UserError: the kernel is larger than the pictures.
  """
  kh, kw = kernel.shape[-2:]
  height, width = size
  check_fits((kh, kw), size)
  room = [(0, 0)] * (kernel.ndim - 2) + [(0, height - kh), (0, width - kw)]
  moved = jnp.roll(
      jnp.pad(kernel, room), (-(kh // 2), -(kw // 2)), axis=(-2, -1))
  return jnp.fft.rfft2(moved)


def _mixture(kernels, weights, border, method, *, after):
  """`gather` (after) or `scatter`: sums over the basis, weights' last axis."""
  count = kernels.shape[-3]
  if weights.shape[-1] != count:
    raise errors.UserError(
        f'{count} basis kernels need {count} weights for each pixel, got '
        f'weights of the shape {weights.shape}.')
  basis = jnp.moveaxis(kernels, -3, 0)                    # [b, (n,) kh, kw]
  shares = jnp.moveaxis(weights, -1, 0)[..., None]        # [b, (n,) h, w, 1]
  if shares.ndim == 4:
    shares = shares[:, None]
  blurred = lambda x, kernel: uniform(
      kernel, border=border, method=method).forward(x)
  back = lambda y, kernel: uniform(
      kernel, border=border, method=method).adjoint(y)

  def over_basis(one, x, *, weigh_after):
    # One basis kernel at a time: memory does not grow with their number.
    def add(total, item):
      kernel, share = item
      y = (_weigh(one(x, kernel), share) if weigh_after else
           one(_weigh(x, share), kernel))
      return total + y, None

    first = jax.eval_shape(
        lambda: add(0.0, (basis[0], shares[0]))[0])
    total, _ = jax.lax.scan(
        add, jnp.zeros(first.shape, first.dtype), (basis, shares))
    return total

  return Operator(
      lambda x: over_basis(blurred, x, weigh_after=after),
      lambda y: over_basis(back, y, weigh_after=not after))


def _weigh(x, share):
  if share.shape[0] not in (1, x.shape[0]) or share.shape[1:3] != x.shape[1:3]:
    raise errors.UserError(
        f'Weights of {share.shape[1]}x{share.shape[2]} for {share.shape[0]} '
        f'pictures do not fit {x.shape[0]} of {x.shape[1]}x{x.shape[2]}.')
  return x * share


def check(x: Array, kernel: Array, *, fits: bool = True) -> None:
  """Checks that the shapes of pictures and kernels fit.

  Args:
    x: pictures, [n, h, w, c].
    kernel: [kh, kw] or [n, kh, kw].
    fits: whether the kernel must not be larger than the pictures.

  Raises:
    UserError: the pictures are not [n, h, w, c], the kernel is larger than
      they, or the numbers of kernels and pictures differ.
  """
  if x.ndim != 4:
    raise errors.UserError(f'Expected pictures [n, h, w, c], got {x.shape}.')
  if fits:
    check_fits(kernel.shape[-2:], x.shape[1:3])
  if kernel.ndim == 3 and kernel.shape[0] != x.shape[0]:
    raise errors.UserError(
        f'{kernel.shape[0]} kernels do not fit {x.shape[0]} pictures: give one '
        'for each, or one for all.')


def _pad(x, size, mode):
  """Pads x by the pixels that y[i] = sum of k[j] x[i + c - j] reads."""
  if mode is None:
    return x
  return jnp.pad(x, ((0, 0), *kernels_lib.margins(size), (0, 0)), mode=mode)


def _pad_transposed(padded, size, mode):
  if mode is None:
    return padded
  n, height, width, c = padded.shape
  inner = (n, height - size[0] + 1, width - size[1] + 1, c)
  transpose = jax.linear_transpose(
      lambda x: _pad(x, size, mode),
      jax.ShapeDtypeStruct(inner, padded.dtype))
  return transpose(padded)[0]


def _valid_direct(x, kernel):
  """Sums of shifted pictures; [n, h, w, c] -> [n, h - kh + 1, w - kw + 1, c].

  XLA's CPU convolutions of one channel take 5 to 20 times longer than this.
  """
  n, height, width, c = x.shape
  kh, kw = kernel.shape[-2:]
  rows, columns = height - kh + 1, width - kw + 1
  # Columns and channels share one axis, so that inner loops are long.
  x = x.reshape(n, height, width * c)
  taps = jnp.broadcast_to(kernel, (n, kh, kw)).astype(x.dtype)

  def add_row(total, i):
    line = jax.lax.dynamic_slice_in_dim(x, kh - 1 - i, rows, axis=1)
    for j in range(kw):
      start = (kw - 1 - j) * c
      tap = jax.lax.dynamic_index_in_dim(taps[:, :, j], i, 1)[:, :, None]
      total = total + tap * line[:, :, start:start + columns * c]
    return total, None

  zero = jnp.zeros((n, rows, columns * c), x.dtype)
  y, _ = jax.lax.scan(
      add_row, zero, jnp.arange(kh))
  return y.reshape(n, rows, columns, c)


def _valid_fft(x, kernel):
  """The same by FFT; the crop removes the values that wrap around."""
  import scipy.fft  # here, because it delays the start of `deblur` by 0.17 s

  kh, kw = kernel.shape[-2:]
  _, height, width, _ = x.shape
  size = [scipy.fft.next_fast_len(side, real=True) for side in (height, width)]
  transfer = jnp.fft.rfft2(kernel.astype(jnp.float32), size)[..., None]
  spectrum = jnp.fft.rfft2(x.astype(jnp.float32), size, axes=(1, 2))
  if kernel.ndim == 2:
    transfer = transfer[None]
  y = jnp.fft.irfft2(spectrum * transfer, size, axes=(1, 2))
  return y[:, kh - 1:height, kw - 1:width].astype(x.dtype)


def _valid(x, kernel):
  large = math.prod(kernel.shape[-2:]) >= FFT_FROM
  return (_valid_fft if large else _valid_direct)(x, kernel)


def _separable(x, rows, columns):
  """Multiplies each channel by matrices from the left and from the right."""
  return jnp.einsum(
      'ay,nyxc,bx->nabc', rows, x, columns, precision='highest')


def _lanczos(length, factor):
  """float32 [length / factor, length]: a filter a row; edge pixels repeat."""
  taps = 4 * factor
  distance = np.abs(np.arange(taps) + 0.5 - taps / 2) / factor
  weights = np.sinc(distance) * np.sinc(distance / 2)
  weights /= weights.sum()
  matrix = np.zeros((length // factor, length))
  for row in range(length // factor):
    source = row * factor + np.arange(taps) - (taps - factor) // 2
    np.add.at(matrix[row], np.clip(source, 0, length - 1), weights)
  return jnp.asarray(matrix, jnp.float32)


# name -> mode of jnp.pad; None: nothing is padded
BORDERS = {
    'valid': None, 'reflect': 'reflect', 'symmetric': 'symmetric',
    'edge': 'edge', 'circular': 'wrap', 'zero': 'constant',
}

METHODS = {'auto': _valid, 'direct': _valid_direct, 'fft': _valid_fft}
