"""The folders of several runs, and the settings in which they differ.

`training.workdir` describes the folder of a run. A grid of runs has a runs.json
(`write_plan`) beside them, and a failed.json in the folder of a failed run.
"""

import json
import math
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.training import workdir

PLAN = 'runs.json'
FAILED = 'failed.json'
SEED = 'seed'     # runs that differ in the seed alone are averaged
ABSENT = 'absent'
ROLE = 'restorer.'   # in a key: any network of the config


class Run(NamedTuple):
  """The content of a run's folder; a part is empty if its file is missing.

  Attributes:
    folder: of the run.
    config: its config, plain dicts.
    settings: of its plan, dotted key -> value.
    metrics: the logged lines.
    summary: of training.
    eval: of `evaluation.test_sets`.
    evals: further ones, of eval_NAME.json: name -> content, also those of
      `evaluation.folders`.
    environment: versions, devices, commit and command.
    no_reference: of `evaluation.no_reference`.
    failure: the reason, if it failed.
  """

  folder: pathlib.Path
  config: dict[str, Any] = {}
  settings: dict[str, Any] = {}
  metrics: Sequence[dict[str, Any]] = ()
  summary: dict[str, Any] = {}
  eval: dict[str, Any] = {}
  evals: dict[str, dict[str, Any]] = {}
  environment: dict[str, Any] = {}
  no_reference: dict[str, Any] = {}
  failure: str = ''


class Study(NamedTuple):
  """Runs to compare, in the order of the table.

  Attributes:
    name: of the grid or folder.
    folder: of all the runs.
    keys: the settings in which they differ, dotted, without the seed.
    runs: the runs.
    plan: the content of runs.json; {} without one.
  """

  name: str
  folder: pathlib.Path
  keys: list[str]
  runs: list[Run]
  plan: dict[str, Any]


def read_run(
    folder: pathlib.Path, settings: Mapping[str, Any] | None = None) -> Run:
  """Reads a run's folder.

  Args:
    folder: of the run; if it does not exist, the run is not started.
    settings: of its plan, dotted key -> value.

  Returns:
    The run.

  Raises:
    UserError: a file in it is not JSON, another version made the run, or its
      config.json is of another program.
  """
  def read(name):
    path = folder / name
    return workdir.read_json(path) if path.exists() else {}

  there = (folder / workdir.CONFIG).exists()
  config = workdir.read_config(folder) if there else {}
  return Run(
      folder, config=config, settings=dict(settings or {}),
      metrics=workdir.read_metrics(folder), summary=read('summary.json'),
      eval=_evaluation(folder / 'eval.json'),
      evals={path.stem: _evaluation(path)
             for path in sorted(folder.glob('eval_*.json'), key=natural)},
      environment=read(workdir.ENVIRONMENT),
      no_reference=read('no_reference.json'),
      failure=read(FAILED).get('reason', ''))


def is_finished(run: Run) -> bool:
  """Whether it is trained to the end and evaluated there."""
  return (bool(run.config) and 'step' in run.eval
          and run.eval['step'] == run.config.get('total_steps'))


def state(run: Run) -> str:
  """The state of a run in words.

  Args:
    run: of `read_run`.

  Returns:
    Such as 'finished', or 'unfinished, at step 10 of 40'.
  """
  if is_finished(run):
    return 'finished'
  if run.failure:
    return f'failed: {run.failure}'
  if not run.config:
    return 'not started'
  total = run.config.get('total_steps')
  step = run.metrics[-1]['step'] if run.metrics else 0
  if step == total:
    return f'trained to step {total}, not evaluated there'
  return f'unfinished, at step {step} of {total}'


def write_plan(
    folder: pathlib.Path, *, name: str, config: str,
    runs: Mapping[str, Mapping[str, Any]],
    papers: Sequence[Mapping[str, Any]] = ()) -> None:
  """Writes runs.json: the order of a report and the papers to compare with.

  Args:
    folder: of all the runs.
    name: of the grid.
    config: the config file of all runs.
    runs: name of a run's folder -> {dotted key: value}.
    papers: tables of papers, see `experiments.published_results`.
  """
  workdir.write_json(folder / PLAN, {
      'name': name, 'config': config, 'papers': list(papers),
      'runs': [{'name': run, 'settings': dict(settings)}
               for run, settings in runs.items()]})


