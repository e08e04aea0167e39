"""Estimation of kernels from blurred pictures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from deblur_jax import errors
from deblur_jax.blur import estimate, kernels, operators
from deblur_jax.ops import colour

SIZE = 7


@functools.cache
def scene():
  """(sharp [2, h, w, 3], blur, their kernels)."""
  photo = skimage.data.astronaut()
  sharp = jnp.asarray(np.stack(
      [photo[10:160, 150:300], photo[200:350, 30:180]]) / 255, jnp.float32)
  draw = jax.jit(jax.vmap(functools.partial(kernels.line, size=SIZE)))
  both = draw(jnp.array([5.0, 6.0]), jnp.array([0.4, 2.2]))
  blur = jax.jit(lambda x, k: operators.uniform(k).forward(x))
  return sharp, blur(sharp, both), both


@functools.cache
def estimated():
  return np.asarray(jax.jit(
      lambda blur: estimate.kernel_of(blur, size=SIZE))(scene()[1]))


def likeness(a, b):
  """The greatest normalised correlation over small shifts."""
  shifts = [np.roll(a, (y, x), (0, 1)) for y in range(-2, 3)
            for x in range(-2, 3)]
  return max((s * b).sum() for s in shifts) / np.sqrt(
      (a ** 2).sum() * (b ** 2).sum())


def test_it_finds_the_kernels():
  found, (_, _, true) = estimated(), scene()
  np.testing.assert_allclose(found.sum((1, 2)), 1, atol=1e-5)
  assert found.shape == true.shape and found.min() >= 0
  for i in range(2):
    own = likeness(found[i], np.asarray(true[i]))
    assert own > 0.8 and own > likeness(found[i], np.asarray(true[1 - i])) + 0.4


def test_it_deblurs():
  sharp, blur, _ = scene()
  restored = jax.jit(lambda blur: estimate.deblur(
      blur, size=SIZE, deconvolution=dict(name='wiener', noise=1e-2)))(blur)
  inner = (slice(None), slice(15, -15), slice(15, -15))
  error = lambda image: (np.subtract(image, sharp)[inner] ** 2).mean()
  assert error(restored) < 0.8 * error(blur)


def test_a_gray_picture_has_the_kernel_of_its_colour():
  blur = np.asarray(scene()[1])[:1, :64, :64]
  kernel_of = jax.jit(functools.partial(estimate.kernel_of, size=3))
  np.testing.assert_allclose(
      kernel_of(colour.luma(blur)), kernel_of(blur), atol=1e-5)


@pytest.mark.parametrize('shape, size, message', [
    ((1, 32, 32, 3), 8, 'must be odd'), ((1, 32, 32, 2), 9, '1 or 3'),
    ((1, 8, 32, 3), 9, '9x9 is larger than the picture of 8x32')])
def test_mistakes_are_named(shape, size, message):
  with pytest.raises(errors.UserError, match=message):
    estimate.kernel_of(jnp.zeros(shape), size=size)
