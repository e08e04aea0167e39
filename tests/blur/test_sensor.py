"""The sensor: variance of noise, 8 bits, and JPEG like libjpeg."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

from deblur_jax.blur import jpeg, sensor
from deblur_jax.ops import colour

compress = jax.jit(jpeg.compress)
noise = jax.jit(sensor.noise)


def test_noise_has_its_variance():
  for level, shot, read in [(0.5, 0.01, 0.0), (0.2, 0.0, 0.03),
                            (0.8, 0.02, 0.05), (0.0, 0.02, 0.01)]:
    light = np.full((200, 200), level, np.float32)
    noisy = np.asarray(
        noise(jax.random.key(0), light, shot=shot, read=read))
    expected = shot * level + read ** 2
    assert float((noisy - level).mean()) == pytest.approx(0, abs=5e-3)
    assert float((noisy - level).var()) == pytest.approx(expected, rel=0.05)


def test_no_noise_has_finite_gradients():
  gradient = jax.jit(jax.grad(lambda light: sensor.noise(
      jax.random.key(0), light, shot=0.1, read=0.0).sum()))(jnp.zeros((4, 4)))
  assert np.isfinite(gradient).all()


def test_the_gradient_of_rounding_is_one():
  image = jnp.asarray(skimage.data.coffee()[:16, :16] / 255, jnp.float32)
  rounded = sensor.fake_quantize(image, bits=4)
  assert len(np.unique(rounded)) <= 16
  np.testing.assert_allclose(rounded, image, atol=0.5 / 15 + 1e-6)
  weights = jnp.asarray(
      np.random.default_rng(0).random(image.shape), jnp.float32)
  gradient = jax.grad(
      lambda x: (sensor.fake_quantize(x, bits=4) * weights).sum())(image)
  np.testing.assert_allclose(gradient, weights, atol=1e-6)
  gradient = jax.jit(jax.grad(
      lambda x: (jpeg.compress(x, quality=50.0) * weights).sum()))(image)
  assert np.isfinite(gradient).all() and float(jnp.abs(gradient).sum()) > 1


@pytest.mark.parametrize('quality', [10, 30, 50, 75, 95])
@pytest.mark.parametrize('size', [(64, 96), (50, 71)])
def test_jpeg_agrees_with_libjpeg(quality, size):
  image = skimage.data.astronaut()[30:30 + size[0], 180:180 + size[1]]
  file = io.BytesIO()
  Image.fromarray(image).save(file, 'jpeg', quality=quality, subsampling=2)
  expected = np.asarray(Image.open(file)).astype(float)
  ours = 255 * np.asarray(compress(
      jnp.asarray(image / 255, jnp.float32), quality=float(quality)))
  assert ours.shape == image.shape
  loss = np.abs(expected - image).mean()
  assert np.abs(ours - expected).mean() < 0.25 * loss + 0.5


def test_ycbcr_agrees_with_pillow_and_is_inverted():
  image = skimage.data.coffee()[::20, ::20]
  expected = np.asarray(Image.fromarray(image).convert('YCbCr'))
  there = colour.rgb_to_ycbcr(jnp.asarray(image / 255, jnp.float32))
  np.testing.assert_allclose(there * 255, expected, atol=1.01)
  np.testing.assert_allclose(
      colour.ycbcr_to_rgb(there) * 255, image, atol=1e-3)