def read_study(
    folder: pathlib.Path, *, keys: Sequence[str] | None = None) -> Study:
  """Reads all runs below a folder: first those of its plan, then all others.

  Args:
    folder: of many runs, or of one.
    keys: the settings to compare, dotted; by default those of the plan and all
      others in which the configs differ. The seed is never one of them.

  Returns:
    The runs and the settings.

  Raises:
    UserError: no runs, a file of another program, an unknown key, or keys that
      leave out a difference.
  """
  path = folder / PLAN
  plan = workdir.read_json(path) if path.exists() else {}
  if path.exists() and not (isinstance(plan, dict) and 'runs' in plan):
    raise errors.UserError(
        f'{path} is not the plan of a grid: it has no runs. Move it elsewhere.')
  planned = {run['name']: run['settings'] for run in plan.get('runs', ())}
  folders = {folder / name: settings for name, settings in planned.items()}
  for other in _find(folder):
    folders.setdefault(other, {})
  if not folders:
    raise errors.UserError(
        f'No runs in {folder}: no config.json in it or below.')
  runs = [read_run(*item) for item in folders.items()]
  wanted = keys if keys is not None else _planned_keys(planned.values())
  complete = _complete(wanted, runs)
  if keys is not None:
    _check_keys(keys, complete[len(keys):], runs)
  name = plan.get('name') or folder.resolve().name
  return Study(name, folder, complete, runs, plan)


def group(study: Study) -> dict[str, list[Run]]:
  """Groups runs that differ in their seeds alone.

  Args:
    study: the runs.

  Returns:
    Label of a setting -> its runs, in the order of the study.
  """
  groups = {}
  for run in study.runs:
    settings = {key: value(run, key) for key in study.keys}
    name = label(settings, separator=', ') or _folder_name(study, run)
    groups.setdefault(name, []).append(run)
  return groups


def value(run: Run, key: str) -> Any:
  """A setting of a run.

  Args:
    run: the run.
    key: dotted, 'nets.net.scales'.

  Returns:
    The value in its config, or in its plan; ABSENT if both lack the key.
  """
  found = run.config or ABSENT
  for part in key.split('.'):
    if not isinstance(found, Mapping) or part not in found:
      return run.settings.get(key, ABSENT)
    found = found[part]
  return found


def full_keys(run: Run, key: str) -> list[str]:
  """The keys of a run that a key names.

  Args:
    run: the run.
    key: dotted; 'restorer.x' is the option x of any network.

  Returns:
    Such as ['nets.net.x'].
  """
  if not key.startswith(ROLE):
    return [key]
  option = re.escape(key.removeprefix(ROLE))
  return [name for name in (*workdir.flatten(run.config), *run.settings)
          if re.fullmatch(rf'nets\.[^.]+\.{option}', name)]


def planned(study: Study, group: Sequence[Run]) -> int:
  """How many runs a setting should have.

  Args:
    study: the runs.
    group: those of the setting.

  Returns:
    Their number, as the plan lists also those that are not started. Without a
    plan, the largest number that a setting has.
  """
  if study.plan:
    return len(group)
  keys = [tuple(show(value(run, key)) for key in study.keys)
          for run in study.runs]
  return max(map(keys.count, keys))


def by_test(runs: Iterable[Run]) -> list[list[Run]]:
  """Groups runs that were tested on the same pictures.

  The same names may be in two folders, and a folder may move: the options of
  the test set, without paths, and the metrics of the blurry pictures decide.

  Args:
    runs: finished runs.

  Returns:
    The groups, in the order of their first runs.
  """
  groups = []
  for run in runs:
    same = next((group for group in groups if _same_test(group[0], run)), None)
    if same is None:
      groups.append([run])
    else:
      same.append(run)
  return groups


def label(settings: Mapping[str, Any], *, separator: str = ',') -> str:
  """A name for settings: {'nets.net.scales': 1} -> 'scales=1'.

  Args:
    settings: dotted key -> value.
    separator: between two settings.

  Returns:
    The name, with the shortest keys that are distinct.
  """
  return separator.join(
      f'{short}={show(settings[key])}'
      for key, short in shorten(settings).items())


def shorten(keys: Iterable[str]) -> dict[str, str]:
  """The shortest distinct ends of dotted keys.

  Args:
    keys: dotted.

  Returns:
    Each key -> its shortest end that no other key has.
  """
  keys = list(keys)
  ends = {}
  for key in keys:
    parts = key.split('.')
    tails = ['.'.join(parts[-n:]) for n in range(1, len(parts) + 1)]
    ends[key] = next(
        (tail for tail in tails
         if sum(f'.{other}'.endswith(f'.{tail}') for other in keys) == 1), key)
  return ends


