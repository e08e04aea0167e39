r"""Trains, evaluates and compares many settings of one config.

  python -m experiments.ablate --name=k_scales --workdir=runs/k_scales
  python -m experiments.ablate --config=configs/multiscale_gopro.py \
      --set nets.net.scales=1,2,3 --set seed=0,1,2 --workdir=runs/k_seeds

Each setting has a folder of its own under --workdir. The same command again
skips what is finished and goes on with the rest. --dry_run prints the command
of each run, a line each, for a scheduler; --only=I does the I-th (from 0).

Exit codes: 0 all done, 1 a run failed (the report says which), 2 one line says
what is wrong, 128 + N stopped by signal N.
"""

import concurrent.futures
import itertools
import json
import pathlib
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from deblur_jax import errors, methods
from deblur_jax.evaluation import report
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.training import workdir
from experiments import common, published_results


class Grid(NamedTuple):
  """A named ablation: all combinations of the values of some config keys."""

  config: str
  set: Mapping[str, Sequence[Any]]
  paper: Mapping[str, Any] | None = None


class Job(NamedTuple):
  """One run of a grid."""

  name: str                    # of its folder
  folder: pathlib.Path
  settings: dict[str, Any]     # dotted key -> value
  config: dict[str, Any]       # resolved
  command: list[str]           # trains and evaluates


class Stop:
  """Takes SIGINT and SIGTERM and hands them on to the runs.

  As SIGTERM in both cases, which makes a run save before it leaves; a second
  Ctrl-C ends it at once.
  """

  def __init__(self):
    self.signal = 0
    self._children = set()
    self._lock = threading.RLock()   # the handler may interrupt its holder
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, self._take)

  def start(self, command: Sequence[str], **options) -> subprocess.Popen | None:
    """Starts a child which gets no signals but ours; None after a signal."""
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
    name: str | None, config: str | None, sets: Sequence[str]) -> Grid:
  """The grid that the flags describe.

  Raises:
    UserError: an unknown name, neither name nor config, or a bad --set.
  """
  if name is None and config is None:
    raise errors.UserError(
        f'Give --name, one of {", ".join(GRIDS)}, or --config and --set.')
  grid = Grid(config, {}) if name is None else errors.look_up(
      GRIDS, name, what='grid')
  values = dict(grid.set)
  values |= dict(map(common.key_and_values, sets))
  return grid._replace(config=config or grid.config, set=values)


def expand(grid: Grid, folder: pathlib.Path) -> list[Job]:
  """All runs of a grid; the last key changes quickest.

  Every config is resolved just as `experiments.train` will do it.

  Raises:
    UserError: an unknown key, a value of a wrong type, equal runs.
  """
  base = resolve(grid.config, {})
  known = [*workdir.flatten(base), *_inner(base)]
  for key in grid.set:
    if key not in known:
      raise errors.UserError(
          f'{grid.config} has no key {key}.{errors.suggest(key, known)}')
  jobs = []
  for values in itertools.product(*grid.set.values()):
    settings = dict(zip(grid.set, values, strict=True))
    name = _folder_name(settings)
    if any(job.name == name for job in jobs):
      raise errors.UserError(f'The setting {name} comes twice.')
    flags_ = [f'--config={grid.config}', f'--workdir={folder / name}',
              '--evaluate', *_overrides(settings)]
    jobs.append(Job(
        name, folder / name, settings, resolve(grid.config, settings),
        [sys.executable, '-m', 'experiments.train', *flags_]))
  return jobs


def resolve(path: str, settings: Mapping[str, Any]) -> dict[str, Any]:
  """The config of a file with some keys changed, as plain dicts.

  Raises:
    UserError: no such file, an unknown key, a value of a wrong type.
  """
  argv = ['ablate', f'--config={path}', *_overrides(settings)]
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file(
      'config', lock_config=True, flag_values=values, sys_argv=argv)
  try:
    values(argv)
    return json.loads(json.dumps(config.value.to_dict()))
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError,
          OSError, SyntaxError) as error:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    raise errors.UserError(f'{path}: {reason[-1].strip()}') from error


def select(jobs: list[Job], only: int | None) -> list[Job]:
  """All, or that one by its number."""
  if only is None:
    return jobs
  if not 0 <= only < len(jobs):
    raise errors.UserError(f'--only must be 0 to {len(jobs) - 1}, got {only}.')
  return [jobs[only]]


