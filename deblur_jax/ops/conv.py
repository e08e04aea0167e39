"""Convolution, with a weight gradient of our own on CPUs; pixel shuffle."""

from jax import lax

from deblur_jax import types


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
  return lax.conv_general_dilated(
      x, kernel, (stride, stride), ((padding, padding),) * 2,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


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
