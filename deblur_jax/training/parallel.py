"""Data parallelism: a mesh with one axis, over which the batch is split.

A step is written for the global batch and jitted over the mesh. XLA adds the
sums over devices. Everything but the batch is replicated; the state can be
split between steps (Rajbhandari et al., ZeRO, SC 2020).
"""

import collections
import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from deblur_jax import errors
from deblur_jax.state import Batch

MAX_BATCH = 2**20
# Words of errors of collectives (Gloo, NCCL) and of jax's own connection.
_LOST = ('Connection reset by peer', 'Connection closed by peer',
         'Socket closed', 'remote process exited', 'are unhealthy')
AXIS = 'data'


def initialize(
    *, coordinator: str = '', num_processes: int = 0, process_id: int = -1,
    heartbeat: int = 100) -> None:
  """Joins the processes of a run; call it before the first use of a device.

  Without arguments jax detects SLURM, TPU pods, GKE and Open MPI; other systems
  need all three arguments.

  Args:
    coordinator: 'host:port' of process 0.
    num_processes: number of processes.
    process_id: number of this process, from 0.
    heartbeat: seconds without a sign of life after which a process has died and
      jax ends the others.

  Raises:
    UserError: only some arguments are given, or the processes cannot be joined.
  """
  given = (bool(coordinator), num_processes > 0, process_id >= 0)
  if any(given) and not all(given):
    raise errors.UserError(
        'Several processes need all of --coordinator=host:port, '
        '--num_processes and --process_id, or none of them under a scheduler '
        'that jax detects.')
  try:
    if all(given):
      jax.distributed.initialize(
          coordinator, num_processes, process_id,
          heartbeat_timeout_seconds=heartbeat)
    else:
      jax.distributed.initialize(heartbeat_timeout_seconds=heartbeat)
  except (ValueError, RuntimeError) as error:
    raise errors.UserError(
        'Could not join the other processes: '
        f'{str(error).splitlines()[0]}') from error


class PeerLost(errors.UserError):
  """Another process of the run has ended."""


@contextlib.contextmanager
def naming_lost_peers() -> Iterator[None]:
  """Explains the error that the other processes get when one of a run dies.

  Where no collective fails, jax ends them after `heartbeat` seconds without a
  sign of life, and at once where process 0 died; jax then prints the reason.

  Raises:
    PeerLost: a collective failed because a process has ended.
  """
  try:
    yield
  except errors.UserError:
    raise
  except Exception as error:
    if jax.process_count() == 1 or not any(
        words in str(error) for words in _LOST):
      raise
    raise PeerLost(
        f'Process {jax.process_index()} stops, because another process of this '
        f'run has ended ({errors.first_line(error)[:160]}). See what that one '
        'printed, and start all again; they resume from the last checkpoint.'
    ) from error


def data_mesh(devices=None) -> Mesh:
  """Makes a mesh of one axis.

  Args:
    devices: by default all devices of all processes.

  Returns:
    The mesh.
  """
  devices = jax.devices() if devices is None else devices
  # Auto: with Explicit axes linen's Dropout and plain indexing of a batch
  # fail. Not make_mesh, which may reorder the devices of a pod: the rows of a
  # batch must be on the process that read them.
  return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def platform(mesh: Mesh) -> str:
  """Returns the platform of a mesh: 'cpu', 'gpu' or 'tpu'."""
  return mesh.devices.flat[0].platform


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding with the whole array on each device."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
  """Returns the sharding with the first axis split over the devices."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def state_shardings(
    shapes: Any, mesh: Mesh, *, split: bool, least: int = 2**10) -> Any:
  """Returns the shardings of a state.

  Args:
    shapes: the tree of the state; anything with a shape.
    mesh: the devices.
    split: whether arrays are split over the devices, along the longest of their
      axes that the devices divide; otherwise all are replicated.
    least: arrays with fewer values are replicated.
  """
  def sharding(x):
    axes = [axis for axis, length in enumerate(x.shape)
            if length % mesh.size == 0]
    if not (split and axes and math.prod(x.shape) >= least):
      return replicated(mesh)
    longest = max(axes, key=lambda axis: x.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, AXIS))

  return jax.tree.map(sharding, shapes)


def place(tree: Any, shardings: Any) -> Any:
  """Makes global arrays from whole arrays, which each process has.

  Args:
    tree: arrays.
    shardings: the tree of their shardings.
  """
  return jax.tree.map(
      lambda x, sharding: jax.make_array_from_callback(
          x.shape, sharding, lambda index: x[index]), tree, shardings)


def whole(tree: Any, mesh: Mesh) -> Any:
  """Replicates the arrays of a tree that are split over the devices."""
  return jax.device_put(tree, replicated(mesh))


def any_process(flags: Sequence[bool]) -> np.ndarray:
  """Whether each flag is true in any process; all call it.

  Args:
    flags: of this process, as many as in the others.
  """
  if jax.process_count() == 1:
    return np.asarray(flags, bool)
  return multihost_utils.process_allgather(np.asarray(flags, bool)).any(0)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Checks that the devices divide a batch.

  Args:
    batch_size: of the global batch.
    mesh: the devices.

  Raises:
    UserError: they do not, or it is larger than MAX_BATCH.
  """
  if batch_size > MAX_BATCH:
    raise errors.UserError(
        f'batch_size must be at most {MAX_BATCH:,}, got {batch_size}.')
  if batch_size < 1 or batch_size % mesh.size:
    raise errors.UserError(
        f'batch_size = {batch_size} is not divisible by the {mesh.size} '
        f'devices; try --config.batch_size='
        f'{max(mesh.size, batch_size // mesh.size * mesh.size)}.')


def put(tree: Any, sharding: NamedSharding) -> Any:
  """Makes global arrays from arrays of this process.

  Args:
    tree: arrays. Each process passes only its rows for `split_batch`, and the
      whole array for `replicated`.
    sharding: of the global arrays.

  Returns:
    The tree of global arrays.
  """
  return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def put_key(key: jax.Array, mesh: Mesh) -> jax.Array:
  """Replicates a PRNG key, which all processes have, over all devices."""
  words = put(np.asarray(jax.random.key_data(key)), replicated(mesh))
  return jax.random.wrap_key_data(words)


def prefetch(
    batches: Iterable[Batch], mesh: Mesh, *, depth: int = 2
) -> Iterator[Batch]:
  """Copies batches to the mesh before their use.

  Args:
    batches: the rows of this process.
    mesh: the devices.
    depth: number of batches that are copied ahead.

  Yields:
    The global batches.
  """
  queue = collections.deque()
  for batch in batches:
    queue.append(put(batch, split_batch(mesh)))
    if len(queue) > depth:
      yield queue.popleft()
  yield from queue
