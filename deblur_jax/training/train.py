"""Trains one config into one folder: resume, logs, pictures, checkpoints.

Running the same command again goes on where the last run stopped, bit for bit.
"""

import contextlib
import logging
import pathlib
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from PIL import Image

from deblur_jax import data, errors, methods
from deblur_jax.config import check_keys
from deblur_jax.data import preprocess, verify
from deblur_jax.evaluation import test_sets
from deblur_jax.ops import macs
from deblur_jax.state import Method, Metrics, TrainState
from deblur_jax.training import checkpoint, loop, optim, parallel, workdir

KEYS = ('seed', 'total_steps', 'batch_size', 'log_every', 'save_every',
        'tensorboard', 'method', 'nets', 'optim', 'data', 'augment', 'validate')


class Setup(NamedTuple):
  """All parts of an experiment, before its first step."""

  method: Method
  step: Callable[..., tuple[TrainState, Metrics]]  # (state, batch, key)
  init: Callable[[], TrainState]
  like: TrainState                                 # shapes and shardings
  batches: Callable[[int], Any]                    # finished steps -> batches
  key: jax.Array
  mesh: jax.sharding.Mesh


class Result(NamedTuple):
  """How a run ended."""

  step: int
  finished: bool  # False: a signal ended it; run it again to go on


def check(config: Mapping[str, Any]) -> None:
  """Raises a UserError for unknown, missing and impossible top-level keys."""
  if 'chunk' in config:
    raise errors.UserError(
        'This config is of a prior, which is fitted and not trained; give it '
        'to python -m experiments.prior.')
  check_keys(config, KEYS)
  for key in ('total_steps', 'batch_size', 'log_every', 'save_every'):
    if config[key] < 1:
      raise errors.UserError(f'{key} must be at least 1, got {config[key]}.')
  for key, value in config['validate'].items():
    if value < 1:
      raise errors.UserError(f'validate.{key} must be at least 1, got {value}.')
  unknown = set(config['data']) - {'train', 'test', 'loader', 'blur'}
  if unknown:
    raise errors.UserError(
        f'Unknown key data.{min(unknown)}; known: train, test, loader, blur.')


def setup(
    config: Mapping[str, Any], *, from_checkpoint: bool = False) -> Setup:
  """Builds what `config` (plain dicts) describes, on all devices.

  Args:
    config: see configs/.
    from_checkpoint: see `methods.build`.

  Raises:
    UserError: anything in the config or the data that cannot be trained on.
  """
  check(config)
  mesh = parallel.data_mesh()
  method = methods.build(config, from_checkpoint=from_checkpoint)
  synthesise = preprocess.make_synthesis(config)
  crop = config['data']['loader']['crop']
  like = loop.abstract_state(method, crop, mesh)
  stages = data.stages(
      crop, config['batch_size'],
      config['data']['loader'].get('progressive', ()))
  for stage in stages:
    parallel.check_batch_size(stage.batch_size, mesh)
    for what, parts in method.splits.items():
      optim.check_parts(stage.batch_size, parts, what=what)
    if stage.begin:           # what would end the run when the stage begins
      loop.abstract_state(method, stage.crop, mesh)
      loop.check_step(
          method, like, stage.crop, stage.batch_size, synthesise=synthesise)
  source = data.open_source(**config['data']['train'])
  preprocess.check_pairing(
      source, config, unpaired=method.unpaired, window=method.window)
  verify.quick(source, crop=max(stage.crop for stage in stages))
  loader = data.build(
      source, **config['data']['loader'], batch_size=config['batch_size'],
      seed=config['seed'], process_index=jax.process_index(),
      process_count=jax.process_count())
  constants = parallel.put(loader.constants, parallel.replicated(mesh))
  # Seeds of data, weights and steps must not meet: one key each.
  key = jax.random.key(config['seed'])
  key_init, key_steps = jax.random.split(key)

  def batches(finished: int):
    for batch in parallel.prefetch(loader.batches(finished), mesh):
      yield batch | constants

  return Setup(
      method,
      loop.make_step(method, preprocess.make_prepare(config, loader.unpack),
                     mesh),
      lambda: loop.init(method, key_init, crop, mesh), like, batches,
      parallel.put_key(key_steps, mesh), mesh)


