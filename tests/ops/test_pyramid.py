"""Pyramids against scikit-image and loops; padding and cropping."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as pil_image
from scipy import ndimage
from skimage import transform

from deblur_jax.ops import pad, pyramid

SIZES = [(16, 24), (21, 18), (5, 1)]


def _image(height, width, n=2):
  rng = np.random.default_rng(height * 100 + width)
  return rng.random((n, height, width, 3), dtype=np.float32)


@functools.cache
def _of_three(name):
  """A pyramid of three levels, compiled once for each size."""
  return jax.jit(functools.partial(pyramid.PYRAMIDS[name], levels=3))


@pytest.mark.parametrize('name', pyramid.PYRAMIDS)
@pytest.mark.parametrize('size', SIZES)
def test_sizes_and_constants(name, size):
  height, width = size
  images = _of_three(name)(np.full((2, *size, 3), 0.3, np.float32))
  assert [image.shape for image in images] == [
      (2, -(-height // 2**s), -(-width // 2**s), 3) for s in range(3)]
  for image in images:
    np.testing.assert_allclose(image, 0.3, atol=1e-6)


@pytest.mark.parametrize('name', pyramid.PYRAMIDS)
def test_jit_and_vmap(name):
  image = _image(*SIZES[0])
  fn = pyramid.PYRAMIDS[name]
  expected = _of_three(name)(image)[1]
  one_by_one = jax.jit(jax.vmap(lambda x: fn(x[None], levels=2)[1][0]))(image)
  np.testing.assert_allclose(one_by_one, expected, atol=1e-6)
  assert expected.dtype == jnp.float32


@pytest.mark.parametrize('size', SIZES)
def test_pytorch_is_scikit_image(size):
  image = _image(*size)
  images = _of_three('deepdeblur_pytorch')(image)
  expected = list(
      transform.pyramid_gaussian(image[0], 2, channel_axis=-1))
  for ours, theirs in zip(images, expected, strict=False):
    np.testing.assert_allclose(ours[0], theirs, atol=1e-6)
  assert len(expected) == 3


def test_pytorch_is_scikit_image_on_a_real_picture(real_data):
  paths = sorted((real_data / 'gopro').rglob('*.png'))
  picture = np.asarray(pil_image.open(paths[0]), np.float32)[:360] / 255
  images = _of_three('deepdeblur_pytorch')(picture[None])
  expected = transform.pyramid_gaussian(picture, 2, channel_axis=-1)
  for ours, theirs in zip(images, expected, strict=True):
    np.testing.assert_allclose(ours[0], theirs, atol=1e-6)


@pytest.mark.parametrize('size', SIZES)
def test_torch7_keeps_the_even_pixels(size):
  image = _image(*size)
  coarse = _of_three('deepdeblur_torch7')(image)[1]
  weights = np.exp(-np.arange(-1, 2)**2 / (2 * 0.75**2))
  kernel = np.outer(weights, weights) / weights.sum()**2
  mean = image.mean((1, 2), keepdims=True)
  smooth = ndimage.convolve(
      image - mean, kernel[None, :, :, None], mode='constant') + mean
  np.testing.assert_allclose(coarse, smooth[:, ::2, ::2], atol=1e-6)


def test_average_counts_the_last_column_twice():
  image = jnp.arange(3.0).reshape(1, 1, 3, 1)
  coarse = pyramid.average(image, levels=2)[1]
  np.testing.assert_allclose(coarse[0, 0, :, 0], [0.5, 2.0])


def test_nearest_keeps_the_pixels_below_the_centres():
  image = _image(16, 24)
  full, half, quarter = _of_three('nearest')(image)
  np.testing.assert_array_equal(full, image)
  np.testing.assert_array_equal(half, image[:, 1::2, 1::2])
  np.testing.assert_array_equal(quarter, image[:, 2::4, 2::4])


def test_the_two_official_pyramids_are_half_a_pixel_apart():
  ramp = np.broadcast_to(
      np.arange(24, dtype=np.float32)[:, None], (2, 16, 24, 3))
  centred, corner = (np.asarray(_of_three(name)(ramp)[1])
                     for name in ('deepdeblur_pytorch', 'deepdeblur_torch7'))
  np.testing.assert_allclose((centred - corner)[:, 2:6, 4:8], 0.5, atol=1e-5)


def test_no_level_is_refused():
  with pytest.raises(ValueError, match='at least 1 level, got 0'):
    pyramid.average(_image(4, 4), levels=0)


@pytest.mark.parametrize('size', [(8, 12), (7, 9), (1, 1)])
def test_pad_and_crop(size):
  image = _image(*size)
  padded, kept = pad.to_multiple(image, multiple=4)
  assert padded.shape[1] % 4 == 0 and padded.shape[2] % 4 == 0
  assert padded.shape[1] - size[0] < 4 and padded.shape[2] - size[1] < 4
  np.testing.assert_array_equal(pad.crop(padded, size=kept), image)
  np.testing.assert_array_equal(padded[:, -1, -1], image[:, -1, -1])


@pytest.mark.parametrize('size', [(8, 12), (7, 9), (2, 3), (1, 1)])
def test_mirrors_on_all_sides_as_numpy(size):
  image = _image(*size)
  padded, corner = jax.jit(functools.partial(
      pad.reflect_to_multiple, multiple=16))(image)
  around = [((-side % 16) // 2, (-side % 16 + 1) // 2) for side in size]
  np.testing.assert_array_equal(padded, np.pad(
      image, [(0, 0), *around, (0, 0)], mode='reflect'))
  assert tuple(map(int, corner)) == tuple(first for first, _ in around)
  np.testing.assert_array_equal(pad.crop_at(
      padded, corner=tuple(first for first, _ in around), size=size), image)


def test_crop_larger_than_the_image_is_refused():
  with pytest.raises(ValueError, match=r'Cannot crop \(5, 4\)'):
    pad.crop(_image(4, 4), size=(5, 4))
