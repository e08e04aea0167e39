"""The runs of an ablation: trained methods, or fits of a prior."""

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import flags

from deblur_jax import errors, methods
from deblur_jax.evaluation import report
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.ops import atomic_files
from deblur_jax.training import hparams, train, workdir
from experiments import config_flag, published_results
from experiments import prior as prior_program
from experiments.grids import Grid

LOG = 'log.txt'
NAME_BYTES = 100    # of the folder of a run
FITS = 'fits'       # in the folder of a setting: the folder of its fits


class Job(NamedTuple):
  """One run of a grid."""

  name: str                    # of its folder
  folder: pathlib.Path
  settings: dict[str, Any]     # dotted key -> value
  config: dict[str, Any]       # resolved
  command: list[str]
  differing: Sequence[str] = ()      # keys with several values in the grid


class Kind(NamedTuple):
  """What differs between training and fits of a prior.

  resolve: (config file, {dotted key: value}) -> the config as plain dicts.
  command: (config file, folder, {dotted key: value}) -> the command of a run.
  is_finished: whether a job is done with just its config.
  check: raises a UserError where a job cannot begin; decodes no picture.
  find: (folder of all runs, job) -> the folder in it of a run of the job's
    config, which may have another name; None without one.
  prepare: removes what a job left unfinished.
  record: keeps what a finished job has for other programs.
  report: (folder, all jobs) -> text; writes the tables of a folder.
  """

  resolve: Callable[[str, Mapping[str, Any]], dict[str, Any]]
  command: Callable[[str, pathlib.Path, Mapping[str, Any]], list[str]]
  is_finished: Callable[[Job], bool]
  check: Callable[[Job], None]
  find: Callable[[pathlib.Path, Job], pathlib.Path | None]
  prepare: Callable[[Job], None]
  record: Callable[[Job], None]
  report: Callable[[pathlib.Path, Sequence[Job]], str]


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
  jobs = []
  for values in itertools.product(*grid.set.values()):
    settings = dict(zip(grid.set, values, strict=True))
    if any(job.settings == settings for job in jobs):
      raise errors.UserError(
          f'The setting {runs_lib.label(settings)} comes twice.')
    differing = [key for key in settings if len(grid.set[key]) > 1]
    name = _folder_name(settings, differing, taken=[job.name for job in jobs])
    job = Job(name, folder / name, settings,
              kind.resolve(grid.config, settings), [], differing)
    path = kind.find(folder, job) or job.folder
    jobs.append(job._replace(
        name=path.name, folder=path, command=[
            sys.executable, '-m', *kind.command(grid.config, path, settings)]))
  return jobs


# ---- training

def is_finished(job: Job) -> bool:
  """Whether just this config was trained to the end and evaluated there."""
  run = runs_lib.read_run(job.folder)
  return runs_lib.is_finished(run) and _is_of(job, run.config, job.folder)


def _is_of(job, stored, folder):
  """Whether a run, its config `stored`, is of a job."""
  config = train.completed_by(job.config, stored)
  old, new = workdir.flatten(stored), workdir.flatten(config)
  # Paths of data are free, but not where the runs of the grid differ in them.
  return (not workdir.differences(stored, config)
          and all(old.get(key) == new.get(key) for key in old.keys() | new
                  if any(f'{key}.'.startswith(f'{one}.')
                         for one in job.differing))
          and train.has_data_of(folder, config))


def _find_run(folder, job):
  for path in sorted(folder.glob(f'*/{workdir.CONFIG}')):
    with contextlib.suppress(errors.UserError):    # of another version
      if _is_of(job, workdir.read_config(path.parent), path.parent):
        return path.parent
  return None


def _complete(path, settings):
  """The config, its keys and networks checked without reading a file."""
  config = config_flag.resolve(path, settings)
  train.check(config)
  methods.check(config)
  return config


def _training(path, folder, settings):
  return ['experiments.train', f'--config={path}', f'--workdir={folder}',
          '--evaluate', *_overrides(settings)]


def use_cpus(devices: int | None = None) -> None:
  """Computes on CPUs here: the runs, processes of their own, need the others.

  Args:
    devices: how many CPU devices JAX shall have, the number that a run will
      have; by default as the environment says.
  """
  jax.config.update('jax_platforms', 'cpu')
  if devices:
    jax.config.update('jax_num_cpu_devices', devices)


def _check(job):
  use_cpus()
  try:
    train.prepare(job.config, job.folder)
  except errors.UserError as error:
    raise errors.UserError(f'{job.name}: {error}') from error


