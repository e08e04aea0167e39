"""The standard metrics against float64 implementations, on real pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage
from PIL import Image
from scipy import ndimage

from deblur_jax import errors, metrics

CLOSE = {'psnr_uint8': 1e-4, 'psnr_float': 1e-4,
         'ssim_matlab3d': 1e-5, 'ssim_skimage': 1e-5}


def _matlab3d(a, b):
  """MATLAB's published algorithm: one 3-D correlation, borders replicated."""
  x, y, z = np.mgrid[-5:6, -5:6, -5:6]
  window = np.exp(-(x * x + y * y + z * z) / (2 * 1.5 ** 2))
  window /= window.sum()

  def smooth(volume):
    return ndimage.correlate(volume, window, mode='nearest')
  a, b = a.astype(np.float64), b.astype(np.float64)
  mean_a, mean_b = smooth(a), smooth(b)
  var_a, var_b = smooth(a ** 2) - mean_a ** 2, smooth(b ** 2) - mean_b ** 2
  cov = smooth(a * b) - mean_a * mean_b
  c1, c2 = 6.5025, 58.5225
  return np.mean((2 * mean_a * mean_b + c1) * (2 * cov + c2) / (
      (mean_a ** 2 + mean_b ** 2 + c1) * (var_a + var_b + c2)))


def _skimage(a, b):
  return skimage.metrics.structural_similarity(
      a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
      data_range=255, channel_axis=-1)


FNS = {name: jax.jit(fn) for name, fn in metrics.STANDARD.items()}
REFERENCES = {
    'psnr_uint8': lambda a, b: skimage.metrics.peak_signal_noise_ratio(a, b),
    'psnr_float': lambda a, b: skimage.metrics.peak_signal_noise_ratio(
        b / 255, a / 255, data_range=1),
    'ssim_matlab3d': _matlab3d,
    'ssim_skimage': _skimage,
}


def _float(image):
  return image[None] / np.float32(255)


def _pairs():
  """Photographs of scikit-image's wheel, degraded in four ways; uint8."""
  generator = np.random.default_rng(0)
  for name in ('astronaut', 'coffee'):
    sharp = getattr(skimage.data, name)()[60:140, 100:190]
    noise = generator.normal(0, 12, sharp.shape)
    yield sharp, np.clip(sharp + noise, 0, 255).astype(np.uint8)
    yield sharp, ndimage.uniform_filter(sharp, (1, 9, 1))
    yield sharp, np.roll(sharp, 3, axis=1)
    yield sharp, (sharp * 0.9).astype(np.uint8)


@pytest.fixture(scope='module')
def pairs():
  return list(_pairs())


@pytest.fixture(scope='module')
def images(pairs):
  sharp, restored = (np.stack(z) for z in zip(*pairs[:3], strict=True))
  return restored / np.float32(255), sharp / np.float32(255)


@pytest.mark.parametrize('name', REFERENCES)
def test_agrees_with_the_reference(name, pairs):
  for sharp, restored in pairs:
    value = FNS[name](_float(restored), _float(sharp))
    assert value.shape == (1,) and value.dtype == jnp.float32
    want = REFERENCES[name](restored, sharp)
    assert abs(float(value[0]) - want) < CLOSE[name]


@pytest.mark.parametrize('name', REFERENCES)
def test_agrees_on_gopro(name, real_data):
  paths = sorted((real_data / 'gopro' / 'test').glob('*/blur/*.png'))
  assert paths
  for path in paths:
    sharp = path.parents[1] / 'sharp' / path.name
    blur, sharp = (np.asarray(Image.open(p).convert('RGB'))[300:380, 600:690]
                   for p in (path, sharp))
    value = float(FNS[name](_float(blur), _float(sharp))[0])
    assert abs(value - REFERENCES[name](blur, sharp)) < CLOSE[name]


@pytest.mark.parametrize('name', ['ssim_matlab3d', 'ssim_skimage'])
def test_no_cancellation_in_bright_flat_pictures(name):
  generator = np.random.default_rng(1)
  a, b = (generator.integers(252, 256, (80, 90, 3)).astype(np.uint8)
          for _ in range(2))
  value = float(FNS[name](_float(a), _float(b))[0])
  assert abs(value - REFERENCES[name](a, b)) < 1e-5


def test_matlab3d_mixes_channels(images):
  """It sees which channel is hurt, where a mean over channels does not."""
  sharp = images[1][:1, ..., :1].repeat(3, axis=-1)
  hurt = sharp.copy()
  hurt[..., 0] = np.clip(hurt[..., 0] + images[0][:1, ..., 1] - 0.5, 0, 1)
  swapped = hurt[..., [1, 0, 2]]
  mixing, apart = (
      [float(FNS[name](z, sharp)[0]) for z in (hurt, swapped)]
      for name in ('ssim_matlab3d', 'ssim_skimage'))
  assert abs(mixing[0] - mixing[1]) > 1e-2
  assert abs(apart[0] - apart[1]) < 1e-6


def test_psnr_rounds_and_clips():
  sharp = jnp.full((1, 4, 4, 3), 100 / 255)
  nearly = sharp + 0.4 / 255
  assert np.isinf(FNS['psnr_uint8'](nearly, sharp)[0])
  np.testing.assert_allclose(FNS['psnr_float'](nearly, sharp),
                             20 * np.log10(255 / 0.4), rtol=1e-5)
  white = jnp.ones((1, 4, 4, 3))
  assert np.isinf(FNS['psnr_uint8'](white + 0.5, white)[0])


@pytest.mark.parametrize('name', ['ssim_matlab3d', 'ssim_skimage'])
def test_refuses_tiny_images(name):
  tiny = jnp.zeros((1, 10, 32, 3))
  with pytest.raises(errors.UserError, match='at least 11x11.*got 32x10'):
    FNS[name](tiny, tiny)
  assert FNS[name](*[jnp.zeros((1, 11, 11, 3))] * 2)[0] == 1
