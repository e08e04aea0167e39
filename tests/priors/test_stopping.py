"""Rules that stop the fit of one image, and what a fit keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors
from deblur_jax.priors import fit_record, stopping

OPTIONS = {'discrepancy': dict(sigma=0.1), 'wmv': dict(window=5),
           'emv': dict(warmup=3), 'held_out': dict(warmup=3)}


def seen(step, image, **values):
  values = dict(fit=0.1, held_out=0.2, sure=0.01) | values
  return stopping.Seen(image=image, step=np.int32(step), **{
      name: np.float32(value) for name, value in values.items()})


def walk(count=30, size=4):
  """Outputs that settle and then begin to change again, more and more."""
  random = np.random.default_rng(0)
  away = np.abs(np.linspace(-1, 1, count))[:, None, None, None]
  outputs = 0.5 + 0.2 * away * random.normal(size=(count, size, size, 3))
  return outputs.astype(np.float32)


def scores(rule, images, **values):
  memory = rule.init(images[0])
  found = []
  score = jax.jit(rule.score)
  for step, image in enumerate(images):
    memory, value = score(memory, seen(step, image, **values))
    found.append(float(value))
  return np.array(found)


@pytest.mark.parametrize('name', stopping.RULES)
def test_every_rule_gives_a_number_and_maps_over_images(name):
  rule = stopping.build(name=name, **OPTIONS.get(name, {}))
  images = walk(12)
  found = scores(rule, images)
  assert np.isfinite(found[-1]) and not np.isnan(found).any()

  both = np.stack([images, images[::-1]], axis=1)
  memory = jax.vmap(rule.init)(both[0])
  step = jax.jit(jax.vmap(rule.score))
  for i, pair in enumerate(both):
    memory, value = step(memory, jax.vmap(lambda x, i=i: seen(i, x))(pair))
  np.testing.assert_allclose(value[0], found[-1], rtol=1e-5)


def test_window_is_the_variance_of_the_last_outputs():
  images = walk(23)
  found = scores(stopping.wmv(window=5), images)
  assert np.isinf(found[:4]).all()
  for step in range(4, 23):
    window = images[step - 4:step + 1]
    expected = np.mean(np.square(window - window.mean(axis=0)))
    np.testing.assert_allclose(found[step], expected, rtol=1e-4)


def test_moving_variance_is_the_papers():
  images = walk(10)
  found = scores(stopping.emv(rate=0.3, warmup=2), images)
  mean, variance = images[0], 0.0
  for step, image in enumerate(images):
    away = image - mean
    mean = mean + 0.3 * away
    variance = 0.7 * (variance + 0.3 * np.mean(np.square(away)))
    if step >= 2:
      np.testing.assert_allclose(found[step], variance, rtol=1e-5)
  assert np.isinf(found[:2]).all()


@pytest.mark.parametrize('rule', [
    stopping.emv(rate=0.3, warmup=5), stopping.wmv(window=5)])
def test_the_lowest_score_is_where_the_outputs_have_settled(rule):
  lowest = int(np.argmin(scores(rule, walk(40))))
  assert 17 <= lowest <= 26


def test_discrepancy_is_lowest_where_the_fit_is_the_noise():
  rule = stopping.discrepancy(sigma=0.1, rate=0.9)
  memory = rule.init(jnp.zeros((2, 2, 3)))
  found = []
  for step, fit in enumerate(np.linspace(0.04, 0.002, 20)):
    memory, value = rule.score(
        memory, seen(step, jnp.zeros((2, 2, 3)), fit=fit))
    found.append(float(value))
  assert abs(np.linspace(0.04, 0.002, 20)[np.argmin(found)] - 0.01) < 2e-3


def follow(rule, images, fits=None, average=0.5):
  record = fit_record.init(rule, np.zeros_like(images[0]), {})
  add = jax.jit(lambda record, what: fit_record.add(
      rule, record, what, average=average))
  history = []
  for step, image in enumerate(images):
    fit = 0.1 if fits is None else fits[step]
    record = add(record, seen(step, image, fit=fit))
    history.append(record)
  return history


def test_a_record_keeps_the_best_and_stops_after_patience():
  rule = stopping.emv(rate=0.3, warmup=5, patience=6)
  images = walk(60)
  history = follow(rule, images, average=0.75)
  stop = next(i for i, one in enumerate(history) if one['stopped'])
  best = int(history[stop]['best_step'])
  assert stop - best == 6
  kept = history[stop]['kept']
  np.testing.assert_array_equal(kept['best'], images[best])
  np.testing.assert_array_equal(kept['last'], images[stop])
  mean = images[0]
  # About the best step: with a decay of 3/4 its outputs are 3 steps old.
  for step, image in enumerate(images[1:best + 4], 1):
    decay = min(0.75, (1 + step) / (10 + step))
    mean = decay * mean + (1 - decay) * image
  np.testing.assert_allclose(kept['best_average'], mean, rtol=1e-5)


def test_without_a_stop_the_last_is_the_best():
  kept = follow(stopping.fixed(), walk(7))[-1]['kept']
  for one, other in (('best', 'last'), ('best_average', 'average')):
    np.testing.assert_allclose(kept[one], kept[other], rtol=1e-6)


def test_an_average_of_nothing_new_is_refused():
  with pytest.raises(errors.UserError, match='average must be .* got 1.0'):
    follow(stopping.fixed(), walk(2), average=1.0)


def test_before_the_rule_can_tell_the_last_is_the_best():
  images = walk(4)
  kept = follow(stopping.emv(warmup=100), images)[-1]['kept']
  np.testing.assert_array_equal(kept['best'], images[-1])
  np.testing.assert_allclose(
      kept['best_average'], kept['average'], rtol=1e-6)


def test_a_step_that_is_not_finite_does_not_count():
  images = walk(4)
  images[2] = np.nan
  fits = [0.1, 0.1, np.nan, 0.1]
  history = follow(stopping.fixed(), images, fits)
  jax.tree.map(np.testing.assert_array_equal, history[1], history[2])
  assert np.isfinite(history[3]['kept']['average']).all()


@pytest.mark.parametrize('fits, loss, expected', [
    ((0.01, 0.1), 1.0, 1.0),            # fell by 10 dB: those of the check
    ((0.01, 0.02), 1.0, 3.0),           # by 3 dB: continues
    ((0.01, 0.01), np.nan, 1.0),        # broken: those of the check
])
def test_backtracking(fits, loss, expected):
  record = fit_record.init(stopping.fixed(), jnp.zeros((2, 2, 3)),
                           jnp.zeros(()))
  image = jnp.zeros((2, 2, 3))
  state = jnp.float32(1.0), jnp.float32(10.0)
  for step, fit in enumerate(fits):
    new = state[0] + 1, state[1] + 1
    params, opt_state, record, back = fit_record.backtrack(
        record, seen(step, image, fit=fit), state, new,
        jnp.isfinite(loss if step else 1.0), decibels=5.0, every=1)
    state = params, opt_state
  assert float(params) == expected
  assert bool(back) == (expected == 1.0)
  # The moments continue, but for a step that is left out.
  assert float(opt_state) == (11.0 if np.isnan(loss) else 12.0)


@pytest.mark.parametrize('options, message', [
    (dict(name='evm'), "Unknown method.stopping.name 'evm'.*'emv'"),
    (dict(name='emv', patence=3), 'method.stopping.patence; .*patience'),
    (dict(name='emv', patience=0), 'patience must be at least 1, got 0'),
    (dict(name='emv', rate=1.5), 'rate must lie between 0 and 1, got 1.5'),
    (dict(name='held_out', share=0.0), 'share must lie between 0 and 1'),
    (dict(name='discrepancy'), 'method.stopping.sigma is missing'),
    (dict(name='discrepancy', sigma=0.0), 'sigma must be above 0, got 0'),
])
def test_mistakes_are_one_line(options, message):
  with pytest.raises(errors.UserError, match=message):
    stopping.build(**options)