def _write_hparams(job):
  """For TensorBoard, if the run writes files for it."""
  run = runs_lib.read_run(job.folder)
  if not (runs_lib.is_finished(run) and run.config['tensorboard']):
    return
  plain = bool | int | float | str
  try:
    hparams.write(job.folder, {
        key: value if isinstance(value, plain) else runs_lib.show(value)
        for key, value in job.settings.items()
    }, run.eval['mean'], step=run.eval['step'])
  except errors.UserError as error:     # no TensorFlow
    logging.warning('%s', error)


TRAINED = Kind(
    _complete, _training, is_finished, _check, _find_run,
    prepare=lambda job: None, record=_write_hparams,
    report=lambda folder, jobs: report.describe(report.write(folder)))


# ---- fits of a prior

def fitted(options: flags.FlagValues) -> Kind:
  """The kind of runs that fit a prior.

  Args:
    options: of `prior.define_flags`; those that are given go to each run.
  """
  from deblur_jax.evaluation.report import content, render
  from deblur_jax.priors import initialization, problems, results, solve

  use_cpus()
  given = [flag.serialize() for flag in options.flags_by_module_dict()[
      prior_program.__name__] if flag.present]

  def complete(path, settings):
    return json.loads(json.dumps(prior_program.complete(
        config_flag.resolve(path, _for_levels(path, settings)), options)))

  def command(path, folder, settings):
    return ['experiments.prior', f'--config={path}',
            f'--out={folder / FITS}', *given,
            *_overrides(_for_levels(path, settings))]

  @functools.cache
  def digest_and_count(method, kernel):    # what problems depend on, as JSON
    found = prior_program.read_problems(
        {'method': json.loads(method), 'nets': {'kernel': json.loads(kernel)}},
        options)
    if any('sharp' not in one.batch for one in found):
      raise errors.UserError('An ablation needs the truth: give --truth.')
    return problems.digest(found), len(found)

  @functools.cache
  def read_start():
    return initialization.read(options.start) if options.start else None

  def begun(job):
    """(result.json or {}, number of problems), of just the fits of a job."""
    digest, count = digest_and_count(
        json.dumps({key: job.config['method'][key] for key in (
            'factor', 'guide') if key in job.config['method']}),
        json.dumps(job.config['nets'].get('kernel')))
    file = job.folder / FITS / solve.RESULT
    result = workdir.read_json(file) if file.is_file() else {}
    same = solve.same(options.task, job.config, digest, seeds=options.seeds,
                      start=read_start())
    is_same = all(result.get(key) == value for key, value in same.items())
    return result if is_same else {}, count

  def read(job):
    result, count = begun(job)
    return result if result and len(result['rows']) == count else None

  def prepare(job):
    fits = job.folder / FITS
    if fits.exists() and not (job.folder / LOG).is_file():
      raise errors.UserError(
          f'{fits} is not of this program: remove it, or give another '
          '--workdir.')
    if options.warm or not begun(job)[0]:
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
    papers = content.of_papers(published_results.OF_TASKS.get(options.task, ()))
    text = f'{render.table(head, rows)}\n{papers}'.rstrip() + '\n'
    atomic_files.write(folder / 'table.md', text)
    return text

  return Kind(
      complete, command, lambda job: read(job) is not None,
      lambda job: solve.check(job.config), lambda folder, job: None, prepare,
      lambda job: None, table)


def _for_levels(path, settings):
  """One number where the config has one for each level becomes one for each."""
  base = workdir.flatten(config_flag.resolve(path))
  return {key: (value,) * len(base[key])
          if isinstance(base.get(key), list) and isinstance(value, int | float)
          else value for key, value in settings.items()}


def _overrides(settings):
  return [f'--config.{key}={value}' for key, value in settings.items()]


def _folder_name(settings, differing, *, taken):
  """'scales=1_seed=0': what differs between the runs, at most NAME_BYTES bytes.

  It has only letters that file systems, shells and lists of flags take. Of a
  path the last part is used.
  """
  last = lambda value: (
      os.path.basename(os.path.normpath(value)) if isinstance(value, str)
      else value)
  text = runs_lib.label({key: last(settings[key]) for key in differing},
                        separator='_') or 'run'
  name = ''.join(letter if letter.isalnum() or letter in '._=+-' else '_'
                 for letter in text)
  if len(name.encode()) <= NAME_BYTES and name not in taken:
    return name
  digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
  short = name.encode()[:NAME_BYTES - 9].decode(errors='ignore')
  return f'{short}-{digest}'
