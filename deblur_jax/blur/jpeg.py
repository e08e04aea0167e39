"""The loss of JPEG compression as a differentiable function, without coding."""

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax.ops import colour, resize
from deblur_jax.state import Array

# Tables K.1 and K.2 of the JPEG standard (ITU-T T.81).
_LUMINANCE = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99]], np.float32)
_CHROMINANCE = np.full((8, 8), 99, np.float32)
_CHROMINANCE[:4, :4] = [
    [17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


def compress(image, *, quality) -> Array:
  """Applies the loss of JPEG: 4:2:0 subsampling and quantized DCT blocks.

  Args:
    image: [h, w, 3] in [0, 1], any size.
    quality: 1 to 100, on libjpeg's scale.

  Returns:
    [h, w, 3] in [0, 1], within about one level of 255 of libjpeg's result. The
    gradient of the rounding is one (straight-through).
  """
  height, width, _ = image.shape
  padded = jnp.pad(
      image, ((0, -height % 16), (0, -width % 16), (0, 0)), mode='edge')
  y, cb, cr = 255 * jnp.moveaxis(colour.rgb_to_ycbcr(padded), -1, 0)
  scale = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality)
  table = lambda base: jnp.clip(
      jnp.floor((jnp.asarray(base) * scale + 50) / 100), 1, 255)
  y = _blocks_lossy(y - 128, table(_LUMINANCE)) + 128
  chroma = [
      _double(_blocks_lossy(_halve(c - 128), table(_CHROMINANCE))) + 128
      for c in (cb, cr)]
  rgb = colour.ycbcr_to_rgb(jnp.stack([y, *chroma], axis=-1) / 255)
  return jnp.clip(rgb[:height, :width], 0, 1)


def _straight_through(image, changed):
  """`changed`, with the gradient of `image`."""
  return image + jax.lax.stop_gradient(changed - image)


def _blocks_lossy(plane, table):
  """Quantizes the DCT of 8x8 blocks by a table, and transforms back."""
  height, width = plane.shape
  blocks = plane.reshape(height // 8, 8, width // 8, 8)
  dct = jnp.asarray(_dct())
  spectrum = jnp.einsum(
      'ui,aibj,vj->abuv', dct, blocks, dct, precision='highest')
  table = table[None, None]
  spectrum = _straight_through(
      spectrum, table * jnp.round(spectrum / table))
  blocks = jnp.einsum(
      'ui,abuv,vj->aibj', dct, spectrum, dct, precision='highest')
  return blocks.reshape(height, width)


def _dct():
  """The orthonormal DCT-II, float32 [8, 8]."""
  u, i = np.arange(8)[:, None], np.arange(8)[None, :]
  matrix = np.sqrt(2 / 8) * np.cos((2 * i + 1) * u * np.pi / 16)
  matrix[0] /= np.sqrt(2)
  return matrix.astype(np.float32)


def _halve(plane):
  height, width = plane.shape
  return plane.reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def _double(plane):
  """Doubles the size with libjpeg's triangle filter, weights 3/4 and 1/4."""
  return resize.double_along(resize.double_along(plane, axis=0), axis=1)
