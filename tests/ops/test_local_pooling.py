"""Means over images, and over windows around each pixel (TLC)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors, models
from deblur_jax.export import traced
from deblur_jax.inference import restoration
from deblur_jax.models import attention, layers
from deblur_jax.ops import local_pooling
from deblur_jax.state import Method

X = np.random.default_rng(0).random((2, 24, 30, 3), np.float32)


def test_mean_of_all():
  np.testing.assert_allclose(
      local_pooling.mean(X), X.mean((1, 2), keepdims=True), rtol=1e-6)


def _windows(x, side):
  """The window of each pixel [n, h, w, c, side, side].

  An even window has one value more after the pixel than before it. Near the
  border the last whole window is used.
  """
  whole = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))
  around = ((side - 1) // 2, side // 2)
  return np.pad(
      whole, ((0, 0), around, around, *[(0, 0)] * 3), mode='edge')


# The whole image, one that the network padded, and features of half the size.
@pytest.mark.parametrize('height, window, side', [
    (24, 5, 5), (21, 5, 5), (48, 10, 5), (24, 6, 6)])
def test_mean_variance_and_maximum_around_each_pixel(height, window, side):
  with local_pooling.local(window, height=height):
    found = (local_pooling.mean(X), *local_pooling.moments(X),
             local_pooling.maximum(X))
  windows = _windows(X, side)
  mean, variance = windows.mean((-1, -2)), windows.var((-1, -2))
  for one, expected in zip(
      found, (mean, mean, variance, windows.max((-1, -2))), strict=True):
    np.testing.assert_allclose(one, expected, atol=1e-6)


def test_moments_of_all():
  mean, variance = local_pooling.moments(X)
  np.testing.assert_allclose(mean, X.mean((1, 2), keepdims=True), rtol=1e-6)
  np.testing.assert_allclose(variance, X.var((1, 2), keepdims=True), rtol=1e-5)


def test_local_instance_norm_keeps_a_slope():
  """A slope has one variance everywhere; it is that of the window."""
  x = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None, None]
  x = np.broadcast_to(x, (1, 64, 64, 1))
  with local_pooling.local(9, height=64):
    y = np.asarray(layers.instance_norm(x))
  inside = y[0, 4:-4, 0, 0]
  np.testing.assert_allclose(inside, 0, atol=1e-3)     # it is the mean
  np.testing.assert_allclose(
      y[0, 0, 0, 0], -4 / np.sqrt(60 / 9), rtol=0.05)  # the first of nine


def test_a_window_of_the_whole_image_is_the_mean():
  with local_pooling.local(1000, height=24):
    np.testing.assert_array_equal(
        local_pooling.mean(X), X.mean((1, 2), keepdims=True))
  with pytest.raises(errors.UserError, match='at least 1, got 0'):
    with local_pooling.local(0, height=24):
      pass
  assert local_pooling.mean(X).shape == (2, 1, 1, 3)


def test_squares_cover_the_image_and_are_averaged():
  """Two rows of 16 pixels in 24, two columns in 30, by hand."""
  shift = lambda x: x - x.mean((1, 2), keepdims=True)
  with local_pooling.local(32, height=48):
    found = local_pooling.over_squares(shift, X)
  total, count = np.zeros_like(X), np.zeros((24, 30, 1))
  for top in (0, 8):
    for left in (0, 14):
      place = (slice(top, top + 16), slice(left, left + 16))
      total[:, *place] += shift(X[:, *place])
      count[place] += 1
  np.testing.assert_allclose(found, total / count, atol=1e-6)
  np.testing.assert_array_equal(
      local_pooling.over_squares(shift, X), shift(X))


def test_the_callers_window_replaces_that_of_a_network():
  with local_pooling.local(5, height=24):
    outer = local_pooling.mean(X)
    with local_pooling.local_by_default(9, height=24):
      np.testing.assert_array_equal(local_pooling.mean(X), outer)
  with local_pooling.local_by_default(5, height=24):
    np.testing.assert_array_equal(local_pooling.mean(X), outer)
  with local_pooling.local_by_default(0, height=24):
    assert local_pooling.mean(X).shape == (2, 1, 1, 3)


@pytest.mark.parametrize('name', ['nafnet', 'restormer'])
def test_networks_are_local_at_test_time_only(name):
  options = models.NETWORKS[name].small
  net = models.build(name=name, **options, local=16)
  blur = jax.ShapeDtypeStruct(X.shape, jnp.float32)
  shapes = jax.eval_shape(net.init, jax.random.key(0), blur)
  trace = lambda net, **options: str(jax.make_jaxpr(
      functools.partial(net.apply, **options))(shapes, blur))
  whole = trace(models.build(name=name, **options))
  assert trace(net, train=True) == whole != trace(net)


def test_a_file_for_every_size_cannot_be_local():
  net = models.build(
      name='nafnet', **models.NETWORKS['nafnet'].small, local=32)
  params = models.init(net, jax.random.key(0))
  with pytest.raises(errors.UserError, match='local=32 to 0') as error:
    traced.trace(lambda blur: net.apply({'params': params}, blur)[0])
  assert '\n' not in str(error.value)


def far_away(method, params, window):
  """By how much distant pixels change the left border."""
  left = np.repeat(X[:1, :16, :1], 64, axis=2)
  restore = jax.jit(restoration.local(method, window).restore)
  one, other = (restore(
      params, np.concatenate([left, np.full_like(left, right)], axis=2))
      for right in (0, 1))
  return np.abs(one - other)[:, :, :2].max()


@pytest.mark.parametrize('net', [
    attention.SE(), attention.CBAM(),
    models.build(name='nafnet', features=2, blocks=(1,), up_blocks=(0,),
                 middle=0),
    models.build(name='resnet', features=2, blocks=0)],
    ids=lambda net: type(net).__name__)
def test_layers_with_means_become_local(net):
  shapes = jax.eval_shape(net.init, jax.random.key(0), X[:1, :16, :16])
  # Positive: no channels of SE may be dead.
  params = jax.tree.map(lambda p: 0.1 + 0.3 * np.random.default_rng(
      p.size).random(p.shape, np.float32), shapes)
  method = Method(
      None, None, lambda state, x: jax.tree.leaves(
          net.apply(state, x))[0])
  whole, local = far_away(method, params, 0), far_away(method, params, 8)
  assert whole > 1e-3
  assert local < 3e-4 and local < whole / 100    # rounding of running sums
