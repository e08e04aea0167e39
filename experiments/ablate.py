r"""Compares many settings of one config: trained methods, or fits of a prior.

  python -m experiments.ablate --name=k_scales --workdir=runs/k_scales
  python -m experiments.ablate --config=configs/multiscale_gopro.py \
      --set nets.net.scales=1,2,3 --set seed=0,1,2 --workdir=runs/k_seeds
  python -m experiments.ablate --task=denoise --truth=PHOTOS --crop=128 \
      --name=depth --workdir=OUT
  python -m experiments.ablate --task=sr --truth=PHOTOS \
      --set method.jitter=0.0,0.03 --set total_steps=800 --workdir=OUT

Each setting has its own folder in --workdir. All settings are checked before
the first run begins. The same command again skips finished settings and
continues with the others. --dry_run prints the command
of each run, a line each, for a scheduler; --only=I does the I-th run (from 0).

With --task each setting is fitted to the same pictures, as by
experiments.prior, which explains the other flags; without --config the config
is configs/prior_TASK.py. OUT/table.md has a row for each setting: parameters,
mean PSNR of each kept image, the oracle, the gap to it, seconds a step.

Exit codes: 0 all done, 1 a run failed (the report says which), 2 one line says
what is wrong, 128 + N stopped by signal N.
"""

import concurrent.futures
import functools
import itertools
import json
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import flags
from ml_collections import config_flags

from deblur_jax import errors, methods
from deblur_jax.evaluation import report
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.training import train, workdir
from experiments import common, published_results
from experiments import prior as prior_program

LOG = 'log.txt'
FITS = 'fits'       # in the folder of a setting: the folder of its fits


class Grid(NamedTuple):
  """A named ablation: all combinations of the values of some config keys.

  config: FILE or FILE:ARG; None for the config of a prior's task.
  set: dotted config key -> its values.
  paper: what a paper reports, see `published_results`.
  """

  config: str | None
  set: Mapping[str, Sequence[Any]]
  paper: Mapping[str, Any] | None = None


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


class Stop:
  """Passes SIGINT and SIGTERM on to the runs.

  Both become SIGTERM, after which a run saves and ends. A second Ctrl-C kills
  the runs.
  """

  def __init__(self):
    self.signal = 0
    self._children = set()
    self._lock = threading.RLock()   # the handler may interrupt its holder
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, self._take)

  def start(self, command: Sequence[str], **options) -> subprocess.Popen | None:
    """Starts a child that gets no other signals; None after a signal."""
    with self._lock:
      if self.signal:
        return None
      child = subprocess.Popen(command, start_new_session=True, **options)
      self._children.add(child)
    return child

  def ended(self, child: subprocess.Popen) -> None:
    """Forgets a child."""
    with self._lock:
      self._children.discard(child)

  def _take(self, number, _):
    with self._lock:
      at_once = self.signal and number == signal.SIGINT
      self.signal = number
      for child in self._children:
        child.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)


def choose(
    name: str | None, config: str | None, sets: Sequence[str], *,
    task: str | None = None) -> Grid:
  """The grid that the flags describe.

  Args:
    name: a row of GRIDS.
    config: a config file in place of the grid's.
    sets: KEY=VALUE,VALUE,...
    task: of a prior.

  Raises:
    UserError: an unknown name, no config, nothing to set, or a bad --set.
  """
  if name is None and (config is None if task is None else not sets):
    raise errors.UserError(
        f'Give --name, one of {", ".join(GRIDS)}, or '
        f'{"--set" if task else "--config and --set"}.')
  grid = Grid(config, {}) if name is None else errors.look_up(
      GRIDS, name, what='grid')
  values = dict(grid.set)
  values |= dict(map(common.key_and_values, sets))
  config = config or grid.config
  if config is None:
    if task is None:
      raise errors.UserError(f'The grid {name} is for priors: give --task.')
    config = str(prior_program.config_of(task))
  return grid._replace(config=config, set=values)


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


def select(jobs: list[Job], only: int | None) -> list[Job]:
  """All jobs, or the one of a number from 0.

  Raises:
    UserError: no such number.
  """
  if only is None:
    return jobs
  if not 0 <= only < len(jobs):
    raise errors.UserError(f'--only must be 0 to {len(jobs) - 1}, got {only}.')
  return [jobs[only]]


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


# ---- running

