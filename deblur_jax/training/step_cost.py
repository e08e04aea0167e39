"""What a step of training costs on accelerators that are not here.

A TPU's compiler says it; for other chips it is counted from the traced program.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from deblur_jax import errors, methods
from deblur_jax.data import device_transforms
from deblur_jax.ops import macs
from deblur_jax.training import accelerators, loop, parallel

_COLLECTIVE = re.compile(
    r'= (\S.*?) (?:all-reduce|all-gather|reduce-scatter|all-to-all|'
    r'collective-permute)(?:-start)?\(')
_SHAPE = re.compile(r'\b(pred|[suf]\d+|bf16)\[([\d,]*)\]')


class StepCost(NamedTuple):
  """The cost of a step for each chip.

  Attributes:
    flops: multiplications and additions.
    bytes: read from and written to the memory of the chip.
    memory: bytes that are in use at once.
    collectives: number of sums and exchanges between chips.
    exchanged: bytes of their arrays.
  """

  flops: float
  bytes: float
  memory: float
  collectives: int
  exchanged: float


class Plan(NamedTuple):
  """A step on a topology.

  Attributes:
    cost: for each chip.
    seconds: the least time of a step.
    bound: what takes that time: 'compute' or 'memory'; the exchange comes on
      top of it.
    share_of_peak: of the chip's FLOP/s, if a step takes `seconds`.
    fits: whether the memory of a chip suffices.
  """

  cost: StepCost
  seconds: float
  bound: str
  share_of_peak: float
  fits: bool


def compiled(
    config: Mapping[str, Any], topology: accelerators.Topology, batch_size: int
) -> StepCost:
  """Compiles a config's step for a topology of TPUs.

  Args:
    config: plain dicts, see configs/.
    topology: of TPUs.
    batch_size: over all chips.

  Returns:
    What the compiler says.

  Raises:
    UserError: no libtpu, an unknown topology, a fault of the config, a batch
      that the chips do not divide, or a step that the memory of a chip does
      not hold.
  """
  mesh = accelerators.compiler_mesh(topology)
  step, *arguments = _step(config, mesh, batch_size)
  try:
    program = step.lower(*arguments).compile()
  except jax.errors.JaxRuntimeError as error:
    raise errors.UserError(
        f'A step of {batch_size} crops does not compile for {topology.name}: '
        f'{errors.first_line(error)}') from error
  used, cost = program.memory_analysis(), program.cost_analysis()
  shapes = [_bytes(found) for found in _COLLECTIVE.findall(program.as_text())]
  return StepCost(
      cost['flops'], cost['bytes accessed'],
      used.argument_size_in_bytes + used.output_size_in_bytes
      - used.alias_size_in_bytes + used.temp_size_in_bytes
      + used.generated_code_size_in_bytes,
      len(shapes), sum(shapes))


def counted(
    config: Mapping[str, Any], topology: accelerators.Topology, batch_size: int
) -> StepCost:
  """Counts the cost of a config's step from its traced program.

  FLOP are those of convolutions and products, and bytes are theirs: lower
  bounds. The memory is what is alive in the order of the program, without the
  compiler's fusions: usually too much.

  Args:
    config: plain dicts, see configs/.
    topology: any.
    batch_size: over all chips.

  Returns:
    The cost.

  Raises:
    UserError: a fault of the config, or a batch that the chips do not divide.
  """
  if batch_size % topology.size:
    raise errors.UserError(
        f'The batch of {batch_size} is not a multiple of the {topology.size} '
        'chips.')
  step, state, *others = _step(
      config, accelerators.counting_mesh(topology), batch_size // topology.size)
  program = step.trace(state, *others).jaxpr
  bytes_of = lambda tree: sum(map(macs.size_of, jax.tree.leaves(tree)))
  size, several = bytes_of(state.params), topology.size > 1
  memory = _peak(program.jaxpr)
  if config.get('split_state', False):    # a step gathers the parameters alone
    memory -= (bytes_of((state.opt_state, state.ema))
               * (1 - 1 / topology.size))
  return StepCost(
      2.0 * macs.of_program(program), float(macs.bytes_moved(program)),
      float(memory), int(several), float(several * size))


def dtype_of(config: Mapping[str, Any]) -> str:
  """Returns the dtype that a config's networks compute in.

  Args:
    config: plain dicts.

  Returns:
    'bfloat16' if all its networks do, else 'float32'.
  """
  found = {net.get('dtype', 'float32')
           for net in methods.complete(config)['nets'].values()}
  return 'bfloat16' if found == {'bfloat16'} else 'float32'


def plan(
    cost: StepCost, topology: accelerators.Topology, *, dtype: str
) -> Plan:
  """Estimates the time of a step: its roofline, and then the exchange.

  seconds = max(FLOP / peak, bytes / bandwidth) + seconds of the exchange

  Args:
    cost: of a step, for each chip.
    topology: the chips.
    dtype: of the networks, 'bfloat16' or 'float32'.

  Returns:
    The plan.

  Raises:
    UserError: another dtype.
  """
  chip = topology.chip
  peak = errors.look_up(
      {'bfloat16': chip.bfloat16, 'float32': chip.float32}, dtype, what='dtype')
  compute, memory = cost.flops / peak, cost.bytes / chip.bandwidth
  seconds = max(compute, memory) + accelerators.all_reduce_seconds(
      topology, cost.exchanged, topology.size)
  return Plan(
      cost, seconds, 'compute' if compute > memory else 'memory',
      compute / seconds, cost.memory <= chip.memory)


def scaled(
    plan: Plan, topology: accelerators.Topology, chips: int
) -> float:
  """Estimates the time of a step on more chips, with as many crops on each.

  Args:
    plan: of a step on `topology`.
    topology: the kind of chips, and their number in `plan`.
    chips: the number to estimate for.

  Returns:
    Seconds; only the exchange changes.
  """
  exchange = lambda count: accelerators.all_reduce_seconds(
      topology, plan.cost.exchanged, count)
  return plan.seconds + exchange(chips) - exchange(topology.size)


def _step(config, mesh, batch_size):
  """(the jitted step, the shapes of its state, batch and key)."""
  parallel.check_batch_size(batch_size, mesh)
  config = methods.complete(config)
  method = methods.build(config)
  crop = config['data']['loader']['crop']
  state = loop.abstract_state(
      method, crop, mesh, split=config.get('split_state', False))
  prepare = device_transforms.make_prepare(config, lambda batch: batch)
  batch = {name: jax.ShapeDtypeStruct(
      (batch_size, crop, crop, 3 * frames), jnp.float32,
      sharding=parallel.split_batch(mesh))
           for name, frames in _pictures(config, method).items()}
  key = jax.eval_shape(lambda: jax.random.key(0))
  key = jax.ShapeDtypeStruct(
      key.shape, key.dtype, sharding=parallel.replicated(mesh))
  step = loop.make_step(method, prepare, mesh, state=state)
  return step, state, batch, key


def _pictures(config, method) -> dict[str, int]:
  """{key of the loader's batch: number of frames}."""
  if not config['data'].get('blur'):
    return {'blur': method.window, 'sharp': 1}
  return {'to_blur': 1, 'sharp': 1} if method.unpaired else {'sharp': 1}


def _bytes(shapes: str) -> int:
  """'(f32[3,4], bf16[2])' -> 52."""
  total = 0
  for dtype, sides in _SHAPE.findall(shapes):
    size = 1 if dtype == 'pred' else int(re.sub(r'\D', '', dtype)) // 8
    for side in filter(None, sides.split(',')):
      size *= int(side)
    total += size
  return total


def _peak(jaxpr) -> int:
  """The most bytes that are alive at once, equation after equation."""
  inputs = [*jaxpr.constvars, *jaxpr.invars]
  last = {variable: len(jaxpr.eqns) for variable in jaxpr.outvars
          if isinstance(variable, core.Var)}
  for number, equation in reversed([*enumerate(jaxpr.eqns)]):
    for variable in equation.invars:
      if isinstance(variable, core.Var):
        last.setdefault(variable, number)
  size = lambda variables: sum(macs.size_of(one.aval) for one in variables)
  alive = peak = size(inputs)
  ends = {}
  for variable in inputs:
    ends.setdefault(last.get(variable, -1), []).append(variable)
  for number, equation in enumerate(jaxpr.eqns):
    alive += size(equation.outvars)
    inside = max([0, *(
        _peak(getattr(inner, 'jaxpr', inner))
        - size(equation.invars) - size(equation.outvars)
        for inner in macs.inner_jaxprs(equation.params))])
    peak = max(peak, alive + inside)
    for variable in equation.outvars:
      ends.setdefault(last.get(variable, number), []).append(variable)
    alive -= size(ends.pop(number, []))
  return peak
