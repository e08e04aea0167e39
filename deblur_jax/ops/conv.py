"""Convolution, with a weight gradient of our own on CPUs; pixel shuffle.

XLA's CPU backend runs convolutions and their input gradients as quickly as the
machine can, but not their weight gradients: layers of few channels come out up
to forty times slower than forward, large images seven times, and inside of
`lax.scan` a hundred times. Here they are matrix products, which it does well.
The price is forward-mode differentiation (`jax.jvp`, `jax.hessian`), which is
not to be had on CPUs; gradients of gradients are.

On accelerators `conv` is `lax.conv_general_dilated` and nothing else, so that
the library there can fuse bias and ReLU into it.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from deblur_jax import types

# Length of the sums of one matrix product: long enough for its full speed,
# short enough for the copies to stay in the cache.
STRIP = 2048


def conv(x: types.Array, kernel: types.Array, *, stride: int = 1,
         padding: int = 0) -> types.Array:
  """Cross-correlation, as in all networks, with zeros outside of the image.

  Args:
    x: [n, h, w, c_in].
    kernel: [kh, kw, c_in, c_out], of the dtype of x.
    stride: of both axes.
    padding: rows and columns of zeros on each of the four sides.

  Returns:
    [n, (h + 2 padding - kh) // stride + 1, likewise, c_out].
  """
  if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
    raise ValueError(
        'Expected [n, h, w, c_in] and [kh, kw, c_in, c_out], '
        f'got {x.shape} and {kernel.shape}.')
  if jax.default_backend() == 'cpu':
    return _conv_cpu(x, kernel, stride, padding)
  return _conv(x, kernel, stride, padding)


def pixel_shuffle(x: types.Array, *, factor: int) -> types.Array:
  """Channels to space, in the channel order of PyTorch.

  out[r i + a, r j + b, c] = in[i, j, c r^2 + a r + b]  (Shi et al. 2016, eq. 4)

  Args:
    x: [n, h, w, c r^2].
    factor: r.

  Returns:
    [n, r h, r w, c].
  """
  n, h, w, channels = x.shape
  if channels % factor**2:
    raise ValueError(
        f'{channels} channels are not a multiple of {factor}^2 for a shuffle.')
  x = x.reshape(n, h, w, channels // factor**2, factor, factor)
  x = x.transpose(0, 1, 4, 2, 5, 3)  # [n, h, a, w, b, c]
  return x.reshape(n, h * factor, w * factor, channels // factor**2)


def _conv(x, kernel, stride, padding):
  return lax.conv_general_dilated(
      x, kernel, (stride, stride), ((padding, padding),) * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


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


def _input_gradient(dy, kernel, shape, stride, padding):
  """A convolution again where it can be, for gradients of gradients."""
  kh, kw, _, _ = kernel.shape
  if stride == 1 and kh == kw and padding < kh:
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    return _conv_cpu(dy, flipped, 1, kh - 1 - padding)
  zeros = jnp.zeros(shape, dy.dtype)
  _, pullback = jax.vjp(lambda x: _conv(x, kernel, stride, padding), zeros)
  return pullback(dy)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _kernel_gradient(x, dy, size, stride, padding):
  """dk[i, j] = sum over r, w of x[s r + i - p, s w + j - p]^T dy[r, w]."""
  # Else XLA prepares x for this while still in the forward pass, and keeps it.
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

  The matrix products are quick when they have many columns: of the two images,
  the one with fewer channels is repeated for the shifts along a row.
  """
  _, height, width, _ = dy.shape
  kh, kw = size
  x = x[:, :height + kh - 1, :width + kw - 1]
  if dy.shape[3] <= x.shape[3]:
    dy = jnp.pad(dy, ((0, 0), (0, 0), (kw - 1, kw - 1), (0, 0)))
    return _correlate(dy, x, size)[:, ::-1].swapaxes(2, 3)
  dy = jnp.pad(dy, ((0, 0), (kh - 1, kh - 1), (0, 0), (0, 0)))
  return _correlate(x, dy, size)[::-1]


def _correlate(a, b, size):
  """out[i, j] = sum over n, r, w of a[n, r, w + j]^T b[n, r + i, w].

  Strip by strip, as products of [kw c_a, strip] and [strip, c_b]: the form in
  which the sum runs along the rows of the first, thus its transposition.

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
  rows = min(max(1, STRIP // width), n * height)
  strips = -(-n * height // rows)
  spare = strips * rows - n * height
  # All images one above the other: the zeros between them keep them apart.
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
