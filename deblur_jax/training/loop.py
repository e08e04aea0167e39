"""The training loop, and the functions that jit a method's steps.

This file does not depend on files, configs or the content of a method's state.
Deep image priors need hundreds of steps on one batch, so their steps run in
chunks.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from deblur_jax import errors
from deblur_jax.config import convert
from deblur_jax.state import Array, Batch, Method, Metrics, TrainState
from deblur_jax.training import parallel

# (finished steps, state, metrics) -> True to leave the loop after this step.
Hook = Callable[[int, TrainState, Metrics], bool | None]
MAX_CROP = 2**14
# With `per_image` these parts of the state have a row for each image.
ROWS = ('params', 'opt_state', 'ema', 'buffers')


def abstract_state(
    method: Method, crop: int, mesh: Mesh, *, split: bool = False
) -> TrainState:
  """Computes the shapes, dtypes and shardings of a method's state.

  Args:
    method: the method.
    crop: side of the crops, in pixels.
    mesh: the devices.
    split: see `parallel.state_shardings`.

  Returns:
    A state of `jax.ShapeDtypeStruct`s.

  Raises:
    UserError: the method's networks cannot process crops of this size.
  """
  crop = convert(crop, int, where='data.loader.crop')
  if not 1 <= crop <= MAX_CROP:
    raise errors.UserError(
        f'data.loader.crop must be 1 to {MAX_CROP:,}, got {crop}.')
  shapes = jax.eval_shape(
      method.init, jax.random.key(0), _crops(method, crop))
  return jax.tree.map(
      lambda x, sharding: jax.ShapeDtypeStruct(
          x.shape, x.dtype, sharding=sharding),
      shapes, parallel.state_shardings(shapes, mesh, split=split))


def check_step(
    method: Method, prepare: Callable[[Array, Batch], Batch], mesh: Mesh,
    state: TrainState, batch: Batch) -> None:
  """Traces a step of training without running it.

  Args:
    method: the method.
    prepare: as of `make_step`.
    mesh: the devices.
    state: shapes of the method's state.
    batch: shapes of a batch of the loader.

  Raises:
    UserError: the method or `prepare` refuses the batch.
    ValueError: the step changes the shapes of its state, or a metric is not a
      scalar: a fault of the method.
  """
  key = parallel.put_key(jax.random.key(0), mesh)
  after, metrics = make_step(method, prepare, mesh).eval_shape(
      state, batch, key)
  of = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  if of(after) != of(state):
    raise ValueError(
        f'The state after {method.step} has other shapes than after init.')
  if any(metric.shape for metric in metrics.values()):
    raise ValueError(f'Metrics must be scalars, got {of(metrics)}.')


def init(
    method: Method, key: Array, crop: int, mesh: Mesh, *, split: bool = False
) -> TrainState:
  """Initializes a method's state on all devices of a mesh.

  Args:
    method: the method.
    key: a PRNG key.
    crop: side of the crops, in pixels.
    mesh: the devices.
    split: see `parallel.state_shardings`.

  Returns:
    The state of step 0.
  """
  # Not jitted: XLA compiles the random numbers of 120 layers for minutes.
  # Copied by numpy, because no buffer may be twice in a donated state.
  state = jax.tree.map(np.asarray, method.init(key, _crops(method, crop)))
  return parallel.place(
      state, parallel.state_shardings(state, mesh, split=split))


def make_step(
    method: Method, prepare: Callable[[Array, Batch], Batch], mesh: Mesh, *,
    state: TrainState | None = None
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, Metrics]]:
  """Compiles the preparation of a batch and a step of the method.

  Args:
    method: the method.
    prepare: (key, batch of the loader) -> batch of the method: crops, blur,
      flips and noise, on the device.
    mesh: the devices; metrics are replicated over them.
    state: the abstract state with its shardings, which the next state has too;
      by default all of it is replicated. Whatever is split, a step computes
      with whole parameters.

  Returns:
    (state, batch, key) -> (state, metrics). The state is donated. The key is
    that of the run: randomness depends only on it and on `state.step`.
  """
  everywhere, split = parallel.replicated(mesh), parallel.split_batch(mesh)
  after = everywhere if state is None else jax.tree.map(
      lambda x: x.sharding, state)
  whole = lambda tree: jax.lax.with_sharding_constraint(tree, everywhere)
  # What is jitted is traced once for `check_step` and for the training.
  update = jax.jit(method.step, inline=True)

  def step(state: TrainState, batch: Batch, key: Array):
    key = jax.random.fold_in(key, state.step)
    key_data, key_method = jax.random.split(key)
    batch = prepare(key_data, batch)
    batch = jax.lax.with_sharding_constraint(batch, split)
    state = state.replace(
        params=whole(state.params), frozen=whole(state.frozen))
    return update(state, batch, key_method)

  return jax.jit(step, donate_argnums=0, out_shardings=(after, everywhere))


def make_chunk(
    method: Method, *, steps: int, mesh: Mesh, in_turn: bool | None = None
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, Metrics]]:
  """Compiles several steps on one batch; each device has its own images.

  Args:
    method: one with `per_image`, its state from `spread`.
    steps: number of steps of a chunk.
    mesh: the devices.
    in_turn: whether each device processes its images one after another, a chunk
      for each, and not all at once. By default on CPUs: one image uses all
      cores, and convolutions with different weights for each image are slow.

  Returns:
    (state, batch, key) -> (state, metrics, each [steps, n]). The state is
    donated. Randomness depends only on the key and on `state.step`.
  """
  def chunk(state: TrainState, batch: Batch, key: Array):
    def one(state, _):
      return method.step(state, batch, jax.random.fold_in(key, state.step))

    return jax.lax.scan(one, state, length=steps)

  if in_turn is None:
    in_turn = parallel.platform(mesh) == 'cpu'
  # By shard_map: XLA cannot distribute the grouped convolutions of a vmap.
  rows, curves = PartitionSpec(parallel.AXIS), PartitionSpec(
      None, parallel.AXIS)

  def on_devices(state: TrainState, batch: Batch, key: Array):
    where = _rows_of(state)
    several = len(jax.tree.leaves(batch)[0]) > mesh.size
    run = functools.partial(_each, chunk) if in_turn and several else chunk
    return jax.shard_map(
        run, mesh=mesh, in_specs=(where, rows, PartitionSpec()),
        out_specs=(where, curves), check_vma=False)(state, batch, key)

  return jax.jit(on_devices, donate_argnums=0)


def _each(chunk, state: TrainState, batch: Batch, key: Array):
  """Runs a chunk for one image after another, and stacks the results."""
  rows = {name: getattr(state, name) for name in ROWS}

  def one(row_and_item):
    row, item = jax.tree.map(lambda x: x[None], row_and_item)
    new, curve = chunk(state.replace(**row), item, key)
    row = {name: getattr(new, name) for name in ROWS}
    return (jax.tree.map(lambda x: x[0], row),
            jax.tree.map(lambda x: x[:, 0], curve))

  rows, curve = jax.lax.map(one, (rows, batch))
  steps = len(jax.tree.leaves(curve)[0][0])
  return (state.replace(step=state.step + steps, **rows),
          jax.tree.map(jnp.transpose, curve))


def spread(state: TrainState, mesh: Mesh) -> TrainState:
  """Distributes the rows of the state of a method with `per_image`.

  Args:
    state: of the method.
    mesh: the devices.

  Returns:
    The state, on the devices.
  """
  def place(x, where):
    # Copied by numpy, because no buffer may be twice in a donated state.
    return parallel.put(np.asarray(x), NamedSharding(mesh, where))

  return jax.tree.map(
      lambda where, part: jax.tree.map(lambda x: place(x, where), part),
      _rows_of(state), state, is_leaf=lambda x: isinstance(x, PartitionSpec))


def _rows_of(state: TrainState) -> TrainState:
  """The partition of the parts of such a state, a prefix of its tree."""
  rows, everywhere = PartitionSpec(parallel.AXIS), PartitionSpec()
  parts = {field.name: rows if field.name in ROWS else everywhere
           for field in dataclasses.fields(state)}
  return TrainState(**parts)


def on_mesh(fn: Callable, mesh: Mesh) -> Callable:
  """Jits a function; its results are replicated over the mesh."""
  return jax.jit(fn, out_shardings=parallel.replicated(mesh))


def fit(
    step_fn, state: TrainState, batches: Iterable[Batch], key: Array,
    num_steps: int, *, hooks: Iterable[Hook] = ()
) -> TrainState:
  """Trains from `state.step` to `num_steps`, with hooks after each step.

  Args:
    step_fn: the result of `make_step`.
    state: the initial state; it is donated.
    batches: the batches from step `state.step` on.
    key: the PRNG key of the run.
    num_steps: the number of the last step.
    hooks: all are called after each step. If any returns True, the loop ends.

  Returns:
    The last state.
  """
  first = int(state.step)
  steps = range(first + 1, num_steps + 1)
  for step, batch in zip(steps, batches, strict=False):
    state, metrics = step_fn(state, batch, key)
    if any([hook(step, state, metrics) for hook in hooks]):
      break
  return state


def _crops(method: Method, crop: int, batch_size: int = 1) -> Batch:
  of = lambda frames: jax.ShapeDtypeStruct(
      (batch_size, crop, crop, 3 * frames), jnp.float32)
  return {'blur': of(method.window), 'sharp': of(1)}
