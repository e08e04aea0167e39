"""Averages of frames in linear light, by response curves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors
from deblur_jax.blur import exposure

GAMMAS = [0.5, 1.0, 2.2, 3.0]


def average(frames, **curve):
  """g(mean over t of g^-1(frame_t))."""
  light = exposure.mean_over(
      lambda frame: exposure.to_light(frame, **curve), frames)
  return exposure.to_stored(light, **curve)


@pytest.fixture(scope='module')
def frames():
  return jnp.asarray(
      np.random.default_rng(0).random((5, 2, 8, 6, 3), dtype=np.float32))


def test_golden():
  frames = jnp.array([0.0, 1.0])[:, None, None, None]
  np.testing.assert_allclose(
      average(frames)[0, 0, 0], 0.5 ** (1 / 2.2), rtol=1e-6)
  np.testing.assert_allclose(average(frames, gamma=1.0), [[[0.5]]])


@pytest.mark.parametrize('gamma', GAMMAS)
def test_agrees_with_numpy(gamma, frames):
  wide = np.asarray(frames, np.float64)
  np.testing.assert_allclose(
      average(frames, gamma=gamma),
      (wide ** gamma).mean(0) ** (1 / gamma), atol=2e-6)


@pytest.mark.parametrize('gamma', GAMMAS)
def test_frames_that_agree_are_kept(gamma):
  still = jnp.linspace(0, 1, 256)[:, None, None]
  frames = jnp.broadcast_to(still[None], (7, 256, 1, 1))
  np.testing.assert_allclose(
      average(frames, gamma=gamma), still, atol=2e-6)


def test_gamma_makes_short_highlights_brighter(frames):
  assert (average(frames) >= average(frames, gamma=1.0)).all()


@pytest.mark.parametrize('gamma', GAMMAS)
def test_gradients_are_finite_down_to_black(gamma):
  frames = jnp.array([[0.0, 1e-6, 0.5, 1.0], [0.0, 0.0, 0.0, 1.0]])
  slope = jax.jit(jax.grad(
      lambda x: average(x, gamma=gamma).sum()))(frames)
  assert np.isfinite(slope).all()


def test_mean_over_keeps_one_frame_in_memory():
  render = lambda moment: jnp.full((256, 256), moment)
  mean = jax.jit(lambda moments: exposure.mean_over(render, moments))
  moments = jnp.arange(100.0)
  np.testing.assert_allclose(mean(moments), 49.5 + np.zeros((256, 256)))
  memory = mean.lower(moments).compile().memory_analysis()
  assert memory.temp_size_in_bytes < 4 * 256 * 256 * 4


@pytest.mark.parametrize('gamma', [0.0, -1.0, float('nan'), float('inf')])
def test_gamma_must_be_above_zero(gamma, frames):
  with pytest.raises(errors.UserError, match='gamma must be a number above 0'):
    average(frames, gamma=gamma)


def test_no_frames():
  with pytest.raises(errors.UserError, match=r'one or more frames.*\(0, 4'):
    average(jnp.zeros((0, 4, 4, 3)))


def measured(channels=3):
  """A response curve that is no power, in the unit of a calibration."""
  levels = np.linspace(0, 1, 256)[:, None]
  powers = np.array([[1.7, 2.2, 2.9]])[:, :channels]
  return 3.5 * (0.2 * levels + 0.8 * levels ** powers) + 0.25


@pytest.mark.parametrize('channels', [1, 3])
def test_a_response_is_undone_by_its_inverse(channels, frames):
  curve = measured(channels)
  light = exposure.to_light(frames, response=curve)
  assert 0 <= light.min() and light.max() <= 1
  np.testing.assert_allclose(
      exposure.to_stored(light, response=curve), frames, atol=1e-5)


def test_the_average_through_a_response_agrees_with_numpy(frames):
  curve, levels = measured(), np.linspace(0, 1, 256)
  wide = np.asarray(frames, np.float64)
  for c in range(3):
    light = np.interp(wide[..., c], levels, curve[:, c]).mean(0)
    np.testing.assert_allclose(
        average(frames, response=curve)[..., c],
        np.interp(light, curve[:, c], levels), atol=1e-5)


def test_the_table_of_a_power_curve_is_that_gamma(frames):
  levels = np.linspace(0, 1, 256)
  np.testing.assert_allclose(
      average(frames, response=levels ** 2.2),
      average(frames, gamma=2.2), atol=2e-4)
  np.testing.assert_allclose(
      average(frames, response=levels),
      average(frames, gamma=1.0), atol=1e-6)


def test_gradients_through_a_response_are_finite(frames):
  curve = np.linspace(0, 1, 256) ** 2.2
  with_black = frames.at[:, 0].set(0.0)
  slope = jax.jit(jax.grad(
      lambda x: average(x, response=curve).sum()))(with_black)
  assert np.isfinite(slope).all()


def test_the_end_of_a_response_is_straightened_as_for_reds():
  rough = np.arange(256.0)
  rough[249:252] = 249.0, 250.5, 252.0
  rough[252:] = 900.0, 20.0, -5.0, 7.0
  ready = exposure.check_response(rough, straight_above=250)[:, 0]
  expected = np.append(rough[:251], 250.5 + 1.5 * np.arange(1, 6))
  np.testing.assert_allclose(ready, expected / 258.0, rtol=1e-6)
  np.testing.assert_allclose(exposure.check_response(ready)[:, 0], ready)


def test_a_value_that_does_not_rise_is_interpolated():
  curve = measured(1)[:, 0]
  noisy = curve.copy()
  noisy[101] = noisy[100] - 0.002
  between = curve.copy()
  between[101] = (curve[100] + curve[102]) / 2
  np.testing.assert_allclose(
      exposure.check_response(noisy), exposure.check_response(between),
      rtol=1e-6)
  assert (np.diff(exposure.check_response(noisy), axis=0) > 0).all()
  noisy[101] = noisy[100] - 0.05
  with pytest.raises(errors.UserError, match='at 100 to .* at 101'):
    exposure.check_response(noisy)


@pytest.mark.parametrize('curve, message', [
    (np.ones((255, 3)), r'\[256\] or \[256, 3\].*got \[255, 3\]'),
    (np.ones((3, 256)), r'got \[3, 256\]'),
    (np.arange(256)[::-1], 'must rise.*channel 0 goes from 255 at 0'),
    (np.minimum(np.arange(256), 250), '250 at 250 to 250 at 251.*REDS'),
    (np.full(256, np.nan), 'must rise'),
    (np.append(np.arange(255), np.inf), 'must rise.* to inf at 255'),
])
def test_responses_that_do_not_rise(curve, message, frames):
  for call in (exposure.check_response,
               lambda curve: average(frames, response=curve)):
    with pytest.raises(errors.UserError, match=message):
      call(curve)


def test_pictures_that_do_not_fit_a_response():
  with pytest.raises(errors.UserError, match=r'\[256, 3\] does not fit.*of 4'):
    exposure.to_light(jnp.zeros((2, 2, 4)), response=measured())
  with pytest.raises(errors.UserError, match='from 1 to 254, got 255'):
    exposure.check_response(measured(), straight_above=255)


def test_windows_of_one_length():
  assert exposure.windows(0, 22) == [range(7), range(7, 14), range(14, 21)]
  assert exposure.windows(0, 13, shortest=13) == [range(13)]


@pytest.mark.parametrize('length', [7, 12, 99, 1000])
def test_random_windows_are_disjoint_odd_and_fill(length):
  found = exposure.windows((3, 1), length, shortest=7, longest=13)
  assert found == exposure.windows((3, 1), length, shortest=7, longest=13)
  ends = [0, *(window.stop for window in found)]
  assert [window.start for window in found] == ends[:-1]
  assert length - 7 < ends[-1] <= length
  lengths = {len(window) for window in found}
  assert lengths <= {7, 9, 11, 13}
  assert length < 1000 or lengths == {7, 9, 11, 13}


@pytest.mark.parametrize('bounds, message', [
    (dict(shortest=8), 'odd number of frames from 3 on.* got 8 to 8'),
    (dict(shortest=1), 'got 1 to 1'), (dict(shortest=-7), 'got -7 to -7'),
    (dict(shortest=7, longest=12), 'got 7 to 12'),
    (dict(shortest=9, longest=7), 'got 9 to 7'),
    (dict(shortest=101), '101 frames is longer than the sequence of 100'),
])
def test_invalid_windows(bounds, message):
  with pytest.raises(errors.UserError, match=message):
    exposure.windows(0, 100, **bounds)
