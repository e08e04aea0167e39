"""Accelerators that a training is planned for: their speeds, and their meshes.

The numbers are those of the makers' data sheets, without sparsity. A step
reaches a part of them only.
"""

import math
import os
import re
from typing import NamedTuple

from jax.sharding import AbstractDevice, AbstractMesh, AxisType, Mesh

from deblur_jax import errors
from deblur_jax.training import parallel

_EXAMPLES = {1: '8', 2: '4x8', 3: '2x2x4'}    # axes -> a shape


class Chip(NamedTuple):
  """What a chip can do.

  Attributes:
    platform: 'tpu' or 'cuda'.
    bfloat16: multiplications and additions in bfloat16, FLOP/s.
    float32: those of float32 convolutions as jax computes them by default:
      in bfloat16 on TPUs, in TF32 on GPUs, FLOP/s.
    bandwidth: of its memory, bytes/s.
    memory: bytes.
    link: to the other chips of its node or pod, bytes/s in one direction.
    network: to chips of other nodes, bytes/s; a pod of TPUs has `link`.
    node: number of chips that `link` joins.
    axes: of the shape of a topology.
  """

  platform: str
  bfloat16: float
  float32: float
  bandwidth: float
  memory: float
  link: float
  network: float
  node: int
  axes: int


CHIPS = {
    'v5e': Chip('tpu', 197e12, 197e12, 819e9, 16e9, 200e9, 200e9, 256, 2),
    'v5p': Chip('tpu', 459e12, 459e12, 2765e9, 95e9, 600e9, 600e9, 6144, 3),
    'v6e': Chip('tpu', 918e12, 918e12, 1638e9, 32e9, 400e9, 400e9, 256, 2),
    'a100': Chip('cuda', 312e12, 156e12, 2039e9, 80e9, 300e9, 25e9, 8, 1),
    'h100': Chip('cuda', 989e12, 494e12, 3350e9, 80e9, 450e9, 50e9, 8, 1),
    'h200': Chip('cuda', 989e12, 494e12, 4800e9, 141e9, 450e9, 50e9, 8, 1),
}


class Topology(NamedTuple):
  """Chips of one kind.

  Attributes:
    name: of the kind, a row of CHIPS.
    shape: of the pod, (4, 8); of GPUs their number, (8,).
  """

  name: str
  shape: tuple[int, ...]

  @property
  def chip(self) -> Chip:
    """Returns its row of CHIPS."""
    return CHIPS[self.name]

  @property
  def size(self) -> int:
    """Returns the number of chips."""
    return math.prod(self.shape)


def parse(text: str) -> Topology:
  """Parses a topology.

  Args:
    text: 'v5e:4x8', 'v5p:2x2x4' or 'h200:8'.

  Returns:
    The topology.

  Raises:
    UserError: another form, or an unknown chip.
  """
  name, _, shape = text.partition(':')
  axes = errors.look_up(CHIPS, name, what='chip').axes
  if not re.fullmatch('x'.join([r'[1-9]\d*'] * axes), shape):
    raise errors.UserError(
        f'The topology {text!r} has no shape of {name}: write '
        f'{name}:{_EXAMPLES[axes]}.')
  return Topology(name, tuple(map(int, shape.split('x'))))


def compiler_mesh(topology: Topology) -> Mesh:
  """Makes the mesh of a TPU topology that programs can be compiled for.

  Args:
    topology: of TPUs.

  Returns:
    The mesh of its devices; nothing can run on it.

  Raises:
    UserError: libtpu is not installed, or it knows no such topology.
  """
  # This machine's own TPU is not looked up: it need not have one.
  os.environ['TPU_SKIP_MDS_QUERY'] = '1'
  with errors.needs_extra(
      'libtpu', extra='plan', what='Compiling for TPUs',
      otherwise='count from the traced program with --count'):
    import libtpu  # noqa: F401
  from jax.experimental import topologies
  shape = 'x'.join(map(str, topology.shape))
  try:
    found = topologies.get_topology_desc(
        platform='tpu', topology_name=f'{topology.name}:{shape}')
  except Exception as error:    # of several kinds, as libtpu fails
    raise errors.UserError(
        f'libtpu does not know {topology.name}:{shape}: '
        f'{errors.first_line(error)}') from error
  return parallel.data_mesh(found.devices)


def counting_mesh(topology: Topology) -> AbstractMesh:
  """Makes a mesh of one chip of a topology, for tracing.

  Args:
    topology: the chips.

  Returns:
    The mesh; programs can be traced for it, not compiled.
  """
  chip = AbstractDevice(topology.name, None, topology.chip.platform)
  return AbstractMesh(
      (1,), (parallel.AXIS,), axis_types=(AxisType.Auto,), abstract_device=chip)


def all_reduce_seconds(topology: Topology, size: float, chips: int) -> float:
  """Estimates the time of the sum of an array over chips, by a ring.

  seconds = 2 (n - 1) / n * bytes / (bytes/s of the slowest link)

  Args:
    topology: the kind of chips.
    size: bytes of the array.
    chips: n.

  Returns:
    Seconds, without latencies; 0 for one chip.
  """
  chip = topology.chip
  speed = chip.link if chips <= chip.node else chip.network
  return 2 * (chips - 1) / chips * size / speed
