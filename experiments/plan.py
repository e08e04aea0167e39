r"""Plans a training on accelerators before they are rented.

  python -m experiments.plan --config=configs/multiscale_gopro.py \
      --topology=v5e:2x4 --batch=128

It compiles a step for a TPU topology on this machine, which needs no TPU but
the extra `plan`, and minutes for a large network. For GPUs, and with --count,
it counts the traced program in seconds. Topologies: v5e:4x8, v5p:2x2x4,
v6e:4x4, a100:8, h100:8, h200:16.

The time is a roofline: the larger one of FLOP / peak and bytes / bandwidth, and
then the sum of the gradients, not overlapped. It is the least time that the
data sheet allows; a real step takes longer.
"""

import json
import time

from absl import flags

from experiments import common, config_flag

config_flag.define()
_TOPOLOGY = flags.DEFINE_string('topology', 'v5e:2x4', 'Chips: KIND:SHAPE.')
_BATCH = flags.DEFINE_integer(
    'batch', None, 'Crops of a step over all chips; by default those of the '
    'config, or 2 for each chip.', lower_bound=1)
_COUNT = flags.DEFINE_bool(
    'count', False, 'Count the traced program instead of compiling it.')
_JSON = flags.DEFINE_bool('json', False, 'Print one line of JSON.')
COUNTS = (8, 16, 32, 64, 128, 256)    # chips of the table of scaling


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax import errors
  from deblur_jax.training import accelerators, step_cost, train

  config = config_flag.value()
  if config is None:
    raise errors.UserError('Give --config.')
  config, topology = config.to_dict(), accelerators.parse(_TOPOLOGY.value)
  train.check(config)
  batch = (_BATCH.value or config['batch_size']
           or train.CROPS_PER_DEVICE * topology.size)
  counts = _COUNT.value or topology.chip.platform != 'tpu'
  start = time.perf_counter()
  cost = (step_cost.counted if counts else step_cost.compiled)(
      config, topology, batch)
  seconds = time.perf_counter() - start
  dtype = step_cost.dtype_of(config)
  plan = step_cost.plan(cost, topology, dtype=dtype)
  crops = config['total_steps'] * (config['batch_size'] or batch)
  rows = [_scaled(plan, topology, batch, crops, chips)
          for chips in sorted({topology.size, *COUNTS})]
  facts = {
      'topology': _TOPOLOGY.value, 'chips': topology.size, 'batch': batch,
      'crop': config['data']['loader']['crop'], 'dtype': dtype,
      'made_by': 'counting' if counts else 'compiling',
      'made_in_seconds': round(seconds, 1), **cost._asdict(),
      'memory_of_chip': topology.chip.memory, 'fits': plan.fits,
      'seconds': plan.seconds, 'bound': plan.bound,
      'share_of_peak': plan.share_of_peak, 'crops': crops, 'scaling': rows}
  print(json.dumps(facts) if _JSON.value else _text(facts))


def _scaled(plan, topology, batch, crops, chips):
  """A row of the table of scaling: as many crops on each chip."""
  from deblur_jax.training import step_cost
  seconds = step_cost.scaled(plan, topology, chips)
  rate = batch * chips / topology.size / seconds
  hours = crops / rate / 3600
  return {'chips': chips, 'batch': batch * chips // topology.size,
          'seconds': seconds, 'crops_a_second': rate,
          'hours': hours, 'chip_hours': chips * hours}


def _text(facts) -> str:
  gb = lambda size: f'{size / 1e9:.3g} GB'
  side = facts['crop']
  lines = [
      f'{facts["topology"]}, {facts["chips"]} chips: {facts["batch"]} crops of '
      f'{side}x{side} in {facts["dtype"]}; {facts["made_by"]} took '
      f'{facts["made_in_seconds"]:.0f} s.',
      f'  each chip: {facts["flops"] / 1e12:.3g} TFLOP, {gb(facts["bytes"])} '
      'to and from its memory',
      f'  memory: {gb(facts["memory"])} of {gb(facts["memory_of_chip"])}'
      + ('' if facts['fits'] else ': it does NOT fit; take a smaller --batch, '
         '--config.nets.NAME.remat=True, --config.method.accumulate=N or '
         '--config.split_state=True'),
      f'  exchanged: {gb(facts["exchanged"])} in {facts["collectives"]} '
      'collectives',
      f'  least time: {1e3 * facts["seconds"]:.1f} ms, bound by '
      f'{facts["bound"]}, {facts["share_of_peak"]:.0%} of peak',
      '', f'As many crops on each chip, for {facts["crops"]:,} crops:', '',
      '| chips | batch | a step (ms) | crops/s | hours | chip-hours |',
      '| --: | --: | --: | --: | --: | --: |']
  lines += [
      f'| {row["chips"]} | {row["batch"]} | {1e3 * row["seconds"]:.1f} | '
      f'{row["crops_a_second"]:,.0f} | {row["hours"]:.2f} | '
      f'{row["chip_hours"]:.1f} |' for row in facts['scaling']]
  return '\n'.join(lines)


if __name__ == '__main__':
  common.run(main)
