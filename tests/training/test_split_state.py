"""Training with the arrays of the state split over the devices."""

import os
import subprocess
import sys

import helpers
import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from deblur_jax import methods
from deblur_jax.training import loop, parallel


def test_the_longest_axis_that_the_devices_divide_is_split():
  mesh = AbstractMesh((8,), (parallel.AXIS,), axis_types=(AxisType.Auto,))
  shapes = {'kernel': (3, 3, 64, 128), 'odd': (5, 5, 63, 9), 'bias': (128,),
            'rows': (256, 100), 'step': ()}
  of = lambda **options: {
      name: sharding.spec for name, sharding in parallel.state_shardings(
          {name: np.broadcast_to(np.float32(0), shape)
           for name, shape in shapes.items()}, mesh, **options).items()}
  assert of(split=True) == {
      'kernel': PartitionSpec(None, None, None, 'data'), 'odd': PartitionSpec(),
      'bias': PartitionSpec(), 'rows': PartitionSpec('data'),
      'step': PartitionSpec()}
  assert of(split=True, least=1)['bias'] == PartitionSpec('data')
  assert {*of(split=False).values()} == {PartitionSpec()}


def main():
  """On four devices: what is kept, and the step of a split state."""
  method = methods.build(helpers.tiny(**{
      'nets.net': dict(name='multiscale', scales=1, blocks=1, features=16),
      'method.ema': 0.9}))
  mesh = parallel.data_mesh()
  batch = {key: parallel.put(
      np.random.default_rng(1).random((4, 16, 16, 3), np.float32),
      parallel.split_batch(mesh)) for key in ('blur', 'sharp')}
  key = parallel.put_key(jax.random.key(1), mesh)
  states, bytes_kept = [], []
  for split in (False, True):
    abstract = loop.abstract_state(method, 16, mesh, split=split)
    state = loop.init(method, jax.random.key(0), 16, mesh, split=split)
    step = loop.make_step(
        method, lambda key, batch: batch, mesh, state=abstract)
    for _ in range(2):
      state, metrics = step(state, batch, key)
    after = jax.tree.map(lambda x: x.sharding, abstract)
    assert jax.tree.map(lambda x: x.sharding, state) == after
    assert all(value.is_fully_replicated for value in metrics.values())
    states.append(state)
    bytes_kept.append(sum(leaf.addressable_data(0).nbytes
                          for leaf in jax.tree.leaves(state)))
  assert bytes_kept[1] < 0.4 * bytes_kept[0], bytes_kept
  whole = parallel.whole(states[1], mesh)
  assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(whole))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-6), whole, states[0])


def test_a_step_gives_the_state_of_a_replicated_one():
  # A process, because the number of devices is fixed when jax starts.
  done = subprocess.run(
      [sys.executable, '-c', 'import jax; '
       'jax.config.update("jax_num_cpu_devices", 4); '
       'from tests.training import test_split_state as t; t.main()'],
      cwd=helpers.ROOT, capture_output=True, text=True, timeout=200,
      env=os.environ | {'PYTHONPATH': f'{helpers.ROOT}:{helpers.ROOT}/tests'})
  assert done.returncode == 0, done.stderr[-2000:]
