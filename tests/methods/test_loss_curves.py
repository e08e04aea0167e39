"""A small run: golden losses, and another number of devices."""

import functools

import jax
import numpy as np
import steps
from helpers import tiny

from deblur_jax import methods
from deblur_jax.training import checkpoint, loop, parallel

CONFIG = tiny(nets=dict(net=steps.SMALL), optim=dict(net=dict(lr=1e-2)))


@functools.cache
def program(devices):
  """(the first state as NumPy, the step, what puts arrays on the devices)."""
  mesh = parallel.data_mesh(jax.devices()[:devices])
  method = methods.build(CONFIG)
  first = loop.init(method, jax.random.key(0), 16, mesh)
  everywhere = parallel.replicated(mesh)
  batch = parallel.put(steps.batch_of(), parallel.split_batch(mesh))
  key = jax.device_put(jax.random.key(1), everywhere)
  step = loop.make_step(method, lambda key, batch: batch, mesh)
  return (jax.tree.map(np.asarray, first), lambda state: step(
      state, batch, key), lambda state: parallel.put(
          jax.tree.map(np.array, state), everywhere))


def straight(count):
  """The state after some steps on two devices, and their losses."""
  first, step, put = program(2)
  state, losses = put(first), []
  for _ in range(count):
    state, metrics = step(state)
    losses.append(float(metrics['loss']))
  return state, losses


def test_golden_losses():
  _, losses = straight(31)
  np.testing.assert_allclose(
      losses[::10], [0.489098, 0.271230, 0.259591, 0.253350], rtol=1e-3)


def test_a_run_continues_on_another_number_of_devices(tmp_path):
  """From its checkpoints, on one device, on two, and on one again."""
  losses = []
  for finished, devices in enumerate((1, 2, 1)):
    first, step, put = program(devices)
    state = put(first)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    if finished:
      state = checkpoints.restore(state)
      assert state.step.sharding.num_devices == devices
    state, metrics = step(state)
    losses.append(float(metrics['loss']))
    checkpoints.save(finished + 1, state, None)
    checkpoints.close()
  other, expected = straight(3)
  np.testing.assert_allclose(losses, expected, rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
               state.params, other.params)