def execute(
    jobs: Sequence[Job], stop: Stop, *, at_once: int = 1,
    kind: Kind = TRAINED) -> list[Job]:
  """Does all runs that are not finished.

  The output of a run goes to log.txt in its folder, and to stdout if runs are
  done one at a time.

  Args:
    jobs: the runs.
    stop: passes signals on; after a signal no run starts.
    at_once: runs at a time, at least 1.
    kind: of the runs.

  Returns:
    The jobs that failed.
  """
  def do(job):
    return _execute_one(job, stop, kind, loud=at_once == 1)

  with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
    return [job for job, fine in zip(jobs, pool.map(do, jobs), strict=True)
            if not fine]


def _execute_one(job, stop, kind, *, loud):
  if stop.signal:
    return True
  if kind.is_finished(job):
    print(f'{job.name}: finished before, skipped', flush=True)
    return True
  kind.prepare(job)
  errors.make_folder(job.folder)
  failed = job.folder / runs_lib.FAILED
  failed.unlink(missing_ok=True)
  began = time.monotonic()
  print(f'{job.name}: begins', flush=True)
  code, last = _run(job.command, job.folder / LOG, stop, loud=loud)
  if stop.signal:
    return True
  if code:
    reason = f'{job.command[2]} ended with code {code}: {last}'
    workdir.write_json(failed, {'reason': reason, 'command': job.command})
    print(f'{job.name}: failed: {reason}', flush=True)
    return False
  print(f'{job.name}: done in {time.monotonic() - began:.0f} s', flush=True)
  return True


