"""The runs of an ablation: trained methods, or fits of a prior."""

import functools
import itertools
import json
import pathlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import flags
from ml_collections import config_flags

from deblur_jax import errors, methods
from deblur_jax.evaluation import report
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.training import train, workdir
from experiments import prior as prior_program
from experiments.grids import Grid

LOG = 'log.txt'
FITS = 'fits'       # in the folder of a setting: the folder of its fits


class Job(NamedTuple):
  """One run of a grid."""

  name: str                    # of its folder
  folder: pathlib.Path
  settings: dict[str, Any]     # dotted key -> value
  config: dict[str, Any]       # resolved
  command: list[str]


class Kind(NamedTuple):
  """What differs between training and fits of a prior.

  resolve: (config file, {dotted key: value}) -> the config as plain dicts.
  command: (config file, folder, {dotted key: value}) -> the command of a run.
  is_finished: whether a job is done with just its config.
  check: raises a UserError where a job cannot begin; decodes no picture.
  prepare: removes what a job left unfinished.
  report: (folder, all jobs) -> text; writes the tables of a folder.
  open: whether a key may be an option that the config does not list.
  """

  resolve: Callable[[str, Mapping[str, Any]], dict[str, Any]]
  command: Callable[[str, pathlib.Path, Mapping[str, Any]], list[str]]
  is_finished: Callable[[Job], bool]
  check: Callable[[Job], None]
  prepare: Callable[[Job], None]
  report: Callable[[pathlib.Path, Sequence[Job]], str]
  open: bool


def expand(grid: Grid, folder: pathlib.Path, kind: Kind | None = None
           ) -> list[Job]:
  """All runs of a grid; the last key changes fastest.

  Args:
    grid: the grid.
    folder: of all runs.
    kind: of the runs; None for training.

  Raises:
    UserError: an unknown key, a value of a wrong type, equal runs.
  """
  kind = kind or TRAINED
  base = kind.resolve(grid.config, {})
  inner = list(_inner(base))
  known = [*workdir.flatten(base), *inner]
  for key in grid.set:
    if key not in known and not (kind.open and key.rpartition('.')[0] in inner):
      raise errors.UserError(
          f'{grid.config} has no key {key}.{errors.suggest(key, known)}')
  jobs = []
  for values in itertools.product(*grid.set.values()):
    settings = dict(zip(grid.set, values, strict=True))
    name = _folder_name(settings)
    if any(job.name == name for job in jobs):
      raise errors.UserError(f'The setting {name} comes twice.')
    jobs.append(Job(
        name, folder / name, settings, kind.resolve(grid.config, settings),
        [sys.executable, '-m',
         *kind.command(grid.config, folder / name, settings)]))
  return jobs


def resolve(
    path: str, settings: Mapping[str, Any], *, open: bool = False
) -> dict[str, Any]:
  """The config of a file with some keys changed, as plain dicts.

  Args:
    path: FILE or FILE:ARG.
    settings: {dotted key: value}.
    open: whether keys may be set that the config does not list.

  Raises:
    UserError: no such file, an unknown key, a value of a wrong type.
  """
  argv = ['ablate', f'--config={path}', *_overrides(settings)]
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file(
      'config', lock_config=not open, accept_new_attributes=open,
      flag_values=values, sys_argv=argv)
  try:
    values(argv)
    return json.loads(json.dumps(config.value.to_dict()))
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError,
          OSError, SyntaxError) as error:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    raise errors.UserError(f'{path}: {reason[-1].strip()}') from error


# ---- training

def is_finished(job: Job) -> bool:
  """Whether just this config was trained to the end and evaluated there."""
  run = runs_lib.read_run(job.folder)
  return runs_lib.is_finished(run) and not workdir.differences(
      run.config, methods.completed_by(job.config, run.config))


def _training(path, folder, settings):
  return ['experiments.train', f'--config={path}', f'--workdir={folder}',
          '--evaluate', *_overrides(settings)]


