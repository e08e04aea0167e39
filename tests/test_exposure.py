"""Averaging frames through a response curve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import types
from deblur_jax.blur import exposure

GAMMAS = [0.5, 1.0, 2.2, 3.0]


@pytest.fixture(scope='module')
def frames():
  return jnp.asarray(
      np.random.default_rng(0).random((5, 2, 8, 6, 3), dtype=np.float32))


def test_golden():
  frames = jnp.array([0.0, 1.0])[:, None, None, None]
  np.testing.assert_allclose(
      exposure.average(frames)[0, 0, 0], 0.5 ** (1 / 2.2), rtol=1e-6)
  np.testing.assert_allclose(exposure.average(frames, gamma=1.0), [[[0.5]]])


@pytest.mark.parametrize('gamma', GAMMAS)
def test_agrees_with_numpy(gamma, frames):
  wide = np.asarray(frames, np.float64)
  np.testing.assert_allclose(
      exposure.average(frames, gamma=gamma),
      (wide ** gamma).mean(0) ** (1 / gamma), atol=2e-6)


@pytest.mark.parametrize('gamma', GAMMAS)
def test_frames_that_agree_are_kept(gamma):
  still = jnp.linspace(0, 1, 256)[:, None, None]
  frames = jnp.broadcast_to(still[None], (7, 256, 1, 1))
  np.testing.assert_allclose(
      exposure.average(frames, gamma=gamma), still, atol=2e-6)


def test_gamma_brightens_what_was_bright_for_a_moment(frames):
  assert (exposure.average(frames) >= exposure.average(frames, gamma=1.0)).all()


@pytest.mark.parametrize('gamma', GAMMAS)
def test_gradients_are_finite_down_to_black(gamma):
  frames = jnp.array([[0.0, 1e-6, 0.5, 1.0], [0.0, 0.0, 0.0, 1.0]])
  slope = jax.grad(lambda x: exposure.average(x, gamma=gamma).sum())(frames)
  assert np.isfinite(slope).all()


def test_mean_over_holds_one_frame_at_a_time():
  render = lambda moment: jnp.full((256, 256), moment)
  mean = jax.jit(lambda moments: exposure.mean_over(render, moments))
  moments = jnp.arange(100.0)
  np.testing.assert_allclose(mean(moments), 49.5 + np.zeros((256, 256)))
  memory = mean.lower(moments).compile().memory_analysis()
  assert memory.temp_size_in_bytes < 4 * 256 * 256 * 4


@pytest.mark.parametrize('gamma', [0.0, -1.0, float('nan'), float('inf')])
def test_gamma_must_be_above_zero(gamma, frames):
  with pytest.raises(types.UserError, match='gamma must be a number above 0'):
    exposure.average(frames, gamma=gamma)


def test_no_frames():
  with pytest.raises(types.UserError, match=r'one or more frames.*\(0, 4'):
    exposure.average(jnp.zeros((0, 4, 4, 3)))
