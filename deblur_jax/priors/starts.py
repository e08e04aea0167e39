"""Where a fit begins: at random, from a fit before, or where others began well.

A start that was learned from a few photos needs fewer steps (Reptile; Nichol,
Achiam and Schulman 2018, algorithm 1 in batches):

  theta <- theta + e mean_i (theta_i - theta)

theta_i being what a fit of some steps to the i-th problem makes of theta, and e
falling to 0. Fits of the same seed and size have the same code, and gain most.
Or the network was trained to restore, and goes on with the one picture that it
is given (method.code='observed').
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors, methods
from deblur_jax.inference import batches
from deblur_jax.methods import pretrained
from deblur_jax.ops import arrays
from deblur_jax.priors.problems import Problem
from deblur_jax.state import (
  Array,
  Batch,
  Method,
  Params,
  TrainState,
  check_same_shapes,
)
from deblur_jax.training import loop, parallel


def begin(
    method: Method, key: Array, batch: Batch, start: Params = None
) -> TrainState:
  """The method's first state, each image with the parameters of `start`.

  Raises:
    UserError: parameters of another network.
  """
  state = method.init(key, batch)
  if start is None:
    return state
  check_same_shapes(
      start, jax.tree.map(lambda x: x[0], state.params), what='The start')
  count = len(batch['observed'])
  return state.replace(params=jax.tree.map(
      lambda x: jnp.broadcast_to(x, (count, *x.shape)), start))


def learn(
    config: Mapping[str, Any], tasks: Sequence[Problem], *, rounds: int,
    steps: int = 50, rate: float = 1.0, at_once: int = 4,
    on_round: Callable[[int, float], None] = lambda done, loss: None) -> Params:
  """Parameters from which fits of such problems are quick.

  Args:
    config: of the fits, see `solve.run`.
    tasks: problems of one shape.
    rounds: how often theta moves.
    steps: of each fit.
    rate: e at the beginning.
    at_once: problems in each round, a multiple of the devices.
    on_round: called with the finished rounds and the mean of the last losses.

  Raises:
    UserError: problems of several shapes, numbers below 1.
  """
  _check(tasks, rounds=rounds, steps=steps, at_once=at_once)
  method, mesh = methods.build(config), parallel.data_mesh()
  run_chunk = loop.make_chunk(method, steps=steps, mesh=mesh)
  key = jax.random.key(config['seed'])
  order = np.random.default_rng(config['seed'])
  theta = None
  for done in range(rounds):
    chosen = order.choice(len(tasks), at_once, replace=at_once > len(tasks))
    batch = {name: np.stack([tasks[i].batch[name] for i in chosen])
             for name in tasks[0].batch}
    state = begin(method, key, batch, theta)
    if theta is None:
      theta = jax.tree.map(lambda x: x[0], state.params)
    fitted = batches.fit_images(
        method, batch, key, steps, mesh, chunk=steps, run_chunk=run_chunk,
        state=state)
    move = rate * (1 - done / rounds)
    theta = jax.tree.map(
        lambda old, new, e=move: old + e * (new.mean(axis=0) - old), theta,
        jax.tree.map(np.asarray, fitted.state.params))
    on_round(done + 1, float(fitted.curve['loss'][-1].mean()))
  return jax.tree.map(np.asarray, theta)


def read(path: str | os.PathLike) -> Params:
  """Parameters by network, of experiments.prior_start, of a fit, or of a run.

  A run's network that restores, an `hourglass` trained on pairs, is where the
  network 'net' of a prior begins.
  """
  if os.path.isdir(path):
    return {'net': pretrained.any_weights(pretrained.Start(str(path)))}
  return arrays.load_tree(
      path, what='the start that experiments.prior_start wrote')


def _check(tasks, **counts):
  for name, count in counts.items():
    if count < 1:
      raise errors.UserError(f'{name} must be at least 1, got {count}.')
  shapes = {str({key: np.shape(value) for key, value in task.batch.items()})
            for task in tasks}
  if len(shapes) != 1:
    raise errors.UserError(
        f'A start is learned from pictures of one size, got {len(shapes)} '
        'sizes; give --crop.')
