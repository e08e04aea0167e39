"""The hook of a run: it checks, logs, validates, saves and stops."""

import datetime
import logging
import pathlib
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from deblur_jax import errors
from deblur_jax.data import images
from deblur_jax.ops import atomic_files
from deblur_jax.state import Metrics, TrainState
from deblur_jax.training import checkpoint, parallel, workdir

NAMES = 16    # of pictures in a message


class Recorder:
  """The hook of a run: it checks, logs, validates, saves and stops."""

  def __init__(
      self, config, folder, parts, checkpoints, validate, *, finished):
    self._config, self._folder = config, folder
    self._checkpoints, self._parts = checkpoints, parts
    self._validate = validate
    self._stopping = False
    self._pending = None     # (step, metrics) that are still on the device
    self._clock = time.perf_counter()
    self.steps = 0           # of this process
    self._intervals = []     # seconds of each step since the last line
    self._logged = []        # the newest lines
    self._watches = [*parts.method.watches]   # those that have not warned
    self._log = self._board = self._bar = None
    if jax.process_index() == 0:
      self._log = workdir.MetricsLog(folder, finished=finished)
      self._board = _tensorboard(folder) if config['tensorboard'] else None
      tqdm.tqdm.write(
          _write_parameters(folder, parts.abstract_state.params),
          file=sys.stderr)
      self._bar = tqdm.tqdm(
          total=config['total_steps'], initial=finished, unit='step',
          file=sys.stderr, dynamic_ncols=True, mininterval=1,
          disable=None,                # in a file; it gets lines instead
          desc='compiles the step')    # minutes, of a large network

  def __call__(self, step: int, state: TrainState, metrics: Metrics) -> bool:
    """Runs after each step; True ends the loop."""
    # Metrics of the step before are read: this step still computes.
    self._read_pending()
    self._pending = (step, metrics)
    config = self._config
    last = step == config['total_steps']
    stopping = self._stopping or (
        jax.process_count() > 1 and self._checkpoints.preempted(step))
    saving = last or stopping or step % config['save_every'] == 0
    writing = saving or step % config['log_every'] == 0
    values = self._read_pending() if writing else {}    # waits for this step
    self.steps += 1
    if self.steps > 1:       # the first step compiles
      self._intervals.append(time.perf_counter() - self._clock)
    if writing:
      if self._intervals:
        values['seconds_per_step'] = statistics.fmean(self._intervals)
        self._intervals.clear()
      if saving:
        values |= self._save(step, state)
      self._write(step, values)
    if self._bar:
      if self.steps == 1:
        self._bar.set_description_str('', refresh=False)
      self._bar.update(1)
    self._clock = time.perf_counter()
    return stopping

  def stop(self, *_) -> None:
    """Ends the run after this step, with a checkpoint; a signal handler."""
    self._stopping = True

  def finish(self) -> None:
    """Waits until the last checkpoint is written."""
    self._read_pending()
    self._checkpoints.wait()

  def close(self) -> None:
    """Closes all files."""
    for part in (self._bar, self._log, self._board):
      if part:
        part.close()

  def _read_pending(self) -> dict[str, float]:
    """Returns the pending metrics as floats; raises if one is not finite."""
    if self._pending is None:
      return {}
    (step, metrics), self._pending = self._pending, None
    values = {key: float(value) for key, value in metrics.items()}
    self._check_finite(step, values, np.isfinite, names=self._parts.names)
    return values

  def _check_finite(
      self, step, values, is_good, *, names=lambda step: ()) -> None:
    bad = [f'{key} = {value}' for key, value in values.items()
           if not is_good(value)]
    if bad:
      raise self._diverged(step, bad, names(step))

  def _diverged(self, step, bad: list[str], names) -> errors.UserError:
    more = f' and {len(bad) - 4} more' if len(bad) > 4 else ''
    last = self._checkpoints.latest_step()
    kept = ('has no checkpoint yet' if last is None
            else f'has a good checkpoint of step {last}')
    return errors.UserError(
        f'Step {step}: {", ".join(bad[:4])}{more}; stopped. {self._folder} '
        f'{kept}; train again with --allow_config_change and a lower learning '
        f'rate or optim clip_norm.{_pictures(names)}')

  def _save(self, step, state) -> dict[str, float]:
    scores, draw = self._validate(parallel.whole(
        state.replace(opt_state={}), self._parts.mesh))
    # PSNR is inf for a perfect picture, and NaN if the network gives NaN.
    self._check_finite(step, scores, lambda score: not np.isnan(score))
    # The metrics are of the parameters before the update, and validation does
    # not read discriminators.
    if bad := checkpoint.not_finite(state):
      raise self._diverged(step, [f'{name} is not finite' for name in bad],
                           self._parts.names(step))
    self._checkpoints.save(step, state, scores)
    if jax.process_index() == 0:
      sheet = draw()
      images.write(
          self._folder / 'pictures' / f'step_{step:08d}.png', sheet)
      if self._board:
        self._board.write_images(step, {'validation': sheet[None]})
    return {f'val_{name}': value for name, value in scores.items()}

  def _write(self, step, values) -> None:
    if self._log:
      self._warn(step, values)
      self._log.write(step, values)
      if self._bar.disable:
        tqdm.tqdm.write(self._progress(step, values), file=sys.stderr)
      else:
        self._bar.set_postfix(loss=f'{values["loss"]:.4g}', refresh=False)
    if self._board:
      self._board.write_scalars(step, values)
      self._board.flush()

  def _progress(self, step, values) -> str:
    """Describes the run in a line, for a log that is no terminal."""
    total, seconds = self._config['total_steps'], values.get('seconds_per_step')
    line = f'Step {step:,} of {total:,}: loss {values["loss"]:.4g}'
    if seconds is None:
      return line
    left = datetime.timedelta(seconds=round(seconds * (total - step)))
    return f'{line}, {seconds:.3g} s a step, {left} left'

  def _warn(self, step, values) -> None:
    """Logs each kind of warning once."""
    self._logged = [*self._logged, values][-16:]
    for watch in [*self._watches]:
      if text := watch(self._logged):
        logging.warning('Step %d: %s', step, text)
        self._watches.remove(watch)


def _pictures(names: Sequence[str]) -> str:
  """A sentence with the pictures of a batch; '' without names."""
  if not names:
    return ''
  more = f' and {len(names) - NAMES} more' if len(names) > NAMES else ''
  return f' The batch has {", ".join(names[:NAMES])}{more}.'


def _write_parameters(folder: pathlib.Path, params: Mapping[str, Any]) -> str:
  """Writes parameters.txt; returns a line with the counts of all networks."""
  try:
    with errors.needs_extra('clu', extra='train', what=workdir.PARAMETERS):
      from clu import parameter_overview
  except errors.UserError as error:
    logging.warning('%s', error)
  else:
    atomic_files.write(
        folder / workdir.PARAMETERS,
        parameter_overview.get_parameter_overview(
            params, include_stats=False) + '\n')
  counts = {name: sum(leaf.size for leaf in jax.tree.leaves(tree))
            for name, tree in params.items()}
  each = ', '.join(f'{name} {count:,}' for name, count in counts.items())
  return f'Parameters: {each}; {sum(counts.values()):,} in all.'


def _tensorboard(folder):
  try:
    with errors.needs_extra('TensorFlow', extra='train', what='TensorBoard'):
      from clu import metric_writers
  except errors.UserError as error:
    logging.warning('%s Without it metrics.jsonl has all values.', error)
    return None
  return metric_writers.SummaryWriter(str(folder / workdir.TENSORBOARD))
