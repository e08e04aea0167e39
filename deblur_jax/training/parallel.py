"""Many devices as one: a mesh with one axis, over which the batch is split.

A step is written for the global batch and jitted over the mesh; XLA adds the
sums between devices. Everything else is replicated.
"""

import collections
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from deblur_jax import errors
from deblur_jax.state import Batch

AXIS = 'data'


def initialize(
    *, coordinator: str = '', num_processes: int = 0, process_id: int = -1
) -> None:
  """Joins the processes of one run; call it before anything touches a device.

  Without arguments SLURM, TPU pods, GKE and Open MPI are recognised by jax
  itself; elsewhere give all three.

  Args:
    coordinator: 'host:port' of process 0.
    num_processes: how many processes there are.
    process_id: which of them this one is, from 0.
  """
  given = (bool(coordinator), num_processes > 0, process_id >= 0)
  if any(given) and not all(given):
    raise errors.UserError(
        'Several processes need all of --coordinator=host:port, '
        '--num_processes and --process_id, or none of them where the '
        'scheduler tells.')
  try:
    if all(given):
      jax.distributed.initialize(coordinator, num_processes, process_id)
    else:
      jax.distributed.initialize()
  except (ValueError, RuntimeError) as error:
    raise errors.UserError(
        'Could not join the other processes: '
        f'{str(error).splitlines()[0]}') from error


def data_mesh(devices=None) -> Mesh:
  """All devices (of all processes) along the one axis."""
  devices = jax.devices() if devices is None else devices
  # Auto: under Explicit axes linen's Dropout and plain indexing of a batch
  # fail. Not make_mesh, which may reorder the devices of a pod: the rows of a
  # batch must lie on the process that read them.
  return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on each device."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
  """The first axis spread over the devices."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises a UserError where the batch cannot be spread evenly."""
  if batch_size < 1 or batch_size % mesh.size:
    raise errors.UserError(
        f'batch_size = {batch_size} is not divisible by the {mesh.size} '
        f'devices; try --config.batch_size='
        f'{max(mesh.size, batch_size // mesh.size * mesh.size)}.')


def put(tree: Any, sharding: NamedSharding) -> Any:
  """Arrays of this process -> global arrays.

  For `split_batch` each process gives only its rows, for `replicated` each
  gives the whole.
  """
  return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def put_key(key: jax.Array, mesh: Mesh) -> jax.Array:
  """A random key that every process has -> the same on all devices."""
  words = put(np.asarray(jax.random.key_data(key)), replicated(mesh))
  return jax.random.wrap_key_data(words)


def prefetch(
    batches: Iterable[Batch], mesh: Mesh, *, depth: int = 2
) -> Iterator[Batch]:
  """The batches, put on the mesh `depth` ahead of their use."""
  queue = collections.deque()
  for batch in batches:
    queue.append(put(batch, split_batch(mesh)))
    if len(queue) > depth:
      yield queue.popleft()
  yield from queue
