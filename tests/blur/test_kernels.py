"""Kernels: sum one, centred, with the moments of their shapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors
from deblur_jax.blur import kernels, trajectory, uniform

SIZE = 31


def moments(kernel):
  """Mean (y, x) and the covariance matrix of the light."""
  kernel = np.float64(kernel)
  half = kernel.shape[0] // 2
  place = np.mgrid[-half:half + 1, -half:half + 1].reshape(2, -1)
  share = kernel.reshape(-1) / kernel.sum()
  mean = place @ share
  return mean, (place * share) @ place.T - np.outer(mean, mean)


@functools.cache
def draws(name, count=64, size=SIZE):
  """Kernels of one family, drawn as a batch from one key, and their types."""
  family = uniform.KERNELS[name]
  draw = functools.partial(family.draw, size=size)
  drawn = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), count))
  if family.blur_type is None:
    return np.asarray(drawn[0]), np.asarray(drawn[1])
  place = uniform.BLUR_TYPES.index(family.blur_type)
  return np.asarray(drawn), np.full(count, place)


@pytest.mark.parametrize('name', uniform.KERNELS)
def test_all_families(name):
  drawn, blur_types = draws(name)
  assert drawn.shape == (64, SIZE, SIZE) and drawn.dtype == np.float32
  assert drawn.min() >= 0
  np.testing.assert_allclose(drawn.sum((1, 2)), 1, atol=1e-5)
  for kernel in drawn:
    assert np.abs(moments(kernel)[0]).max() < 0.35
  assert len({kernel.tobytes() for kernel in drawn}) == 64
  assert blur_types.min() >= 0 and blur_types.max() < len(uniform.BLUR_TYPES)


def test_any_draws_all_types():
  _, blur_types = draws('any')
  assert set(blur_types.tolist()) == set(range(4))


line = jax.jit(kernels.line, static_argnames='size')
disk = jax.jit(kernels.disk, static_argnames='size')
gaussian = jax.jit(kernels.gaussian, static_argnames='size')


@pytest.mark.parametrize('length, angle', [
    (10.0, 0.0), (10.0, np.pi / 2), (7.5, 0.3), (20.0, 2.4), (1.0, 1.0)])
def test_line_has_its_length_and_angle(length, angle):
  mean, covariance = moments(line(length, angle, size=SIZE))
  np.testing.assert_allclose(mean, 0, atol=1e-5)
  values, vectors = np.linalg.eigh(covariance)
  # A segment's variance is length^2 / 12; bilinear weights add at most a
  # quarter along each axis.
  assert values[1] == pytest.approx(length ** 2 / 12, abs=0.3)
  assert values[0] < 0.26
  if length > 5:
    along = vectors[:, 1] * np.sign(vectors[1, 1] or 1)
    expected = np.array([np.sin(angle), np.cos(angle)])
    assert abs(along @ expected) == pytest.approx(1, abs=1e-3)


def test_line_golden():
  """Three pixels to the right: weights are the times at each pixel."""
  middle = np.asarray(line(2.0, 0.0, size=5))[2]
  np.testing.assert_allclose(middle, [0, 0.25, 0.5, 0.25, 0], atol=0.03)
  np.testing.assert_allclose(
      line(0.0, 0.7, size=5), kernels.delta(size=5), atol=1e-6)


@pytest.mark.parametrize('radius', [0.5, 2.0, 5.3])
def test_disk(radius):
  kernel = np.asarray(disk(radius, size=SIZE))
  inside = kernel[15, 15]
  assert (kernel <= inside + 1e-7).all()
  # Its area, and so its height, is that of the disk.
  assert 1 / inside == pytest.approx(np.pi * radius ** 2, rel=0.12, abs=1.0)
  np.testing.assert_array_equal(kernel, kernel.T)


def test_gaussian_has_its_deviations():
  mean, covariance = moments(gaussian(3.0, 1.5, 0.6, size=SIZE))
  np.testing.assert_allclose(mean, 0, atol=1e-5)
  values, vectors = np.linalg.eigh(covariance)
  np.testing.assert_allclose(values, [1.5 ** 2, 9.0], rtol=0.01)
  assert abs(vectors[:, 1] @ [np.sin(0.6), np.cos(0.6)]) > 0.999


def test_mixtures_add_their_variances():
  first = line(8.0, 0.4, size=SIZE)
  second = disk(2.5, size=SIZE)
  _, both = moments(jax.jit(kernels.mix)(first, second))
  np.testing.assert_allclose(
      both, moments(first)[1] + moments(second)[1], atol=1e-3)


def test_gradients_of_the_parameters_are_finite():
  def spread(values):
    length, angle, radius, sigma = values
    kernel = kernels.mix(
        kernels.line(length, angle, size=11), kernels.disk(radius, size=11))
    kernel = kernels.mix(kernel, kernels.gaussian(sigma, 1.0, 0.2, size=11))
    return (kernel ** 2).sum()

  gradient = jax.jit(jax.grad(spread))(jnp.array([4.0, 0.5, 1.2, 0.8]))
  assert np.isfinite(gradient).all()
  # A longer line and a wider disk spread the light.
  assert gradient[0] < 0 and gradient[2] < 0


@functools.partial(jax.jit, static_argnames=('steps', 'fractions'))
def path(
    key, *, steps=400, centripetal=0.7, reversal=0.2, shake=10.0,
    fractions=(1.0,)):
  return trajectory.random_path(
      key, steps=steps, length=60.0, impulse=(0.005,),
      centripetal=centripetal, reversal=reversal, shake=shake,
      fractions=fractions)


def test_a_path_has_constant_speed_and_its_length():
  y, x, weights = path(
      jax.random.key(1), centripetal=0.7, reversal=0.2, shake=10.0)
  steps = np.hypot(np.diff(y), np.diff(x))
  np.testing.assert_allclose(steps, 60 / 399, rtol=1e-3)
  np.testing.assert_array_equal(weights, 1)


def test_a_path_without_impulses_is_straight():
  y, x, _ = path(jax.random.key(2), shake=0.0, reversal=0.0, centripetal=0.0)
  assert np.hypot(y[-1] - y[0], x[-1] - x[0]) == pytest.approx(60, rel=1e-2)
  shaken_y, shaken_x, _ = path(
      jax.random.key(2), shake=60.0, reversal=0.2, centripetal=0.7)
  assert np.hypot(shaken_y[-1] - shaken_y[0], shaken_x[-1] - shaken_x[0]) < 58


def test_the_shutter_closes_within_a_step():
  _, _, weights = path(jax.random.key(3), steps=10, fractions=(0.25,))
  np.testing.assert_allclose(weights, [1, 1, 0.5] + [0] * 7, atol=1e-6)


def test_any_kernel_may_be_small():
  # The bounds of each type depend on the size; wrong ones are refused here.
  kernel, _ = jax.eval_shape(functools.partial(uniform.random_any, size=3),
                             jax.random.key(0))
  assert kernel.shape == (3, 3)


def test_a_shorter_exposure_blurs_less():
  draw = functools.partial(
      trajectory.random_trajectory, size=SIZE, fractions=(0.1,))
  drawn = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(4), 8))
  short, all_ = (np.sort([moments(kernel)[1].trace() for kernel in each])
                 for each in (drawn, draws('trajectory')[0]))
  # A third of all has the whole exposure.
  assert short.mean() < all_[-16:].mean() / 5


def test_a_gaussian_process_has_its_spread():
  """Before centring, the path's variance is that of the process."""
  factor = trajectory._matern_factor(50, 0.3)
  np.testing.assert_allclose((factor ** 2).sum(1), 1, atol=1e-6)
  # Neighbouring points are close, the ends are not.
  covariance = factor @ factor.T
  assert covariance[0, 1] > 0.98 and covariance[0, -1] < 0.1
  # Centring removes the variance of the mean.
  draw = jax.jit(jax.vmap(lambda key: trajectory.random_gaussian_process(
      key, size=SIZE, points=50, spread=0.2)))
  drawn = draw(jax.random.split(jax.random.key(5), 200))
  variance = np.mean([moments(kernel)[1].trace() for kernel in drawn])
  expected = 2 * (0.2 * SIZE / 2) ** 2 * (1 - covariance.mean())
  assert variance == pytest.approx(expected, rel=0.15)