def run(
    config: Mapping[str, Any], folder: pathlib.Path, *,
    allow_config_change: bool = False
) -> Result:
  """Trains `config` into `folder`; all processes call it.

  Args:
    config: plain dicts, see configs/.
    folder: made where there is none; a run found in it goes on.
    allow_config_change: go on although the folder's config differs.

  Returns:
    The step reached, and whether that was the last.

  Raises:
    UserError: bad config, data or folder; a loss or gradient that is not
      finite; a checkpoint that cannot be written.
  """
  check(config)
  config = methods.complete(config)
  parts = setup(config, from_checkpoint=checkpoint.exists(
      folder / workdir.CHECKPOINTS))
  folder = errors.make_folder(folder)
  first = jax.process_index() == 0
  with workdir.locked(folder) if first else contextlib.nullcontext():
    return _run(config, folder, parts, allow_config_change)


def _run(config, folder, parts: Setup, allow_config_change) -> Result:
  # ---- the state: new, or where the last run stopped
  checkpoints = checkpoint.Checkpoints(folder / workdir.CHECKPOINTS)
  if checkpoints.latest_step() is None:
    state = parts.init()
  else:
    if not allow_config_change:
      workdir.check_config(folder, config)
    state = checkpoints.restore(parts.like)
  first = int(state.step)
  # ---- the hook that watches, logs and saves
  total = config['total_steps']
  hook = Recorder(config, folder, parts, checkpoints, finished=first)
  if jax.process_index() == 0:      # all that could be refused was accepted
    workdir.write_config(folder, config)
    workdir.write_json(
        folder / workdir.ENVIRONMENT, workdir.describe_environment())
  previous = _on_sigterm(hook.stop)
  # ---- the loop
  try:
    batches = parts.batches(first) if first < total else ()
    state = loop.fit(
        parts.step, state, batches, parts.key, total, hooks=[hook])
    hook.finish()
  finally:
    hook.close()
    checkpoints.close()
    _on_sigterm(previous)
  step = int(state.step)
  if step >= total and jax.process_index() == 0:
    summary = folder / 'summary.json'
    if first < total or not summary.exists():
      workdir.write_json(summary, _summary(config, parts, hook, summary))
  return Result(step, step >= total)