def is_finished(job: Job) -> bool:
  """Whether just this config was trained to the end and evaluated there."""
  run = runs_lib.read_run(job.folder)
  return runs_lib.is_finished(run) and not workdir.differences(
      run.config, methods.completed_by(job.config, run.config))


def execute(
    jobs: Sequence[Job], stop: Stop, *, at_once: int = 1) -> list[Job]:
  """Does all runs that are not finished; returns those that failed.

  A run's output goes to log.txt in its folder, and to stdout where one runs at
  a time.
  """
  def do(job):
    return _execute_one(job, stop, loud=at_once == 1)

  with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
    return [job for job, fine in zip(jobs, pool.map(do, jobs), strict=True)
            if not fine]


def _execute_one(job, stop, *, loud):
  if stop.signal:
    return True
  if is_finished(job):
    print(f'{job.name}: finished before, skipped', flush=True)
    return True
  errors.make_folder(job.folder)
  failed = job.folder / runs_lib.FAILED
  failed.unlink(missing_ok=True)
  began = time.monotonic()
  print(f'{job.name}: begins', flush=True)
  code, last = _run(job.command, job.folder / 'log.txt', stop, loud=loud)
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
  """Runs a command; its exit code and the last line that it said."""
  with log.open('ab') as file:
    file.write(f'$ {shlex.join(command)}\n'.encode())
    file.flush()
    child = stop.start(command, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if child is None:
      return 0, ''
    tail = b''
    # Whatever is there, not whole lines: a progress bar is one long line.
    while chunk := child.stdout.read1():
      tail = (tail + chunk)[-2000:]
      file.write(chunk)
      file.flush()
      if loud:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    code = child.wait()
  stop.ended(child)
  said = tail.decode(errors='replace').replace('\r', '\n').split('\n')
  return code, next((line for line in reversed(said) if line.strip()), '')


def _overrides(settings):
  return [f'--config.{key}={value}' for key, value in settings.items()]


def _inner(config, prefix=''):
  """Dotted keys of the dicts in a config."""
  for key, value in config.items():
    if isinstance(value, Mapping):
      yield prefix + key
      yield from _inner(value, f'{prefix}{key}.')


def _folder_name(settings):
  """'scales=1,seed=0', of letters that every file system and shell takes."""
  name = runs_lib.label(settings) or 'run'
  return ''.join(letter if letter.isalnum() or letter in '._=,+-' else '_'
                 for letter in name)


def define_flags() -> None:
  """Only for the program: others import GRIDS and the functions from here."""
  flags.DEFINE_string('name', None, 'A row of GRIDS in this file.')
  flags.DEFINE_string(
      'config', None, "Config file, FILE or FILE:ARG, instead of the grid's.")
  flags.DEFINE_multi_string(
      'set', [], 'KEY=VALUE,VALUE,...; may be given again for other keys.')
  flags.DEFINE_string('workdir', None, 'Folder of all the runs.', required=True)
  flags.DEFINE_bool('dry_run', False, 'Only print the commands.')
  flags.DEFINE_integer('only', None, 'Do only the run of this number, from 0.')
  flags.DEFINE_integer('jobs', 1, 'How many runs at a time.', lower_bound=1)


def main(argv):
  del argv
  options = flags.FLAGS
  folder = common.workdir()
  grid = choose(options.name, options.config, options.set)
  jobs = expand(grid, folder)
  chosen = select(jobs, options.only)
  if options.dry_run:
    for job in chosen:
      print(shlex.join(job.command))
    return 0
  errors.make_folder(folder)
  runs_lib.write_plan(
      folder, name=options.name or folder.name, config=grid.config,
      runs={job.name: job.settings for job in jobs}, paper=grid.paper)
  stop = Stop()
  failed = execute(chosen, stop, at_once=options.jobs)
  print(f'\n{report.describe(report.write(folder))}', flush=True)
  if stop.signal:
    print('Stopped; the same command goes on.', file=sys.stderr)
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
        'configs/fusion_attention.py',
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
                           'srn', 'fusion', 'nafnet')}),
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
}


if __name__ == '__main__':
  define_flags()
  common.run(main)
