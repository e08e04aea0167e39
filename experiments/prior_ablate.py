r"""Compares settings of a deep image prior on the same pictures.

  python -m experiments.prior_ablate --task=denoise --truth=PHOTOS --crop=128 \
      --name=depth --output=OUT
  python -m experiments.prior_ablate --task=sr --truth=PHOTOS \
      --set method.jitter=0.0,0.03 --set nets.net.skip=0,4 --output=OUT

Each setting has a folder of its own, as of experiments.prior; the same command
again skips what is finished. OUT/table.md has a row for each: parameters, mean
PSNR of what is kept, the oracle, the rule's gap to it, seconds a step.
"""

import copy
import itertools
import json
import pathlib
import shutil
import sys

from absl import flags

from experiments import common
from experiments import prior as program

_NAME = flags.DEFINE_string('name', None, 'A row of GRIDS.')
_SET = flags.DEFINE_multi_string('set', [], 'KEY=VALUE,VALUE,...')

_LEVELS = {depth: (128,) * depth for depth in (1, 2, 3, 4, 5)}
_EMV = dict(name='emv', patience=1000)
# name -> {config key: its values}
GRIDS = {
    'average': {'method.average': (0.0, 0.9, 0.99, 0.999)},
    'depth': {'nets.net.down': tuple(_LEVELS.values())},
    'jitter': {'method.jitter': (0.0, 1 / 100, 1 / 30, 1 / 10)},
    'network': {'nets.net': (
        dict(name='skip'), dict(name='unet_prior', num_layers=5),
        dict(name='unet_prior', num_layers=10),
        dict(name='deep_decoder', features=64),
        dict(name='deep_decoder', features=128))},
    'skips': {'nets.net.skip': (0, 4, 16, 128)},
    'stopping': {'method.stopping': (
        _EMV, dict(name='wmv'), dict(name='held_out'), dict(name='fixed'))},
}


def main(argv):
  """Returns 0."""
  del argv
  from deblur_jax.evaluation.report import render

  base = program.resolve()
  head, *rows = compare(
      base, choose(), program.problems(base), pathlib.Path(
          program.OUTPUT.value), task=program.TASK.value,
      **program.fit_options())
  text = render.table(head, rows)
  pathlib.Path(program.OUTPUT.value, 'table.md').write_text(text + '\n')
  print(text)
  return 0


def compare(base, grid, tasks, out, *, task, **options):
  """Fits the problems with each setting of a grid: the table's rows of words.

  Args:
    base: the config that the settings change, plain dicts.
    grid: {dotted key: its values}; the last changes quickest.
    tasks: problems with their truth.
    out: a folder; what is finished there is not done again.
    task, **options: see `solve.run`.

  Raises:
    UserError: unknown keys, no truth, what `solve.run` refuses.
  """
  from deblur_jax import errors
  from deblur_jax.priors import solve

  if any('sharp' not in problem.batch for problem in tasks):
    raise errors.UserError('An ablation needs the truth: give --truth.')
  settings = [dict(zip(grid, values, strict=True))
              for values in itertools.product(*grid.values())]
  configs = [changed(base, setting) for setting in settings]
  for config in configs:
    solve.check(config)
  results = []
  for index, config in enumerate(configs):
    folder = out / f'{index:02d}'
    done = finished(folder, config, tasks)
    if done is None:
      if folder.exists() and not (folder / 'result.json').is_file():
        raise errors.UserError(
            f'{folder} is of nothing that this program did, or not finished; '
            'remove it, or give another --output.')
      shutil.rmtree(folder, ignore_errors=True)
      print(f'{index + 1}/{len(settings)}: {words(settings[index])}',
            file=sys.stderr, flush=True)
      done = solve.run(config, tasks, folder, task=task, **options)
    results.append(done)
  return table(settings, results)


def choose():
  """{config key: values} of the flags."""
  from deblur_jax import errors

  grid = dict(errors.look_up(GRIDS, _NAME.value, what='--name')
              if _NAME.value is not None else {})
  grid |= dict(map(common.key_and_values, _SET.value))
  if not grid:
    raise errors.UserError(
        f'Give --name, one of {", ".join(GRIDS)}, or --set.')
  return grid


def changed(config, setting):
  """A copy of the config with dotted keys set; a UserError for unknown ones."""
  from deblur_jax import errors

  config = copy.deepcopy(config)
  for key, value in setting.items():
    *folders, leaf = key.split('.')
    place = config
    for folder in folders:
      place = place.get(folder) if isinstance(place, dict) else None
    if not isinstance(place, dict) or (not folders and leaf not in place):
      raise errors.UserError(f'The config has no key {key}.')
    old = place.get(leaf)
    if isinstance(value, dict) and isinstance(old, dict) and 'channels' in old:
      # Another network paints the same pictures.
      value = {'channels': old['channels'], **value}
    place[leaf] = value
  return config


def finished(folder, config, tasks):
  """What result.json of the same config and problems holds, or None."""
  from deblur_jax.priors import solve
  from deblur_jax.training import workdir

  file = folder / 'result.json'
  if not file.is_file():
    return None
  result = workdir.read_json(file)
  same = result['config'] == json.loads(json.dumps(config))
  same &= result['problems'] == solve.problems.digest(tasks)
  return result if same and len(result['rows']) == len(tasks) else None


def words(setting):
  """{'nets.net.skip': 4} -> 'skip=4'."""
  return ' '.join(
      f'{key.rpartition(".")[2]}={value}' for key, value in setting.items())


def table(settings, results):
  """The head, and a row of words for each setting."""
  names = list(results[0]['mean'])
  lines = [['', 'parameters', *names, 'oracle', 'gap', 's/step']]
  for setting, result in zip(settings, results, strict=True):
    rows = list(result['rows'].values())
    mean = lambda pick, form, rows=rows: format(
        sum(map(pick, rows)) / len(rows), form)
    lines.append([
        words(setting), f'{rows[0]["parameters"]:,}',
        *(f'{result["mean"][name]:.2f}' for name in names),
        *((mean(lambda row: row['oracle']['psnr_average']['psnr'], '.2f'),
           mean(lambda row: row['gap'], '.2f'))
          if 'gap' in rows[0] else ('–', '–')),
        mean(lambda row: row['seconds_per_step'], '.3f')
        if rows[0]['seconds_per_step'] else '–'])
  return lines


if __name__ == '__main__':
  sys.argv = program.with_config(sys.argv)
  common.run(main)