class Recorder:
  """The hook of a run: it checks, logs, validates, saves and stops."""

  def __init__(self, config, folder, parts, checkpoints, *, finished):
    self._config, self._folder = config, folder
    self._checkpoints, self._parts = checkpoints, parts
    self._stopping = False
    self._pending = None     # (step, metrics) not looked at yet
    self._clock = time.perf_counter()
    self.intervals = []      # seconds of each step
    self._logged = []        # the newest lines
    self._watches = [*parts.method.watches]   # that have not warned
    self._validate = test_sets.make_validate(
        parts.method, config['data']['test'], parts.mesh, **config['validate'])
    self._log = self._board = self._bar = None
    if jax.process_index() == 0:
      self._log = workdir.MetricsLog(folder, finished=finished)
      self._board = _tensorboard(folder) if config['tensorboard'] else None
      self._bar = tqdm.tqdm(
          total=config['total_steps'], initial=finished, unit='step',
          file=sys.stderr, dynamic_ncols=True, mininterval=1)

  def __call__(self, step: int, state: TrainState, metrics: Metrics) -> bool:
    """After each step; True ends the loop."""
    # The step before is looked at, so that the device is never waited for.
    self._look()
    self._pending = (step, metrics)
    now = time.perf_counter()
    self.intervals.append(now - self._clock)
    config = self._config
    last = step == config['total_steps']
    stopping = self._stopping or (
        jax.process_count() > 1 and self._checkpoints.preempted(step))
    saving = last or stopping or step % config['save_every'] == 0
    if saving or step % config['log_every'] == 0:
      values = self._look()
      # The first step compiles.
      steps = self.intervals[1:] or self.intervals
      values['seconds_per_step'] = statistics.median(steps[-50:])
      if saving:
        values |= self._save(step, state)
      self._write(step, values)
    if self._bar:
      self._bar.update(1)
    self._clock = time.perf_counter()
    return stopping

  def stop(self, *_) -> None:
    """Leave after this step, with a checkpoint; a signal handler."""
    self._stopping = True

  def finish(self) -> None:
    """Waits for the last checkpoint."""
    self._look()
    self._checkpoints.wait()

  def close(self) -> None:
    """Lets go of all files, whatever happened."""
    for part in (self._bar, self._log, self._board):
      if part:
        part.close()

  def _look(self) -> dict[str, float]:
    """The pending metrics as floats; stops where they are not finite."""
    if self._pending is None:
      return {}
    (step, metrics), self._pending = self._pending, None
    values = {key: float(value) for key, value in metrics.items()}
    self._check_finite(step, values, np.isfinite)
    return values

  def _check_finite(self, step, values, is_good) -> None:
    bad = [f'{key} = {value}' for key, value in values.items()
           if not is_good(value)]
    if bad:
      raise errors.UserError(
          f'Step {step}: {", ".join(bad)}; stopped. The last good checkpoint '
          f'in {self._folder} is of step {self._checkpoints.latest_step()}; '
          'try a lower learning rate or optim clip_norm.')

  def _save(self, step, state) -> dict[str, float]:
    scores, draw = self._validate(state)
    # The PSNR of a perfect picture is inf; of a network of NaN it is NaN.
    self._check_finite(step, scores, lambda score: not np.isnan(score))
    self._checkpoints.save(step, state, scores)
    if jax.process_index() == 0:
      sheet = draw()
      pictures = self._folder / 'pictures'
      pictures.mkdir(exist_ok=True)
      Image.fromarray(sheet).save(pictures / f'step_{step:08d}.png')
      if self._board:
        self._board.write_images(step, {'validation': sheet[None]})
    return {f'val_{name}': value for name, value in scores.items()}

  def _write(self, step, values) -> None:
    if self._log:
      self._warn(step, values)
      self._log.write(step, values)
      self._bar.set_postfix(loss=f'{values["loss"]:.4g}', refresh=False)
    if self._board:
      self._board.write_scalars(step, values)
      self._board.flush()

  def _warn(self, step, values) -> None:
    """What looks wrong, once of each kind."""
    self._logged = [*self._logged, values][-16:]
    for watch in [*self._watches]:
      if text := watch(self._logged):
        logging.warning('Step %d: %s', step, text)
        self._watches.remove(watch)


def _summary(config, parts, hook, path) -> dict[str, Any]:
  picture = jax.ShapeDtypeStruct(
      (1, 256, 256, 3 * parts.method.window), jnp.float32)
  lines = workdir.read_metrics(path.parent)
  seconds = [line['seconds_per_step'] for line in lines
             if 'seconds_per_step' in line]
  step_seconds = statistics.median(hook.intervals[1:] or seconds or [0.0])
  return {
      'steps': config['total_steps'],
      'parameters': macs.values_read(
          parts.method.restore, parts.like, picture),
      'macs_256': macs.macs(parts.method.restore, parts.like, picture),
      'step_seconds': step_seconds,
      'train_seconds': step_seconds * config['total_steps'],
      'peak_memory_bytes': peak_memory(),
      'device': jax.devices()[0].device_kind,
      'devices': jax.device_count(),
  }


def peak_memory() -> int:
  """Bytes at most in use: the accelerator's, or on CPUs the process's."""
  stats = jax.local_devices()[0].memory_stats() or {}
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  return stats.get('peak_bytes_in_use', peak)


def _tensorboard(folder):
  try:
    from clu import metric_writers  # needs TensorFlow
  except ImportError as error:
    logging.warning('No TensorBoard files (%s); metrics.jsonl has it all.',
                    error)
    return None
  return metric_writers.SummaryWriter(str(folder / 'tensorboard'))


def _on_sigterm(handler):
  """Sets the handler of SIGTERM and returns the one before.

  Several processes must agree on the step to stop after; there jax catches the
  signal, and orbax tells.
  """
  if jax.process_count() > 1:
    return signal.SIG_DFL
  try:
    return signal.signal(signal.SIGTERM, handler)
  except ValueError:  # not the main thread: a notebook, a test
    return signal.SIG_DFL