def show(thing: Any) -> str:
  """A short text for a value of a config.

  Args:
    thing: a number, a string, or a list or dict of them.

  Returns:
    The text, such as 'l1+tv' for a list.
  """
  if isinstance(thing, float):
    return f'{thing:.6g}'
  if isinstance(thing, Mapping):
    return '+'.join(f'{key}:{show(item)}' for key, item in thing.items())
  if isinstance(thing, list | tuple):
    return '+'.join(map(show, thing))
  return str(thing)


def natural(path: pathlib.Path) -> list[Any]:
  """A sorting key with numbers in their order: scales=2 before scales=10.

  Args:
    path: to sort.

  Returns:
    The key.
  """
  return [int(part) if part.isdigit() else part
          for part in re.split(r'(\d+)', str(path))]


def _same_test(first, second):
  options, pictures = zip(*(
      ({key: value for key, value in run.eval.get('test', {}).items()
        if not workdir.is_free(f'data.test.{key}', value)},
       {row['name']: row.get('input', {}) for row in run.eval['rows']})
      for run in (first, second)), strict=True)
  if options[0] != options[1] or pictures[0].keys() != pictures[1].keys():
    return False
  values = [(value, pictures[1][name].get(key, value))
            for name, metrics in pictures[0].items()
            for key, value in metrics.items()]
  # Other devices compute other last digits.
  return np.allclose(*np.array(values).reshape(-1, 2).T, rtol=0, atol=0.01,
                     equal_nan=True)


def _evaluation(path):
  """The content of an evaluation's file, {} without a file."""
  found = workdir.read_json(path) if path.exists() else {}
  if path.exists() and not (
      isinstance(found, dict) and {'mean', 'rows'} <= found.keys()):
    raise errors.UserError(
        f'{path} is not an evaluation: it has no mean and rows. Move it '
        'elsewhere.')
  return found | {key: _with_nan(found[key]) for key in (
      'mean', 'input', 'sharp', 'rows') if key in found}


def _with_nan(content):
  """NaN for the null that `workdir.to_json` writes in its place."""
  if isinstance(content, Mapping):
    return {key: _with_nan(value) for key, value in content.items()}
  if isinstance(content, list):
    return list(map(_with_nan, content))
  return math.nan if content is None else content


def _find(folder):
  """The folders with a config.json, without those inside of them."""
  found = []
  for where, inner, files in os.walk(folder):
    if workdir.CONFIG in files:
      found.append(pathlib.Path(where))
      inner.clear()
  return sorted(found, key=natural)


def _planned_keys(settings):
  """Keys with more than one value in the plan, without the seed."""
  settings = list(settings)
  keys = list(dict.fromkeys(key for one in settings for key in one))
  return [key for key in keys if key != SEED and len(
      {json.dumps(one.get(key)) for one in settings}) > 1]


def _differing(runs):
  """Config keys whose values differ between the started runs.

  The data of a grid may move between its runs, so paths are no difference
  there; other folders may hold other pictures of the same names.
  """
  started = [run for run in runs if run.config]
  is_grid = all(run.settings for run in started)
  flat = [workdir.flatten(run.config) for run in started]
  found = []
  for key in dict.fromkeys(key for config in flat for key in config):
    values = [config.get(key, ABSENT) for config in flat]
    free = key in (SEED, *workdir.FREE_KEYS) or (
        is_grid and workdir.is_free(key, *values))
    if not free and len(set(map(json.dumps, values))) > 1:
      found.append(key)
  return found


def _complete(keys, runs):
  """`keys`, and the other keys in which the runs differ.

  A key that always has the value of another one (two places, one choice) is
  left out.
  """
  started = [run for run in runs if run.config]
  values = lambda key: [json.dumps(value(run, key)) for run in started]
  keys = list(keys)
  for key in _differing(runs):
    if not any(f'{key}.'.startswith(f'{one}.') or values(key) == values(one)
               for one in keys):
      keys.append(key)
  return keys


def _check_keys(wanted, extra, runs):
  known = {key for run in runs
           for key in (*workdir.flatten(run.config), *run.settings)}
  for key in wanted:
    if all(value(run, key) == ABSENT for run in runs):
      raise errors.UserError(
          f'No run has a setting {key}.{errors.suggest(key, known)}')
  if extra:
    raise errors.UserError(
        f'The runs also differ in {", ".join(extra)}, and a row averages over '
        f'seeds alone: add {"it" if len(extra) == 1 else "them"} to the rows.')


def _folder_name(study, run):
  return (run.folder.resolve().name if run.folder == study.folder
          else str(run.folder.relative_to(study.folder)))
