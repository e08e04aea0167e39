"""Checkpoints of a run: the newest and the best, written during training.

A checkpoint is the TrainState, with a checksum of each array; its step
determines the next batch. orbax writes to a temporary folder and renames it at
the end, so a run that is killed while it saves loses only that checkpoint. What
a disk changes afterwards is found when the checkpoint is read.
"""

import contextlib
import logging
import math
import os
import pathlib
import shutil
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from deblur_jax import errors
from deblur_jax.state import TrainState
from deblur_jax.training import parallel

T = TypeVar('T')
TRIES = 5
SUMS = 'checksums'    # an item of each checkpoint
_managers = ocp.checkpoint_managers


def exists(folder: str | os.PathLike) -> bool:
  """Returns whether a folder of checkpoints has a complete one."""
  folder = pathlib.Path(folder)
  return folder.is_dir() and any(
      path.name.isdigit() for path in folder.iterdir())


def check(
    folder: str | os.PathLike, abstract_state: TrainState, *, total_steps: int
) -> None:
  """Checks before a run that it can save, and resume if there is a checkpoint.

  It writes nothing.

  Args:
    folder: a folder of checkpoints; it need not exist.
    abstract_state: shapes and dtypes of the run's state.
    total_steps: of the run; a finished run saves nothing more.

  Raises:
    UserError: the newest checkpoint is damaged or of another network or
      method, or the disk has no room for one more.
  """
  folder = pathlib.Path(folder).absolute()
  if exists(folder):
    checkpoints = Checkpoints(folder, read_only=True)
    checkpoints.check_resume(abstract_state)
    finished = (checkpoints.latest_step() or 0) >= total_steps
    checkpoints.close()
    if finished:
      return
  if missing := _missing_room(folder, abstract_state):
    raise errors.UserError(
        f'No checkpoint can be saved in {folder}: {missing}.')


class Damaged(errors.UserError):
  """A checkpoint that cannot be read as it was saved."""


class Replaced(errors.UserError):
  """Training has deleted a checkpoint while it was read."""


