"""Parameters to begin fits with: of an earlier fit, learned, or trained.

A learned start needs fewer steps (Reptile; Nichol, Achiam and Schulman 2018,
algorithm 1, in batches):

  theta <- theta + e mean_i (theta_i - theta)

theta_i is what a fit of some steps to the i-th problem makes of theta, and e
falls to 0. Fits of one seed and size have one code, and gain most. A network
that was trained to restore can begin as well: it takes the picture as its code
(method.code='observed').
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors, methods
from deblur_jax.inference import restoration
from deblur_jax.methods import pretrained
from deblur_jax.ops import array_files
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
  """The method's first state, with the parameters of `start` for each image.

  Args:
    method: one with `per_image`.
    key: of the run.
    batch: a row for each image.
    start: parameters by network; None leaves the method's random ones.

  Raises:
    UserError: `start` is of another network.
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
    config: Mapping[str, Any], problems: Sequence[Problem], *, rounds: int,
    steps: int = 50, rate: float = 1.0, at_once: int = 4,
    on_round: Callable[[int, float], None] = lambda done, loss: None) -> Params:
  """Learns parameters from which fits of similar problems need fewer steps.

  Args:
    config: of the fits, see `solve.run`.
    problems: the problems, of one shape.
    rounds: updates of theta, at least 1.
    steps: of each fit, at least 1.
    rate: e in the first round.
    at_once: problems in each round, a multiple of the devices.
    on_round: called with the finished rounds and the mean of the last losses.

  Returns:
    Parameters by network, NumPy.

  Raises:
    UserError: problems of several shapes, numbers below 1.
  """
  _check(problems, rounds=rounds, steps=steps, at_once=at_once)
  method, mesh = methods.build(config), parallel.data_mesh()
  run_chunk = loop.make_chunk(method, steps=steps, mesh=mesh)
  key = jax.random.key(config['seed'])
  order = np.random.default_rng(config['seed'])
  theta = None
  for done in range(rounds):
    chosen = order.choice(
        len(problems), at_once, replace=at_once > len(problems))
    batch = {name: np.stack([problems[i].batch[name] for i in chosen])
             for name in problems[0].batch}
    state = begin(method, key, batch, theta)
    if theta is None:
      theta = jax.tree.map(lambda x: x[0], state.params)
    fitted = restoration.fit_images(
        method, batch, key, steps, mesh, chunk=steps, run_chunk=run_chunk,
        state=state)
    move = rate * (1 - done / rounds)
    theta = jax.tree.map(
        lambda old, new, e=move: old + e * (new.mean(axis=0) - old), theta,
        jax.tree.map(np.asarray, fitted.state.params))
    on_round(done + 1, float(fitted.curve['loss'][-1].mean()))
  return jax.tree.map(np.asarray, theta)


def read(path: str | os.PathLike) -> Params:
  """Reads parameters by network.

  Args:
    path: a file of `experiments.prior_start` or of `results.write`; or the
      folder of a run, whose trained network, such as an `hourglass`, becomes
      the network 'net' of a prior.

  Raises:
    UserError: nothing there, or another kind of file.
  """
  if os.path.isdir(path):
    return {'net': pretrained.any_weights(pretrained.Start(str(path)))}
  return array_files.load_tree(
      path, what='a start, as experiments.prior_start writes it')


def _check(problems, **counts):
  for name, count in counts.items():
    if count < 1:
      raise errors.UserError(f'{name} must be at least 1, got {count}.')
  shapes = {str({key: np.shape(value) for key, value in one.batch.items()})
            for one in problems}
  if len(shapes) != 1:
    raise errors.UserError(
        f'A start is learned from pictures of one size, got {len(shapes)} '
        'sizes; give --crop.')