def _run(command, log, stop, *, loud):
  """Runs a command; returns its exit code and the last line of its output."""
  with log.open('ab') as file:
    file.write(f'$ {shlex.join(command)}\n'.encode())
    file.flush()
    child = stop.start(command, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if child is None:
      return 0, ''
    tail = b''
    # Not by lines: a progress bar is one long line.
    while chunk := child.stdout.read1():
      tail = (tail + chunk)[-2000:]
      file.write(chunk)
      file.flush()
      if loud:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    code = child.wait()
  stop.ended(child)
  lines = tail.decode(errors='replace').replace('\r', '\n').split('\n')
  return code, next((line for line in reversed(lines) if line.strip()), '')


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


def define_flags() -> None:
  """Only for the program: others import GRIDS and the functions."""
  flags.DEFINE_string('name', None, 'A row of GRIDS in this file.')
  flags.DEFINE_string(
      'config', None, "Config file, FILE or FILE:ARG, instead of the grid's.")
  flags.DEFINE_multi_string(
      'set', [], 'KEY=VALUE,VALUE,...; may be given again for other keys.')
  flags.DEFINE_string('workdir', None, 'Folder of all the runs.', required=True)
  flags.DEFINE_bool('dry_run', False, 'Only print the commands.')
  flags.DEFINE_integer('only', None, 'Do only the run of this number, from 0.')
  flags.DEFINE_integer('jobs', 1, 'How many runs at a time.', lower_bound=1)
  prior_program.define_flags()


def main(argv):
  """Returns the exit code."""
  del argv
  options = flags.FLAGS
  folder = common.workdir()
  if options.task:
    kind = fitted(options)
  else:
    kind = TRAINED
    for flag in options.flags_by_module_dict()[prior_program.__name__]:
      if flag.present:
        raise errors.UserError(f'--{flag.name} is for priors: give --task.')
  grid = choose(options.name, options.config, options.set, task=options.task)
  jobs = expand(grid, folder, kind)
  chosen = select(jobs, options.only)
  if options.dry_run:
    for job in chosen:
      print(shlex.join(job.command))
    return 0
  for job in chosen:      # all of them, before the first run begins
    if not kind.is_finished(job):
      kind.check(job)
  errors.make_folder(folder)
  runs_lib.write_plan(
      folder, name=options.name or folder.name, config=grid.config,
      runs={job.name: job.settings for job in jobs}, paper=grid.paper)
  stop = Stop()
  failed = execute(chosen, stop, at_once=options.jobs, kind=kind)
  print(f'\n{kind.report(folder, jobs)}', flush=True)
  if stop.signal:
    print('Stopped; the same command continues.', file=sys.stderr)
    return 128 + stop.signal
  return 1 if failed else 0


_GOPRO = 'configs/multiscale_gopro.py'
_PHYSICS = 'configs/cycle_physics.py:small'
_DEBLURGAN = 'configs/deblurgan_gopro.py'
GRIDS = {
    'k_scales': Grid(
        _GOPRO, {'nets.net.scales': (1, 2, 3)},
        paper=published_results.NAH_K_SCALES),
    'loss': Grid(
        _GOPRO, {'method.loss': ('l1', 'mse', 'charbonnier', 'psnr_loss',
                                 'l1 + 0.1*fft_l1')}),
    'residual': Grid(_GOPRO, {'nets.net.residual': (False, True)}),
    'width': Grid(_GOPRO, {'nets.net.features': (16, 32, 64)}),
    'kernel_size': Grid(_GOPRO, {'nets.net.kernel_size': (3, 5)}),
    'pyramid': Grid(
        _GOPRO, {'nets.net.pyramid': ('deepdeblur_pytorch',
                                      'deepdeblur_torch7')}),
    'sharing': Grid('configs/srn.py', {'nets.net.scales': (1, 2, 3),
                                       'nets.net.shared': (True, False)}),
    'recurrent': Grid('configs/srn.py', {'nets.net.recurrent': (False, True)}),
    'attention': Grid(
        'configs/mimo_unet.py',
        {'nets.net.attention': ('none', 'se', 'cbam', 'window')}),
    'distillation': Grid(
        'configs/distill.py', {'method.loss_weight': (0.0, 1.0)}),
    'sparsity': Grid(
        'configs/prune.py:same', {'method.share': (0.0, 0.5, 0.8, 0.9)}),
    'thinner': Grid(
        'configs/prune.py', {'nets.net.features': (64, 48, 32, 16)}),
    'thinner_small': Grid(
        'configs/prune.py:small', {'nets.net.features': (16, 12, 8, 4)}),
    'crop': Grid(_GOPRO, {'data.loader.crop': (128, 256)}),
    # The penalty and five discriminator steps stay with every game, so that
    # only the game differs; the released code has neither for the others than
    # WGAN.
    'gan_content': Grid(
        _DEBLURGAN,
        {'method.discriminator.gan': ('wgan', 'lsgan', 'bce', 'ralsgan'),
         'method.content': ('perceptual', 'l1')}),
    'discriminator_steps': Grid(
        _DEBLURGAN, {'method.discriminator_steps': (1, 2, 5)}),
    'generator': Grid(
        'configs/deblurgan_l1.py:bare',
        {'nets.generator.name': ('resnet', 'unet', 'fpn', 'restormer',
                                 'multiscale',
                           'srn', 'mimo_unet', 'nafnet')}),
    'cycle_terms': Grid(
        'configs/cycle_unpaired.py:small',
        {'method.without': ('nothing', 'adversarial', 'cycle_blur',
                            'cycle_sharp', 'identity')}),
    'terms': Grid(
        _PHYSICS, {'method.without': ('nothing', 'reblur', 'sparsity',
                                      'adversarial', 'cycle', 'kernel')}),
    # Those that are off elsewhere.
    'priors': Grid(
        _PHYSICS, {'method.weights.tv': (0.0, 0.01),
                   'method.weights.dark': (0.0, 0.01)}),
    'start_alone': Grid(_PHYSICS, {'method.start_steps': (0, 500)}),
    # The blurry pictures alone: what excludes the trivial answer then.
    'sparsity_bound': Grid(
        _PHYSICS, {'method.weights.cycle': (0.0,),
                   'method.weights.kernel': (0.0,),
                   'method.weights.adversarial': (0.0,),
                   'data.loader.crop': (64,), 'total_steps': (500,),
                   'method.without': ('nothing', 'sparsity')}),
    # Of priors: --task names the config.
    'average': Grid(None, {'method.average': (0.0, 0.9, 0.99, 0.999)}),
    'depth': Grid(None, {'nets.net.down': tuple(
        (128,) * depth for depth in (1, 2, 3, 4, 5))}),
    'jitter': Grid(None, {'method.jitter': (0.0, 1 / 100, 1 / 30, 1 / 10)}),
    'network': Grid(None, {'nets.net': (
        dict(name='skip'), dict(name='unet_prior', num_layers=5),
        dict(name='unet_prior', num_layers=10),
        dict(name='deep_decoder', features=64),
        dict(name='deep_decoder', features=128))}),
    'skips': Grid(None, {'nets.net.skip': (0, 4, 16, 128)}),
    'stopping': Grid(None, {'method.stopping': (
        dict(name='emv', patience=1000), dict(name='wmv'),
        dict(name='held_out'), dict(name='fixed'))}),
}


if __name__ == '__main__':
  define_flags()
  common.run(main)