class Checkpoints:
  """The checkpoints in one folder."""

  def __init__(
      self, folder: pathlib.Path, *, metric: str = 'psnr_uint8',
      keep_best: int = 1, read_only: bool = False):
    """Opens the folder; creates it unless `read_only`.

    Args:
      folder: the folder; it has one sub-folder for each step.
      metric: the validation metric, higher is better, that decides which
        checkpoints are the best.
      keep_best: number of the best checkpoints to keep beside the newest.
      read_only: writes and deletes nothing.

    Raises:
      UserError: read_only, and there is no such folder.
    """
    self.folder = pathlib.Path(folder).absolute()
    if read_only and not self.folder.is_dir():
      raise errors.UserError(
          f'No checkpoint in {self.folder.parent}: train there first.')
    # orbax logs a screenful for each save, warns of options that we choose,
    # and logs exceptions of its threads that save and wait raise again.
    logging.getLogger('absl').setLevel(logging.CRITICAL)
    score = lambda metrics: metrics[metric]
    keep = [_managers.LatestN(1)]
    if keep_best:
      keep.append(_managers.BestN(
          get_metric_fn=score, reverse=False, n=keep_best,
          keep_checkpoints_without_metrics=False))
    # Not best_fn with max_to_keep: that deletes the newest.
    options = ocp.CheckpointManagerOptions(
        best_fn=score, best_mode='max', create=not read_only,
        read_only=read_only, cleanup_tmp_directories=not read_only,
        preservation_policy=_managers.AnyPreservationPolicy(keep))
    self._manager = ocp.CheckpointManager(
        self.folder, options=options, item_names=('state', SUMS),
        item_handlers={'state': ocp.StandardCheckpointHandler(),
                       SUMS: ocp.JsonCheckpointHandler()})

  def latest_step(self) -> int | None:
    """Returns the step of the newest complete checkpoint, or None."""
    return self._manager.latest_step()

  def best_step(self) -> int | None:
    """Returns the step of the complete checkpoint with the best metric."""
    return self._manager.best_step()

  def find(self, which: str) -> int | None:
    """Returns the step of 'last', 'best' or a number; None if there is none.

    Raises:
      UserError: `which` is none of these.
    """
    named = {'last': self.latest_step, 'best': self.best_step}
    if which in named:
      return named[which]()
    if not str(which).isdigit():
      raise errors.UserError(
          f'which must be last, best or a step, got {which}.')
    return int(which)

  def save(
      self, step: int, state: TrainState, metrics: dict[str, float] | None
  ) -> None:
    """Starts to save a state; the writing continues in threads.

    Args:
      step: its finished steps.
      state: the state.
      metrics: validation metrics; without them the checkpoint is never among
        the best.

    Raises:
      UserError: the disk has too little room, or an earlier save failed.
    """
    # Before anything is written: orbax notices a full disk too late.
    if missing := _missing_room(self.folder, state):
      raise errors.UserError(self._not_saved(missing))
    with self._explained():
      self._manager.save(
          step, args=ocp.args.Composite(
              state=ocp.args.StandardSave(state),
              **{SUMS: ocp.args.JsonSave(_checksums(state))}),
          metrics=metrics, force=True)

  def wait(self) -> None:
    """Waits until all saves are on the disk."""
    with self._explained():
      self._manager.wait_until_finished()

  def preempted(self, step: int) -> bool:
    """Returns whether the scheduler stops all processes after this step."""
    return self._manager.reached_preemption(step)

  def at(self, which: str, read: Callable[[int | None], T]) -> T:
    """Reads a checkpoint that training may replace at the same time.

    Args:
      which: as of `find`.
      read: reads the checkpoint of a step, such as `restore`.

    Returns:
      What `read` returns, of a newer checkpoint where one was replaced.

    Raises:
      UserError: as of `find` and `read`.
    """
    for _ in range(TRIES - 1):
      with contextlib.suppress(Replaced):
        return read(self.find(which))
    return read(self.find(which))

  def restore(
      self, abstract_state: TrainState, step: int | None = None) -> TrainState:
    """Reads a checkpoint.

    Args:
      abstract_state: a state, or its jax.ShapeDtypeStructs with shardings; the
        result has its shapes and is on its devices.
      step: which checkpoint; the newest by default.

    Raises:
      UserError: there is none, it is damaged, or it is of another network.
    """
    step = self._there(self.latest_step() if step is None else step)
    with self._damage(step):
      self._check_shapes(abstract_state, step)
      return self._read(step, jax.tree.map(
          ocp.tree.to_shape_dtype_struct, abstract_state))

  def check_resume(self, abstract_state: TrainState) -> None:
    """Raises a UserError unless the newest checkpoint has these shapes."""
    step = self._there(self.latest_step())
    with self._damage(step):
      self._check_shapes(abstract_state, step)

  def read(
      self, step: int | None, sharding: jax.sharding.Sharding
  ) -> dict[str, Any]:
    """Reads a checkpoint of any method as nested dicts of arrays.

    Args:
      step: which checkpoint.
      sharding: the sharding of all arrays.

    Raises:
      UserError: there is none, or it is damaged.
    """
    step = self._there(step)
    with self._damage(step):
      return self._read(step, jax.tree.map(
          lambda leaf: jax.ShapeDtypeStruct(
              leaf.shape, leaf.dtype, sharding=sharding), self._saved(step)))

  def _there(self, step: int | None) -> int:
    if step is None or step not in self._manager.all_steps():
      asked = '' if step is None else f' of step {step}'
      raise errors.UserError(f'No complete checkpoint{asked} in {self.folder}.')
    return step

  def _read(self, step: int, abstract):
    args = {'state': ocp.args.StandardRestore(abstract)}
    if (self.folder / str(step) / SUMS).exists():    # not in older ones
      args[SUMS] = ocp.args.JsonRestore()
    found = self._manager.restore(step, args=ocp.args.Composite(**args))
    sums = found.get(SUMS) or {}
    for name, checksum in _checksums(found['state']).items():
      if checksum != sums.get(name, checksum):
        raise ValueError(f'{name} has another checksum than when it was saved')
    return found['state']

  @contextlib.contextmanager
  def _damage(self, step: int):
    """Explains what orbax raises for damaged files."""
    try:
      yield
    except errors.UserError:
      raise
    except Exception as error:    # TensorStore raises a bare Exception
      if errors.is_out_of_memory(error):
        raise
      if isinstance(error, PermissionError):    # not damaged
        raise errors.UserError(
            f'Cannot read checkpoint {self.folder / str(step)}: '
            f'{error.strerror}.') from error
      self._manager.reload()
      if step not in self._manager.all_steps():
        raise Replaced(
            f'Training has replaced checkpoint {self.folder / str(step)} while '
            'it was read; start again.') from error
      raise Damaged(
          f'Checkpoint {self.folder / str(step)} is damaged '
          f'({errors.first_line(error)[:120]}). '
          + self._advice(step)) from error

  def _advice(self, step: int) -> str:
    """What to do without the checkpoint of a step."""
    earlier = [one for one in self._manager.all_steps() if one < step]
    if not earlier:
      return 'There is no earlier one: train again in another --workdir.'
    return (f'The one before it is of step {max(earlier)}: train with '
            '--resume=newest_good, or evaluate with --which.')

  def set_damaged_aside(self, abstract_state: TrainState) -> None:
    """Moves the newest checkpoints away until one can be read.

    Args:
      abstract_state: as of `restore`.

    Raises:
      UserError: none can be read.
    """
    aside = self.folder.with_name(f'{self.folder.name}_damaged')
    while (step := self.latest_step()) is not None:
      try:
        self.restore(abstract_state, step)
        return
      except Damaged as error:
        logging.warning('%s It is moved to %s.', error, aside)
        aside.mkdir(exist_ok=True)
        shutil.rmtree(aside / str(step), ignore_errors=True)
        shutil.move(self.folder / str(step), aside / str(step))
        self._manager.reload()
    raise errors.UserError(
        f'No checkpoint in {self.folder} can be read; they are in {aside}. '
        'Train again in another --workdir.')

  def close(self) -> None:
    """Waits for all saves and closes the folder."""
    with self._explained():
      self._manager.close()

  def _check_shapes(self, abstract_state: TrainState, step: int) -> None:
    there, here = _shapes(self._saved(step)), _shapes(abstract_state)
    differing = [
        f'{name} {there.get(name, "absent")} in the checkpoint, '
        f'{here.get(name, "absent")} here'
        for name in sorted(there.keys() | here.keys(), key=_params_first)
        if there.get(name) != here.get(name)]
    if differing:
      more = f'; and {len(differing) - 3} more' if len(differing) > 3 else ''
      what = 'network' if differing[0].startswith('params') else 'method'
      raise errors.UserError(
          f'Checkpoint {self.folder / str(step)} is of another {what}: '
          + '; '.join(differing[:3]) + more + '.')

  def _saved(self, step: int):
    """Returns a checkpoint's tree with metadata in the place of arrays."""
    saved = self._manager.item_metadata(step)['state']
    if saved is None:
      raise ValueError('no metadata')
    return getattr(saved, 'tree', saved)

  def _not_saved(self, reason: str) -> str:
    # orbax forgets those that a new one replaces before it is written.
    self._manager.reload()
    step = self.latest_step()
    kept = ('there is no earlier one' if step is None
            else f'the last good one is of step {step}')
    return (f'Could not save a checkpoint in {self.folder}: {reason}; {kept}. '
            'Make room and start again.')

  @contextlib.contextmanager
  def _explained(self):
    """Turns a full disk and similar faults into one line."""
    try:
      yield
    except errors.UserError:
      raise
    except Exception as error:
      full = errors.is_disk_full(error)
      if not full and not isinstance(error, OSError):
        raise
      reason = ('no space left' if full
                else str(error).partition('\n')[0][:160])
      raise errors.UserError(self._not_saved(reason)) from error


