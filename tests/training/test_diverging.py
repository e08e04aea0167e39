"""Losses and states that are not finite: stopped, named, nothing kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import steps

from deblur_jax import errors, methods
from deblur_jax.methods import learner
from deblur_jax.training import checkpoint, hooks, loop, parallel, workdir
from deblur_jax.training.train import Setup

LEARNING = [name for name, config in steps.CONFIGS.items() if config['optim']]


def recorder(name, method, state, folder, **changes):
  """The hook of a run, and its checkpoints: one of step 0."""
  config = steps.CONFIGS[name] | {
      'tensorboard': False, 'save_every': 100, 'log_every': 100,
      'total_steps': 100} | changes
  checkpoints = checkpoint.Checkpoints(folder / workdir.CHECKPOINTS)
  checkpoints.save(0, state, {'psnr_uint8': 20.0})
  checkpoints.wait()
  parts = Setup(method, *[None] * 11)._replace(
      abstract_state=state, mesh=parallel.data_mesh(),
      names=lambda step: [f'{step}/{i}' for i in 'ab'])
  # What validation sees stays good: it does not read every network.
  validate = lambda state: ({'psnr_uint8': 21.0}, lambda: np.zeros(
      (2, 2, 3), np.uint8))
  return hooks.Recorder(
      config, folder, parts, checkpoints, validate, finished=0), checkpoints


def broken(tree, value=np.nan):
  fill = lambda x: np.full_like(x, value) if x.dtype.kind == 'f' else x
  return jax.tree.map(fill, tree)


@pytest.mark.parametrize('name', LEARNING)
def test_a_state_that_is_not_finite_is_not_saved(name, tmp_path):
  """Each part of each method's state, also where the metrics are finite."""
  method = methods.build(steps.CONFIGS[name])
  shapes = loop.abstract_state(method, 16, parallel.data_mesh())
  state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  hook, checkpoints = recorder(name, method, state, tmp_path, save_every=1)
  metrics = {'loss': 1.0}
  for part in ('params', 'opt_state', 'ema'):
    for key, tree in getattr(state, part).items():
      changed = state.replace(
          **{part: getattr(state, part) | {key: broken(tree)}})
      with pytest.raises(errors.UserError, match=(
          rf'^Step 1: {part}/{key}/\S+ is not finite.*; stopped\. \S+ has a '
          r'good checkpoint of step 0; train again with [^\n]*$')):
        hook(1, changed, metrics)
  hook.close()
  assert checkpoints.latest_step() == 0
  checkpoints.close()


@pytest.mark.parametrize('name, network', [
    ('adversarial', 'discriminator'), ('adversarial', 'generator'),
    ('cycle', 'is_blur'), ('cycle', 'to_blur')])
@pytest.mark.parametrize('value', [np.nan, 1e30])
def test_a_step_that_diverges_stops(name, network, value, tmp_path):
  """By the metrics of the next step, and nothing is saved in between."""
  method, state, step, batch, key, mesh = steps.parts_of(name)
  hook, checkpoints = recorder(name, method, state, tmp_path)
  params = state.params | {network: jax.tree.map(
      lambda leaf: value * leaf, state.params[network])}
  state, metrics = step(state.replace(params=params), batch, key)
  hook(1, state, metrics)
  with pytest.raises(errors.UserError, match=(
      r'^Step 1: .* = (nan|-?inf).*; stopped\. \S+ has a good checkpoint of '
      r'step 0;')):
    hook(2, state, metrics)
  hook.close()
  assert checkpoints.latest_step() == 0
  checkpoints.close()


def test_golden_losses_where_nothing_diverges():
  _, state, step, batch, key, _ = steps.parts_of('adversarial')
  losses = []
  for _ in range(31):
    state, metrics = step(state, batch, key)
    losses.append(float(metrics['loss']))
  np.testing.assert_allclose(
      losses[::10], [0.469314, 0.380625, -0.091995, -0.058668], atol=1e-3)


def test_a_pixel_that_is_not_a_number_stops(tmp_path):
  method, state, step, batch, key, mesh = steps.parts_of('adversarial')
  hook, checkpoints = recorder('adversarial', method, state, tmp_path)
  blur = np.array(batch['blur'])
  blur[1, 2, 3, 0] = np.nan
  blur = jax.device_put(blur, batch['blur'].sharding)
  state, metrics = step(state, batch | {'blur': blur}, key)
  hook(7, state, metrics)
  with pytest.raises(errors.UserError, match=(
      r'^Step 7: [^\n]*content = nan[^\n]*checkpoint of step 0;[^\n]* '
      r'The batch has 7/a, 7/b\.$')):
    hook(8, state, metrics)
  hook.close()
  assert checkpoints.latest_step() == 0
  checkpoints.close()


def test_an_infinite_gradient_of_a_finite_loss_stops(tmp_path):
  method, state, *_ = steps.parts_of('adversarial')
  hook, checkpoints = recorder('adversarial', method, state, tmp_path)
  gradients = {'kernel': jnp.array([1.0, jnp.inf])}
  hook(1, state, learner.logged(jnp.array(0.5), gradients, jnp.array(1e-4)))
  with pytest.raises(
      errors.UserError, match=r'^Step 1: grad_norm = inf; stopped'):
    hook(2, state, {})
  hook.close()
  checkpoints.close()


def test_an_alarm_is_given_once(tmp_path, caplog):
  method, state, *_ = steps.parts_of('adversarial')
  hook, checkpoints = recorder(
      'adversarial', method, state, tmp_path, log_every=1)
  flat = {'loss': 0.1, 'discriminator_loss': 0.0, 'penalty': 10.0,
          'discriminator_real': 0.3, 'discriminator_fake': 0.3}
  for step in range(1, 13):
    hook(step, state, flat)
  hook.close()
  checkpoints.close()
  warned = [record.getMessage() for record in caplog.records
            if 'discriminator' in record.getMessage()]
  assert len(warned) == 1
  assert warned[0].startswith('Step 5: The discriminator has collapsed')
