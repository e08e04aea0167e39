"""The folders of several runs, and by which settings they differ.

A run's folder is described in `training.workdir`. Beside the runs of a grid
lie plan.json (`write_plan`) and, in the folder of a run that failed,
failed.json.
"""

import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from deblur_jax import errors
from deblur_jax.training import workdir

PLAN = 'plan.json'
FAILED = 'failed.json'
SEED = 'seed'     # runs that differ in nothing else are averaged
ABSENT = 'absent'


class Run(NamedTuple):
  """All that one folder says; empty parts where it says nothing yet."""

  folder: pathlib.Path
  config: dict[str, Any] = {}
  settings: dict[str, Any] = {}     # what its plan says: dotted key -> value
  metrics: Sequence[dict[str, Any]] = ()
  summary: dict[str, Any] = {}
  eval: dict[str, Any] = {}
  judge: dict[str, Any] = {}        # of `deblur_jax.evaluation.no_reference`
  failure: str = ''


class Study(NamedTuple):
  """Runs to be compared, in the order in which they are to be shown."""

  name: str
  folder: pathlib.Path
  keys: list[str]                       # the settings, without the seed
  runs: list[Run]
  plan: dict[str, Any]                  # of plan.json


def read_run(
    folder: pathlib.Path, settings: Mapping[str, Any] | None = None) -> Run:
  """Reads a run's folder; one that is not there gives a run not started.

  Raises:
    UserError: a file in it is not JSON, or another version made the run.
  """
  def read(name):
    path = folder / name
    return workdir.read_json(path) if path.exists() else {}

  there = (folder / workdir.CONFIG).exists()
  config = workdir.read_config(folder) if there else {}
  return Run(
      folder, config=config, settings=dict(settings or {}),
      metrics=workdir.read_metrics(folder), summary=read('summary.json'),
      eval=read('eval.json'), judge=read('judge.json'),
      failure=read(FAILED).get('reason', ''))


def is_finished(run: Run) -> bool:
  """Whether it is trained to the end and evaluated there."""
  return bool(run.eval) and run.eval['step'] == run.config.get('total_steps')


def state(run: Run) -> str:
  """How far a run is, for people."""
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
    paper: Mapping[str, Any] | None = None) -> None:
  """Writes plan.json, which gives a report its order and its paper.

  Args:
    folder: of all the runs.
    name: of the grid.
    config: the config file of all.
    runs: name of a run's folder -> {dotted key: value}.
    paper: see `experiments.published_results`.
  """
  workdir.write_json(folder / PLAN, {
      'name': name, 'config': config, 'paper': paper,
      'runs': [{'name': run, 'settings': dict(settings)}
               for run, settings in runs.items()]})


def read_study(
    folder: pathlib.Path, *, keys: Sequence[str] | None = None) -> Study:
  """All runs below a folder: first those of its plan, then others in it.

  Args:
    folder: of many runs, or of one.
    keys: the settings to compare, dotted; by default those of the plan and any
      other in which the configs differ. The seed is never one of them.

  Raises:
    UserError: no runs, an unknown key, or keys that leave out a difference.
  """
  path = folder / PLAN
  plan = workdir.read_json(path) if path.exists() else {}
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
  """Label of a setting -> its runs (seeds), in the order of the study."""
  groups = {}
  for run in study.runs:
    settings = {key: value(run, key) for key in study.keys}
    name = label(settings, separator=', ') or _folder_name(study, run)
    groups.setdefault(name, []).append(run)
  return groups


def value(run: Run, key: str) -> Any:
  """A setting of a run by its dotted key; ABSENT where it has none."""
  found = run.config or ABSENT
  for part in key.split('.'):
    if not isinstance(found, Mapping) or part not in found:
      return run.settings.get(key, ABSENT)
    found = found[part]
  return found


def label(settings: Mapping[str, Any], *, separator: str = ',') -> str:
  """{'nets.net.scales': 1, 'seed': 0} -> 'scales=1,seed=0'."""
  return separator.join(
      f'{short}={show(settings[key])}'
      for key, short in shorten(settings).items())


def shorten(keys: Iterable[str]) -> dict[str, str]:
  """Each dotted key -> its shortest end that no other key has."""
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
  """A value of a config, as short as can be."""
  if isinstance(thing, float):
    return f'{thing:.6g}'
  if isinstance(thing, Mapping):
    return '+'.join(f'{key}:{show(item)}' for key, item in thing.items())
  if isinstance(thing, list | tuple):
    return '+'.join(map(show, thing))
  return str(thing)


def natural(path: pathlib.Path) -> list[Any]:
  """A key for sorting by which scales=2 comes before scales=10."""
  return [int(part) if part.isdigit() else part
          for part in re.split(r'(\d+)', str(path))]


def _find(folder):
  """Folders with a config.json, not looking into those."""
  found = []
  for where, inner, files in os.walk(folder):
    if workdir.CONFIG in files:
      found.append(pathlib.Path(where))
      inner.clear()
  return sorted(found, key=natural)


def _planned_keys(settings):
  """Keys with more than one value in the plan, but the seed."""
  settings = list(settings)
  keys = list(dict.fromkeys(key for one in settings for key in one))
  return [key for key in keys if key != SEED and len(
      {json.dumps(one.get(key)) for one in settings}) > 1]


def _differing(runs):
  """Config keys that have not the same value in all started runs."""
  flat = [workdir.flatten(run.config) for run in runs if run.config]
  keys = dict.fromkeys(key for config in flat for key in config)
  ignored = {SEED, *workdir.FREE_KEYS}
  return [key for key in keys if key not in ignored and len(
      {json.dumps(config.get(key, ABSENT)) for config in flat}) > 1]


def _complete(keys, runs):
  """`keys`, and others without which two different runs would look equal.

  A key that always has the value of another (two places, one choice) adds
  nothing.
  """
  started = [run for run in runs if run.config]
  values = lambda key: [json.dumps(value(run, key)) for run in started]
  keys = list(keys)
  for key in _differing(runs):
    if not any(f'{key}.'.startswith(f'{told}.') or values(key) == values(told)
               for told in keys):
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
        f'The runs differ in {", ".join(extra)} too, over which nothing may be '
        f'averaged: add {"it" if len(extra) == 1 else "them"} to the rows.')


def _folder_name(study, run):
  return (run.folder.resolve().name if run.folder == study.folder
          else str(run.folder.relative_to(study.folder)))
