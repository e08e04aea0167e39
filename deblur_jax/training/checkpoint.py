"""Checkpoints of a run: the newest and the best, written during training.

A checkpoint is the TrainState and nothing else: the next batch follows from
its step. orbax writes to a temporary folder and renames it when all is there,
so a run that is killed while saving loses that checkpoint at most.
"""

import contextlib
import logging
import os
import pathlib
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp

from deblur_jax import errors
from deblur_jax.state import TrainState

_managers = ocp.checkpoint_managers


def exists(folder: str | os.PathLike) -> bool:
  """Whether there is a complete checkpoint below a folder of them."""
  folder = pathlib.Path(folder)
  return folder.is_dir() and any(
      path.name.isdigit() for path in folder.iterdir())


class Checkpoints:
  """The checkpoints under one folder."""

  def __init__(
      self, folder: pathlib.Path, *, metric: str = 'psnr_uint8',
      keep_best: int = 1, read_only: bool = False):
    """Opens the folder; makes it unless `read_only`.

    Args:
      folder: where they are; one sub-folder a step.
      metric: the metric, higher is better, by which the best are kept.
      keep_best: how many of the best stay beside the newest.
      read_only: only look.

    Raises:
      UserError: read_only, and there is no such folder.
    """
    self.folder = pathlib.Path(folder).absolute()
    if read_only and not self.folder.is_dir():
      raise errors.UserError(
          f'No checkpoint in {self.folder.parent}: train there first.')
    # orbax logs a screenful a save, warns of what we ask for, and logs what
    # its threads raise before save and wait raise it again.
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
        self.folder, options=options, item_names=('state',),
        item_handlers={'state': ocp.StandardCheckpointHandler()})

  def latest_step(self) -> int | None:
    """The newest complete checkpoint, or None."""
    return self._manager.latest_step()

  def best_step(self) -> int | None:
    """The complete checkpoint with the best metric, or None."""
    return self._manager.best_step()

  def find(self, which: str) -> int | None:
    """The step of 'last', 'best' or of a number; None where there is none.

    Raises:
      UserError: it is none of these.
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
    """Starts to save; without metrics it is never among the best.

    Raises:
      UserError: the disk has too little room, or an earlier save failed.
    """
    self._check_room(state)
    with self._explained():
      self._manager.save(
          step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)),
          metrics=metrics, force=True)

  def wait(self) -> None:
    """Waits until what was begun is on the disk."""
    with self._explained():
      self._manager.wait_until_finished()

  def preempted(self, step: int) -> bool:
    """Whether the scheduler wants all processes to leave after this step."""
    return self._manager.reached_preemption(step)

  def restore(self, like: TrainState, step: int | None = None) -> TrainState:
    """A checkpoint with the shapes and onto the devices of `like`.

    Args:
      like: a state, or its jax.ShapeDtypeStructs with shardings.
      step: which; by default the newest.

    Raises:
      UserError: there is none, or it is of another network.
    """
    step = self._there(self.latest_step() if step is None else step)
    abstract = jax.tree.map(ocp.tree.to_shape_dtype_struct, like)
    return self._read(step, lambda: abstract, like)

  def read(
      self, step: int | None, sharding: jax.sharding.Sharding
  ) -> dict[str, Any]:
    """A checkpoint as it is, of whatever method: nested dicts of arrays.

    Args:
      step: which.
      sharding: of all arrays.

    Raises:
      UserError: there is none, or it is damaged.
    """
    def abstract():
      return jax.tree.map(
          lambda leaf: jax.ShapeDtypeStruct(
              leaf.shape, leaf.dtype, sharding=sharding), self._saved(step))

    step = self._there(step)
    return self._read(step, abstract)

  def _there(self, step: int | None) -> int:
    if step is None or step not in self._manager.all_steps():
      asked = '' if step is None else f' of step {step}'
      raise errors.UserError(f'No complete checkpoint{asked} in {self.folder}.')
    return step

  def _read(self, step: int, abstract, like: TrainState | None = None):
    try:
      if like is not None:
        self._check_shapes(like, step)
      args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract()))
      return self._manager.restore(step, args=args)['state']
    except errors.UserError:
      raise
    except (ValueError, OSError, KeyError) as error:
      raise errors.UserError(
          f'Checkpoint {self.folder / str(step)} is damaged '
          f'({str(error).splitlines()[0][:120]}); delete that folder to go on '
          'from the one before.') from error

  def close(self) -> None:
    """Waits, then lets go of the folder."""
    with self._explained():
      self._manager.close()

  def _check_shapes(self, like: TrainState, step: int) -> None:
    there, here = _shapes(self._saved(step)), _shapes(like)
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
    """The tree of a checkpoint's arrays, their metadata in their places."""
    saved = self._manager.item_metadata(step)['state']
    if saved is None:
      raise ValueError('no metadata')
    return getattr(saved, 'tree', saved)

  def _check_room(self, state: TrainState) -> None:
    """Before anything is written: a full disk is seldom a surprise."""
    needed = sum(
        leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(self.folder).free
    if free < needed:
      raise errors.UserError(self._not_saved(
          f'no space left ({needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB '
          'free)'))

  def _not_saved(self, reason: str) -> str:
    step = self.latest_step()
    kept = ('there is none from before' if step is None
            else f'the last good one is of step {step}')
    return (f'Could not save a checkpoint in {self.folder}: {reason}; {kept}. '
            'Make room and start again.')

  @contextlib.contextmanager
  def _explained(self):
    """Turns a full disk and its like into one line."""
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


def _shapes(tree) -> dict[str, tuple[int, ...]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {_name(path): tuple(leaf.shape) for path, leaf in leaves
          if hasattr(leaf, 'shape')}


def _params_first(name: str) -> tuple[bool, str]:
  return not name.startswith('params'), name


def _name(path) -> str:
  return '/'.join(
      str(getattr(part, 'key', getattr(part, 'name', getattr(part, 'idx', ''))))
      for part in path)