def _use_cpus():
  # The runs, processes of their own, need the accelerators.
  jax.config.update('jax_platforms', 'cpu')


def _check(job):
  _use_cpus()
  try:
    train.prepare(job.config, job.folder)
  except errors.UserError as error:
    raise errors.UserError(f'{job.name}: {error}') from error


TRAINED = Kind(
    resolve, _training, is_finished, _check, prepare=lambda job: None,
    report=lambda folder, jobs: report.describe(report.write(folder)),
    open=False)


# ---- fits of a prior

def fitted(options: flags.FlagValues) -> Kind:
  """The kind of runs that fit a prior.

  Args:
    options: of `prior.define_flags`; those that are given go to each run.
  """
  from deblur_jax.evaluation.report import render
  from deblur_jax.priors import problems, results, solve

  _use_cpus()
  given = [flag.serialize() for flag in options.flags_by_module_dict()[
      prior_program.__name__] if flag.present]

  def complete(path, settings):
    return json.loads(json.dumps(prior_program.complete(
        resolve(path, _for_levels(path, settings), open=True), options)))

  def command(path, folder, settings):
    return ['experiments.prior', f'--config={path}',
            f'--output={folder / FITS}', *given,
            *_overrides(_for_levels(path, settings))]

  @functools.cache
  def digest_and_count(method, kernel):    # what problems depend on, as JSON
    found = prior_program.read_problems(
        {'method': json.loads(method), 'nets': {'kernel': json.loads(kernel)}},
        options)
    if any('sharp' not in one.batch for one in found):
      raise errors.UserError('An ablation needs the truth: give --truth.')
    return problems.digest(found), len(found)

  def read(job):
    """What result.json has, where it is of these problems and this config."""
    digest, count = digest_and_count(
        json.dumps({key: job.config['method'][key] for key in (
            'factor', 'guide') if key in job.config['method']}),
        json.dumps(job.config['nets'].get('kernel')))
    file = job.folder / FITS / 'result.json'
    result = workdir.read_json(file) if file.is_file() else {}
    same = (result.get('config'), result.get('problems')) == (
        job.config, digest)
    return result if same and len(result['rows']) == count else None

  def prepare(job):
    fits = job.folder / FITS
    if fits.exists() and not (job.folder / LOG).is_file():
      raise errors.UserError(
          f'{fits} is not of this program: remove it, or give another '
          '--workdir.')
    shutil.rmtree(fits, ignore_errors=True)

  def table(folder, jobs):
    changed = [key for key in jobs[0].settings if any(
        job.settings[key] != jobs[0].settings[key] for job in jobs)]
    label = lambda job: runs_lib.label(
        {key: job.settings[key] for key in changed}, separator=', ')
    done = {label(job): result for job in jobs if (result := read(job))}
    if not done:
      return 'No setting is finished.'
    head, *rows = results.compare(done)
    text = render.table(head, rows)
    (folder / 'table.md').write_text(text)
    return text

  return Kind(
      complete, command, lambda job: read(job) is not None,
      lambda job: solve.check(job.config), prepare, table, open=True)


def _for_levels(path, settings):
  """One number where the config has one for each level becomes one for each."""
  base = workdir.flatten(resolve(path, {}, open=True))
  return {key: (value,) * len(base[key])
          if isinstance(base.get(key), list) and isinstance(value, int | float)
          else value for key, value in settings.items()}


def _overrides(settings):
  return [f'--config.{key}={value}' for key, value in settings.items()]


def _inner(config, prefix=''):
  """Dotted keys of the dicts in a config."""
  for key, value in config.items():
    if isinstance(value, Mapping):
      yield prefix + key
      yield from _inner(value, f'{prefix}{key}.')


def _folder_name(settings):
  """'scales=1,seed=0', with letters that all file systems and shells take."""
  name = runs_lib.label(settings) or 'run'
  return ''.join(letter if letter.isalnum() or letter in '._=,+-' else '_'
                 for letter in name)