def not_finite(state: TrainState) -> list[str]:
  """Lists the arrays of a state that have a NaN or infinite value.

  Args:
    state: the state; all processes call it.

  Returns:
    Their names, parameters first.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(state)
  # Of arrays that are split over processes, each checks its own parts.
  bad = parallel.any_process([
      not all(np.isfinite(np.asarray(part)).all() for part in _parts(leaf))
      for _, leaf in leaves])
  return sorted((_name(path) for (path, _), is_bad in zip(
      leaves, bad, strict=True) if is_bad), key=_params_first)


def _parts(leaf) -> list:
  """The whole array if this process has it, else its parts."""
  return [leaf] if _is_here(leaf) else [
      shard.data for shard in leaf.addressable_shards]


def _is_here(leaf) -> bool:
  """Whether this process has all of an array."""
  return (getattr(leaf, 'is_fully_addressable', True)
          or leaf.is_fully_replicated)


def _missing_room(folder: pathlib.Path, state: TrainState) -> str:
  """Says how much space a checkpoint lacks on the disk; '' if it has room."""
  needed = sum(math.prod(leaf.shape) * leaf.dtype.itemsize
               for leaf in jax.tree.leaves(state))
  there = next(path for path in (folder, *folder.parents) if path.exists())
  free = shutil.disk_usage(there).free
  return '' if free >= needed else (
      f'no space left ({needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free)')


def _shapes(tree) -> dict[str, tuple[int, ...]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {_name(path): tuple(leaf.shape) for path, leaf in leaves
          if hasattr(leaf, 'shape')}


def _checksums(tree) -> dict[str, int]:
  """CRC-32 of each array, by its name; of those split over processes none."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {_name(path): zlib.crc32(np.asarray(leaf).tobytes())
          for path, leaf in leaves if _is_here(leaf)}


def _params_first(name: str) -> tuple[bool, str]:
  return not name.startswith('params'), name


def _name(path) -> str:
  return '/'.join(
      str(getattr(part, 'key', getattr(part, 'name', getattr(part, 'idx', ''))))
      for part in path)
