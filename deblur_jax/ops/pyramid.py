"""Image pyramids: those of the two DeepDeblur codes, averages, and MAXIM's.

Nah, Kim and Lee (CVPR 2017) train on blurry and sharp pyramids. Their Lua code
keeps every second pixel, their PyTorch code averages 2x2 pixels: the coarser
images differ by half a pixel, so the two codes' results are not comparable.

Each is fn(image, *, levels) -> list of images, finest first: [n, h, w, c] in
any float range to [n, ceil(h / 2^s), ceil(w / 2^s), c] for s < levels. It
raises a ValueError for levels below 1.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from deblur_jax.state import Array


def deepdeblur_pytorch(
    image: Array, *, levels: int) -> list[Array]:
  """Computes `skimage.transform.pyramid_gaussian` as in DeepDeblur-PyTorch.

  A Gaussian of sigma 2/3 and radius 3 with mirrored borders, then linear
  interpolation at the centres of the coarser pixels: for even sizes the mean
  of two neighbours, for odd sizes weights that vary along the axis.

  Args:
    image: [n, h, w, c].
    levels: 1 or more.

  Returns:
    The images, finest first.
  """
  return _repeat(_reduce_centred, image, levels=levels)


def deepdeblur_torch7(image: Array, *, levels: int) -> list[Array]:
  """Computes `image.gaussianpyramid` of Torch 7 as in DeepDeblur_release.

  A 3x3 Gaussian of sigma 0.75 with zero padding; then the pixels (2i, 2j) are
  kept. The mean of each channel is subtracted before and added after, which
  reduces the effect of the zeros.

  Args:
    image: [n, h, w, c].
    levels: 1 or more.

  Returns:
    The images, finest first.
  """
  mean = image.mean(axis=(1, 2), keepdims=True)
  centred = _repeat(_reduce_corner, image - mean, levels=levels)
  return [image] + [coarse + mean for coarse in centred[1:]]


def average(image: Array, *, levels: int) -> list[Array]:
  """Averages 2x2 pixels; the last row and column of odd sizes count twice.

  Args:
    image: [n, h, w, c].
    levels: 1 or more.

  Returns:
    The images, finest first.
  """
  return _repeat(_reduce_mean, image, levels=levels)


def nearest(image: Array, *, levels: int) -> list[Array]:
  """Keeps the pixels next to the centres of coarser ones, as MAXIM does.

  Level s keeps the rows and columns 2^(s-1) + 2^s i. The last row and column
  repeat until 2^s divides the size.

  Args:
    image: [n, h, w, c].
    levels: 1 or more.

  Returns:
    The images, finest first.
  """
  images = [image]
  for s in range(1, levels):
    step = 2**s
    height, width = (-side % step for side in image.shape[1:3])
    padded = jnp.pad(
        image, ((0, 0), (0, height), (0, width), (0, 0)), mode='edge')
    index = slice(step // 2, None, step)
    images.append(_slice(_slice(padded, 1, index), 2, index))
  return images


def _repeat(reduce, image, *, levels):
  if levels < 1:
    raise ValueError(f'A pyramid has at least 1 level, got {levels}.')
  images = [image]
  for _ in range(levels - 1):
    images.append(reduce(images[-1]))
  return images


def size(full: tuple[int, int], *, level: int) -> tuple[int, int]:
  """Returns (h, w) of a level for images of (h, w) = `full`."""
  height, width = ((side + 2**level - 1) // 2**level for side in full)
  return height, width


def every(image: Array, *, step: int) -> Array:
  """Keeps the rows and columns 0, step, 2 step, ... of [n, h, w, c]."""
  index = slice(0, None, step)
  return _slice(_slice(image, 1, index), 2, index)


def _reduce_centred(image):
  taps = _gaussian(2 / 3, radius=3)
  for axis in (1, 2):
    image = _halve(_filter(image, taps, axis=axis, mode='symmetric'), axis=axis)
  return image


def _reduce_corner(image):
  taps = _gaussian(0.75, radius=1)
  for axis in (1, 2):
    image = _filter(image, taps, axis=axis, mode='constant')
  return every(image, step=2)


def _reduce_mean(image):
  _, height, width, _ = image.shape
  image = jnp.pad(
      image, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode='edge')
  return _halve(_halve(image, axis=1), axis=2)


def _gaussian(sigma, *, radius):
  taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma)**2)
  return taps / taps.sum()


def _filter(image, taps, *, axis, mode):
  """A sum of shifted copies: exact float32 also on GPUs and TPUs."""
  size, radius = image.shape[axis], len(taps) // 2
  widths = [(0, 0)] * image.ndim
  widths[axis] = (radius, radius)
  padded = jnp.pad(image, widths, mode=mode)
  return sum(
      float(tap) * _slice(padded, axis, slice(i, i + size))
      for i, tap in enumerate(taps))


def _halve(image, *, axis):
  """Interpolates linearly at the centres of ceil(size / 2) coarser pixels."""
  size = image.shape[axis]
  if size % 2 == 0:
    even = _slice(image, axis, slice(0, None, 2))
    return 0.5 * (even + _slice(image, axis, slice(1, None, 2)))
  coarse = (size + 1) // 2
  centre = (np.arange(coarse) + 0.5) * size / coarse - 0.5
  low = np.minimum(np.floor(centre).astype(int), max(size - 2, 0))
  high = np.minimum(low + 1, size - 1)
  shape = [1] * image.ndim
  shape[axis] = coarse
  share = jnp.asarray((centre - low).reshape(shape), image.dtype)
  first, second = (jnp.take(image, rows, axis=axis) for rows in (low, high))
  return first * (1 - share) + second * share


def _slice(image, axis, index):
  return lax.slice_in_dim(
      image, index.start, index.stop, index.step or 1, axis)


PYRAMIDS = {
    'average': average,
    'deepdeblur_pytorch': deepdeblur_pytorch,
    'deepdeblur_torch7': deepdeblur_torch7,
    'nearest': nearest,
}