def test_large_impulses_reverse_the_path():
  quiet = dict(shake=0.0, centripetal=0.0)
  y, x, _ = path(jax.random.key(2), reversal=1e6, **quiet)
  assert np.hypot(y[-1] - y[0], x[-1] - x[0]) < 10     # and not 60


@pytest.mark.parametrize('call, message', [
    (lambda key: kernels.line(3.0, 0.0, size=4), 'must be odd.*got 4; use 5'),
    (lambda key: kernels.random_line(key, size=11, length=(3, 20)),
     r'length=\(3, 20\) must be \(low, high\) with 0.0 <= low <= high <= 11'),
    (lambda key: kernels.random_gaussian(key, sigma=(0.0, 2.0)), 'sigma='),
    (lambda key: kernels.random_disk(key, radius=(4.0, 2.0)), 'radius='),
    (lambda key: trajectory.random_trajectory(key, steps=1), 'steps must be'),
    (lambda key: trajectory.random_trajectory(key, fractions=(0.0,)),
     'fractions='),
    (lambda key: trajectory.random_gaussian_process(key, spread=0.0), 'above'),
    (lambda key: uniform.random_any(key, weights=(1, 0)), 'must be 4 numbers'),
])
def test_mistakes_are_named(call, message):
  with pytest.raises(errors.UserError, match=message):
    call(jax.random.key(0))
