r"""Plans the papers' trainings on several topologies: a table for the manual.

  python -m experiments.plan_table --vgg=vgg19.npz

For each training and topology it finds the largest batch that fits, a power of
two for each chip, and writes what a step of it costs to docs/plans.json. The
cost is counted (see `experiments.plan`) for one and two crops on a chip, and
grows linearly. --compile=v5e:2x4 compiles the rows of that topology instead,
which takes minutes for each. Rows that exist are kept, so that the command can
be run in parts.
"""

import json
import time

from absl import flags

from experiments import common

TABLE = common.ROOT / 'docs' / 'plans.json'
# Label -> (config, changed keys).
TRAININGS = {
    **{f'K = {k}': ('multiscale_gopro', {'nets.net.scales': k})
       for k in (1, 2, 3)},
    'DeblurGAN': ('deblurgan_gopro', {}),
    'MAXIM-3S': ('maxim_gopro', {}),
    'cycle_physics': ('cycle_physics', {}),
}
TOPOLOGIES = ('v5e:2x4', 'v5e:16x16', 'v5p:2x2x2', 'h200:8')
_ONLY = flags.DEFINE_list('only', None, 'Labels of trainings; by default all.')
_COMPILE = flags.DEFINE_list('compile', [], 'Topologies to compile for.')
_VGG = flags.DEFINE_string('vgg', '', 'Weights of VGG19, for DeblurGAN.')


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.ops import atomic_files

  rows = {(row['label'], row['topology'], row['made_by']): row for row in (
      json.loads(TABLE.read_text(encoding='utf-8')) if TABLE.exists() else ())}
  for label in _ONLY.value or TRAININGS:
    config = config_of(label)
    counted = None
    for name in _COMPILE.value or TOPOLOGIES:
      made_by = 'compiling' if _COMPILE.value else 'counting'
      if (label, name, made_by) in rows:
        continue
      counted = counted or counts(config)
      row = {'label': label, **largest(
          config, counted, name, compiles=bool(_COMPILE.value))}
      rows[label, name, made_by] = row
      order = lambda row: ([*TRAININGS].index(row['label']),
                           TOPOLOGIES.index(row['topology']), row['made_by'])
      atomic_files.write(
          TABLE, json.dumps(sorted(rows.values(), key=order), indent=1) + '\n')
      print(f'{label}, {name}, {made_by}: batch {row["batch"]}, '
            f'{1e3 * row["seconds"]:.1f} ms', flush=True)


def config_of(label: str) -> dict:
  """A training's config, as plain dicts.

  Args:
    label: a row of TRAININGS.
  """
  from deblur_jax import errors
  from experiments import config_flag

  name, changes = errors.look_up(TRAININGS, label, what='training')
  config = config_flag.load(f'{common.ROOT}/configs/{name}.py', changes)
  if 'features' in config.method and _VGG.value:
    config.method.features.update(path=_VGG.value, convention='caffe')
  return config.to_dict()


def counts(config: dict) -> list:
  """Counts a step with one and with two crops for each chip.

  Args:
    config: plain dicts.
  """
  from deblur_jax.training import accelerators, step_cost

  two = accelerators.parse('h200:2')
  return [step_cost.counted(config, two, crops * two.size) for crops in (1, 2)]


def largest(
    config: dict, counted: list, name: str, *, compiles: bool = False) -> dict:
  """The cost of the largest batch that fits.

  Args:
    config: plain dicts.
    counted: of `counts`. All that is counted grows linearly with the crops.
    name: of a topology.
    compiles: whether a TPU compiler says the cost.

  Returns:
    A row of the table.

  Raises:
    UserError: not even a crop for each chip fits.
  """
  from deblur_jax import errors
  from deblur_jax.training import accelerators, step_cost

  topology, dtype = accelerators.parse(name), step_cost.dtype_of(config)
  one, two = counted
  crops, cost = 2**12, None
  while not (cost and step_cost.plan(cost, topology, dtype=dtype).fits):
    crops //= 2
    if not crops:
      raise errors.UserError(f'{name} does not hold a crop for each chip.')
    start = time.perf_counter()
    cost = one._replace(**{
        key: getattr(one, key) + (crops - 1) * (
            getattr(two, key) - getattr(one, key))
        for key in ('flops', 'bytes', 'memory')})
    if compiles and cost.memory <= 1.5 * topology.chip.memory:
      try:
        cost = step_cost.compiled(config, topology, crops * topology.size)
      except errors.UserError as error:
        print(f'{name}, {crops} crops on each chip: {error}', flush=True)
        cost = None
  seconds, batch = time.perf_counter() - start, crops * topology.size
  plan = step_cost.plan(cost, topology, dtype=dtype)
  steps = config['total_steps'] * (config['batch_size'] or batch) / batch
  hours = steps * plan.seconds / 3600
  return {
      'topology': name, 'chips': topology.size, 'batch': batch, 'dtype': dtype,
      'made_by': 'compiling' if compiles else 'counting',
      'made_in_seconds': round(seconds, 1), **cost._asdict(),
      'memory_of_chip': topology.chip.memory, 'seconds': plan.seconds,
      'bound': plan.bound, 'share_of_peak': plan.share_of_peak,
      'steps': round(steps), 'hours': hours,
      'chip_hours': hours * topology.size}


if __name__ == '__main__':
  common.run(main)
