"""Convolution and transposed convolution, with fast gradients on CPUs.

XLA's CPU backend runs convolutions at full speed, but not their weight
gradients. Compared with the forward pass these take up to forty times longer
for layers of few channels, seven times for large images, a hundred times inside
of `lax.scan`, and even more for transposed convolutions. Here weight gradients
are matrix products, which run at full speed. The convolution and its gradients
in x and in the kernel are adjoints of one another, so higher gradients are
fast, too. Forward-mode differentiation (`jax.jvp`, `jax.hessian`) does not work
on CPUs.

On accelerators `conv` is `lax.conv_general_dilated` alone, so that the compiler
can fuse bias and ReLU into it.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from deblur_jax.ops import platforms
from deblur_jax.state import Array

# Greatest length of the sums of one matrix product, and greatest number of
# values of its left factor: enough for full speed, and the copies fit into the
# cache.
STRIP = 2048
STRIP_VALUES = 2**18
# With at least as many channels a kernel of 1x1 needs no strips.
THIN = 16


def conv(x: Array, kernel: Array, *, stride: int = 1,
         padding: int = 0) -> Array:
  """Computes a cross-correlation with zero padding: a network's convolution.

  Args:
    x: [n, h, w, c_in].
    kernel: [kh, kw, c_in, c_out], of the dtype of x.
    stride: along both axes.
    padding: rows and columns of zeros on each of the four sides.

  Returns:
    [n, (h + 2 padding - kh) // stride + 1, likewise, c_out].

  Raises:
    ValueError: the shapes do not fit.
  """
  _check(x, kernel)
  if platforms.platform(x, kernel) == 'cpu':
    return _conv_cpu(x, kernel, stride, padding)
  return _conv(x, kernel, stride, padding)


def conv_transpose(x: Array, kernel: Array, *, stride: int = 2,
                   padding: int = 1, output_padding: int = 1) -> Array:
  """Computes a transposed convolution with the options of PyTorch.

  It equals a cross-correlation of x with stride - 1 zeros between its values,
  k - 1 - padding zeros around, and output_padding more below and on the right.

  Args:
    x: [n, h, w, c_in].
    kernel: [kh, kw, c_in, c_out] of that cross-correlation: PyTorch's
      [c_in, c_out, kh, kw], transposed and rotated by 180 degrees.
    stride: the factor by which the image grows.
    padding: of the convolution whose adjoint this is.
    output_padding: additional rows and columns of the result, which that
      convolution ignores.

  Returns:
    [n, (h - 1) stride - 2 padding + kh + output_padding, likewise, c_out].

  Raises:
    ValueError: the shapes do not fit.
  """
  _check(x, kernel)
  size = [(side - 1) * stride - 2 * padding + k + output_padding
          for side, k in zip(x.shape[1:3], kernel.shape, strict=False)]
  adjoint = kernel[::-1, ::-1].swapaxes(2, 3)
  if platforms.platform(x, kernel) == 'cpu':
    shape = (x.shape[0], *size, kernel.shape[3])
    return _input_gradient(x, adjoint, shape, stride, padding)
  return _scatter(x, adjoint, stride, padding, size)


def pixel_shuffle(x: Array, *, factor: int) -> Array:
  """Moves channels to space, in the channel order of PyTorch.

  out[r i + a, r j + b, c] = in[i, j, c r^2 + a r + b]  (Shi et al. 2016, eq. 4)

  Args:
    x: [n, h, w, c r^2].
    factor: r.

  Returns:
    [n, r h, r w, c].

  Raises:
    ValueError: the channels are not a multiple of factor^2.
  """
  n, h, w, channels = x.shape
  if channels % factor**2:
    raise ValueError(
        f'{channels} channels are not a multiple of {factor}^2 for a shuffle.')
  x = x.reshape(n, h, w, channels // factor**2, factor, factor)
  x = x.transpose(0, 1, 4, 2, 5, 3)  # [n, h, a, w, b, c]
  return x.reshape(n, h * factor, w * factor, channels // factor**2)


def pixel_unshuffle(x: Array, *, factor: int) -> Array:
  """Moves space to channels: the inverse of `pixel_shuffle`.

  Args:
    x: [n, r h, r w, c].
    factor: r.

  Returns:
    [n, h, w, c r^2].

  Raises:
    ValueError: height or width is not a multiple of factor.
  """
  n, height, width, channels = x.shape
  if height % factor or width % factor:
    raise ValueError(f'{x.shape} is not a multiple of {factor} in h and w.')
  h, w = height // factor, width // factor
  x = x.reshape(n, h, factor, w, factor, channels)
  x = x.transpose(0, 1, 3, 5, 2, 4)  # [n, h, w, c, a, b]
  return x.reshape(n, h, w, channels * factor**2)


def _check(x, kernel):
  if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
    raise ValueError(
        'Expected [n, h, w, c_in] and [kh, kw, c_in, c_out], '
        f'got {x.shape} and {kernel.shape}.')


def _conv(x, kernel, stride, padding):
  return _correlation(x, kernel, stride, ((padding, padding),) * 2)


def _correlation(x, kernel, stride, padding):
  """Pads by [(above, below), (left, right)] zeros; negative numbers crop."""
  if platforms.platform(x, kernel) == 'cpu':
    size = [(side + sum(around) - k) // stride + 1 for side, around, k in zip(
        x.shape[1:3], padding, kernel.shape[:2], strict=True)]
    # XLA is a hundred times slower where the kernel is larger than the result.
    # Symbolic sizes of an exported function are no integers.
    if any(isinstance(side, int) and k > side
           for k, side in zip(kernel.shape[:2], size, strict=True)):
      return _as_product(x, kernel, stride, padding, size)
  return lax.conv_general_dilated(
      x, kernel, (stride, stride), padding,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def _as_product(x, kernel, stride, padding, size):
  """The same as one matrix product of all windows and the kernel."""
  kh, kw, channels, features = kernel.shape
  around = [(low, high, 0) for low, high in padding]
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])
  height, width = ((side - 1) * stride + 1 for side in size)
  windows = jnp.concatenate([
      x[:, i:i + height:stride, j:j + width:stride]
      for i in range(kh) for j in range(kw)], axis=-1)
  # [n, h', w', kh kw c_in] by [kh kw c_in, c_out]
  return windows @ kernel.reshape(kh * kw * channels, features)


def _scatter(x, kernel, stride, padding, size):
  """y[s r + i - p, s w + j - p] += x[r, w] k[i, j]^T, y of `size`.

  Each of the s^2 phases of y is a convolution of x with its own taps of k. The
  usual way, with zeros between the values of x, is slow in XLA, above all its
  weight gradient.
  """
  # Each phase needs at least one tap.
  kernel = jnp.pad(kernel, [
      (0, max(0, stride - k)) for k in kernel.shape[:2]] + [(0, 0), (0, 0)])
  rows, columns = (
      [_phase(a, k, stride, padding, side, wanted) for a in range(stride)]
      for k, side, wanted in zip(
          kernel.shape[:2], x.shape[1:3], size, strict=True))
  phases = jnp.stack([
      jnp.stack([_scatter_phase(x, kernel, row, column) for column in columns],
                axis=3) for row in rows], axis=2)
  n, h, s, w, _, channels = phases.shape  # [n, h, s, w, s, c_out]
  return phases.reshape(n, h * s, w * s, channels)[:, :size[0], :size[1]]


def _phase(a, kernel_size, stride, padding, side, wanted):
  """The a-th phase of `_scatter` along one axis: (taps, zeros around)."""
  first = (a + padding) % stride
  num_taps = len(range(first, kernel_size, stride))
  before = num_taps - 1 - (a + padding) // stride
  after = -(-wanted // stride) + num_taps - 1 - side - before
  return slice(first, None, stride), (before, after)


def _scatter_phase(x, kernel, row, column):
  (rows, padding_rows), (columns, padding_columns) = row, column
  kernel = kernel[rows, columns]
  return _correlation(
      x, kernel[::-1, ::-1].swapaxes(2, 3), 1, (padding_rows, padding_columns))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv_cpu(x, kernel, stride, padding):
  return _conv(x, kernel, stride, padding)


def _conv_forward(x, kernel, stride, padding):
  return _conv_cpu(x, kernel, stride, padding), (x, kernel)


def _conv_backward(stride, padding, residuals, dy):
  x, kernel = residuals
  dx = _input_gradient(dy, kernel, x.shape, stride, padding)
  return dx, _kernel_gradient(x, dy, kernel.shape[:2], stride, padding)


_conv_cpu.defvjp(_conv_forward, _conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _input_gradient(dy, kernel, shape, stride, padding):
  """The adjoint of `_conv` in x; `shape` is that of x."""
  return _scatter(dy, kernel, stride, padding, shape[1:3])


def _input_gradient_forward(dy, kernel, shape, stride, padding):
  return _input_gradient(dy, kernel, shape, stride, padding), (dy, kernel)


def _input_gradient_backward(shape, stride, padding, residuals, dx):
  del shape
  dy, kernel = residuals
  size = kernel.shape[:2]
  return (_conv_cpu(dx, kernel, stride, padding),
          _kernel_gradient(dx, dy, size, stride, padding))


_input_gradient.defvjp(_input_gradient_forward, _input_gradient_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _kernel_gradient(x, dy, size, stride, padding):
  """dk[i, j] = sum over r, w of x[s r + i - p, s w + j - p]^T dy[r, w]."""
  # Without it XLA prepares x in the forward pass and keeps both in memory.
  x, dy = lax.optimization_barrier((x, dy))
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  kernel = jnp.zeros((*size, x.shape[3], dy.shape[3]), dy.dtype)
  for i in range(min(stride, size[0])):
    for j in range(min(stride, size[1])):
      taps = kernel[i::stride, j::stride]
      taps = _correlate_phase(x[:, i::stride, j::stride], dy, taps.shape[:2])
      kernel = kernel.at[i::stride, j::stride].set(taps)
  return kernel


def _kernel_gradient_forward(x, dy, size, stride, padding):
  return _kernel_gradient(x, dy, size, stride, padding), (x, dy)


def _kernel_gradient_backward(size, stride, padding, residuals, dkernel):
  del size
  x, dy = residuals
  dx = _input_gradient(dy, dkernel, x.shape, stride, padding)
  return dx, _conv_cpu(x, dkernel, stride, padding)


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _correlate_phase(x, dy, size):
  """`_kernel_gradient` for a stride of 1 and no padding.

  The matrix products are fast when they have many columns, so the image with
  fewer channels is repeated for the shifts along a row.
  """
  _, height, width, _ = dy.shape
  kh, kw = size
  x = x[:, :height + kh - 1, :width + kw - 1]
  if kh == kw == 1 and min(x.shape[3], dy.shape[3]) >= THIN:
    return jnp.einsum('nrwa,nrwb->ab', x, dy, preferred_element_type=jnp.float32
                      ).astype(dy.dtype)[None, None]
  if dy.shape[3] <= x.shape[3]:
    dy = jnp.pad(dy, ((0, 0), (0, 0), (kw - 1, kw - 1), (0, 0)))
    return _correlate(dy, x, size)[:, ::-1].swapaxes(2, 3)
  dy = jnp.pad(dy, ((0, 0), (kh - 1, kh - 1), (0, 0), (0, 0)))
  return _correlate(x, dy, size)[::-1]


def _correlate(a, b, size):
  """out[i, j] = sum over n, r, w of a[n, r, w + j]^T b[n, r + i, w].

  Computed strip by strip as products [kw c_a, strip] x [strip, c_b]. The left
  factor is transposed so that the sum runs along its rows.

  Args:
    a: [n, rows, width + kw - 1, c_a].
    b: [n, rows + kh - 1, width, c_b].
    size: (kh, kw).

  Returns:
    [kh, kw, c_a, c_b], summed in float32.
  """
  kh, kw = size
  n, height, width, channels_b = b.shape
  channels_a = a.shape[3]
  strip = min(STRIP, STRIP_VALUES // (kw * channels_a))
  rows = min(max(1, strip // width), n * height)
  strips = -(-n * height // rows)
  spare = strips * rows - n * height
  # All images are stacked into one, separated by rows of zeros.
  a = jnp.pad(a, ((0, 0), (0, kh - 1), (0, 0), (0, 0)))
  a = a.reshape(n * height, width + kw - 1, channels_a).transpose(2, 0, 1)
  a = jnp.pad(a, ((0, 0), (0, spare), (0, 0)))  # [c_a, strips * rows, ...]
  b = b.reshape(n * height, width, channels_b)
  b = jnp.pad(b, ((0, spare + kh - 1), (0, 0), (0, 0)))

  def add_strip(total, strip):
    first = strip * rows
    tall = lax.dynamic_slice_in_dim(a, first, rows, axis=1)
    left = jnp.concatenate([tall[:, :, j:j + width] for j in range(kw)])
    left = left.reshape(kw * channels_a, rows * width)
    right = lax.dynamic_slice_in_dim(b, first, rows + kh - 1, axis=0)
    products = [
        jnp.dot(left, right[i:i + rows].reshape(rows * width, channels_b),
                preferred_element_type=jnp.float32)
        for i in range(kh)]
    return total + jnp.stack(products), None

  zeros = jnp.zeros((kh, kw * channels_a, channels_b), jnp.float32)
  total, _ = lax.scan(add_strip, zeros, jnp.arange(strips))
  return total.reshape(kh, kw, channels_a, channels_b).astype(b.dtype)
