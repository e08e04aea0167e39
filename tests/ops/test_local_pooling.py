"""Means over images, and over windows around each pixel (TLC)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from deblur_jax import errors, models
from deblur_jax.inference import restoration
from deblur_jax.models import attention
from deblur_jax.ops import local_pooling
from deblur_jax.state import Method

X = np.random.default_rng(0).random((2, 24, 30, 3), np.float32)


def test_mean_of_all():
  np.testing.assert_allclose(
      local_pooling.mean(X), X.mean((1, 2), keepdims=True), rtol=1e-6)


@pytest.mark.parametrize('height', [24, 48])    # features of half the size
def test_mean_around_each_pixel(height):
  with local_pooling.local(5 * height // 24, height=height):
    found = np.asarray(local_pooling.mean(X))
  around = scipy.ndimage.uniform_filter(X, (0, 5, 5, 0))
  inner = (slice(None), slice(2, -2), slice(2, -2))
  np.testing.assert_allclose(found[inner], around[inner], atol=1e-6)
  # Near the border the last whole window is used.
  np.testing.assert_allclose(found[:, 0, 2:-2], around[:, 2, 2:-2], atol=1e-6)


def test_a_window_of_the_whole_image_is_the_mean():
  with local_pooling.local(1000, height=24):
    found = local_pooling.mean(X)
  whole = np.broadcast_to(local_pooling.mean(X), X.shape)
  np.testing.assert_allclose(found, whole, atol=1e-6)
  with pytest.raises(errors.UserError, match='at least 1, got 0'):
    with local_pooling.local(0, height=24):
      pass
  assert local_pooling.mean(X).shape == (2, 1, 1, 3)


def far_away(method, params, window):
  """By how much distant pixels change the left border."""
  left = jnp.asarray(X[:1, :16, :1]) * jnp.ones((1, 16, 64, 1))
  restore = jax.jit(restoration.local(method, window).restore)
  one, other = (restore(
      params, jnp.concatenate([left, right], axis=2)) for right in (
      jnp.zeros((1, 16, 64, 3)), jnp.ones((1, 16, 64, 3))))
  return float(jnp.abs(one - other)[:, :, :2].max())


@pytest.mark.parametrize('net', [
    attention.SE(),
    models.build(name='nafnet', features=2, blocks=(1,), up_blocks=(0,),
                 middle=0),
    models.build(name='resnet', features=2, blocks=0)],
    ids=lambda net: type(net).__name__)
def test_layers_with_means_become_local(net):
  params = jax.jit(net.init)(jax.random.key(0), X[:1, :16, :16])
  # Some weights are initialized to zero, and all channels of SE may be dead.
  params = jax.tree.map(lambda p: jnp.abs(p) + 0.1, params)
  method = Method(
      None, None, lambda state, x: jax.tree.leaves(
          net.apply(state, x))[0])
  assert far_away(method, params, 0) > 1e-3
  assert far_away(method, params, 8) < 1e-5
