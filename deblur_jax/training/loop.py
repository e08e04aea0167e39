"""THE loop, and the only place where anything is jitted.

Nothing here knows of disks, configs or methods' insides. Deep image priors see
one batch for hundreds of steps, so theirs go in chunks.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from deblur_jax.state import Array, Batch, Method, Metrics, TrainState
from deblur_jax.training import parallel

# (finished steps, state, metrics) -> True to leave the loop after this step.
Hook = Callable[[int, TrainState, Metrics], bool | None]
# What has a row for each image in the state of a method with `per_image`.
ROWS = ('params', 'opt_state', 'ema', 'buffers')


def abstract_state(method: Method, crop: int, mesh: Mesh) -> TrainState:
  """Shapes, dtypes and shardings of a method's state for crops [crop, crop].

  Raises:
    UserError: the method's networks cannot take such crops.
  """
  shapes = jax.eval_shape(
      method.init, jax.random.key(0), _crops(method, crop))
  everywhere = parallel.replicated(mesh)
  return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
      shapes)


def check_step(
    method: Method, prepare: Callable[[Array, Batch], Batch],
    state: TrainState, batch: Batch) -> None:
  """Traces a step of training without running it.

  Args:
    method: the method.
    prepare: as of `make_step`.
    state: shapes of the method's state.
    batch: shapes of a batch of the loader.

  Raises:
    UserError: what the method and `prepare` refuse.
    ValueError: the step changes the shapes of its state, or a metric is not a
      scalar: a fault of the method.
  """
  def step(state, batch, key):
    return method.step(state, prepare(key, batch), key)

  after, metrics = jax.eval_shape(step, state, batch, jax.random.key(0))
  of = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  if of(after) != of(state):
    raise ValueError(
        f'The step of {method.step} gives a state of other shapes than init.')
  if any(metric.shape for metric in metrics.values()):
    raise ValueError(f'Metrics must be scalars, got {of(metrics)}.')


def init(method: Method, key: Array, crop: int, mesh: Mesh) -> TrainState:
  """The first state, on all devices of the mesh."""
  # Not jitted: XLA would spend minutes on the random numbers of 120 layers.
  # By way of numpy, so that no buffer stands twice in a state to be donated.
  state = jax.tree.map(np.asarray, method.init(key, _crops(method, crop)))
  return parallel.put(state, parallel.replicated(mesh))


def make_step(
    method: Method, prepare: Callable[[Array, Batch], Batch], mesh: Mesh
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, Metrics]]:
  """One program: make the batch ready, then one step of the method.

  Args:
    method: the method.
    prepare: (key, batch of the loader) -> batch of the method; crops, blur,
      flips and noise are made here, on the device.
    mesh: the devices; metrics and state are replicated over them.

  Returns:
    (state, batch, key) -> (state, metrics). The state is donated. The key is
    the run's; what is random follows from it and from `state.step` alone.
  """
  split = parallel.split_batch(mesh)

  def step(state: TrainState, batch: Batch, key: Array):
    key = jax.random.fold_in(key, state.step)
    key_data, key_method = jax.random.split(key)
    batch = prepare(key_data, batch)
    batch = jax.lax.with_sharding_constraint(batch, split)
    return method.step(state, batch, key_method)

  return jax.jit(
      step, donate_argnums=0, out_shardings=parallel.replicated(mesh))


def make_chunk(
    method: Method, *, steps: int, mesh: Mesh, in_turn: bool | None = None
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, Metrics]]:
  """Several steps on one batch as one program, each device with its images.

  Args:
    method: one with `per_image`; `spread` tells what lies where.
    steps: of a chunk.
    mesh: the devices.
    in_turn: on each device one image after another, a chunk of each, and not
      all at once. By default on CPUs, whose cores one image keeps busy: there
      convolutions with weights of their own for each image are slow.

  Returns:
    (state, batch, key) -> (state, metrics, each [steps, n]). The state is
    donated; what is random follows from the key and `state.step` alone.
  """
  def chunk(state: TrainState, batch: Batch, key: Array):
    def one(state, _):
      return method.step(state, batch, jax.random.fold_in(key, state.step))

    return jax.lax.scan(one, state, length=steps)

  if in_turn is None:
    in_turn = jax.default_backend() == 'cpu'
  # Not left to XLA: it cannot spread the grouped convolutions of a vmap.
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
  """The chunk for one image after another: its result for all of them."""
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
  """The state of a method with `per_image`: its rows over the devices."""
  def place(x, where):
    # By way of numpy, so that no buffer stands twice in a state to be donated.
    return parallel.put(np.asarray(x), NamedSharding(mesh, where))

  return jax.tree.map(
      lambda where, part: jax.tree.map(lambda x: place(x, where), part),
      _rows_of(state), state, is_leaf=lambda x: isinstance(x, PartitionSpec))


def _rows_of(state: TrainState) -> TrainState:
  """Where the parts of such a state lie, as the head of a tree."""
  rows, everywhere = PartitionSpec(parallel.AXIS), PartitionSpec()
  parts = {field.name: rows if field.name in ROWS else everywhere
           for field in dataclasses.fields(state)}
  return TrainState(**parts)


def on_mesh(fn: Callable, mesh: Mesh) -> Callable:
  """fn jitted, its results replicated over the mesh."""
  return jax.jit(fn, out_shardings=parallel.replicated(mesh))


def fit(
    step_fn, state: TrainState, batches: Iterable[Batch], key: Array,
    num_steps: int, *, hooks: Iterable[Hook] = ()
) -> TrainState:
  """Goes on from `state.step` to `num_steps`, calling the hooks after each.

  `batches` must begin with that of step `state.step`. All hooks see a step
  before any of them can end the loop.
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
