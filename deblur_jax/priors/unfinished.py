"""Saves fits while they run, so that the same command resumes them.

A resumed fit has the values of one that was never stopped, because its
randomness depends only on the key and on the number of finished steps.
"""

import os
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from deblur_jax import errors
from deblur_jax.ops import array_files, atomic_files
from deblur_jax.state import TrainState
from deblur_jax.training import workdir

FOLDER = 'unfinished'
FITS = 'fits.json'    # which fits they are, in the folder
STATE, CURVE = 'state', 'curve'


def begin(out: pathlib.Path, these: Mapping[str, Any]) -> None:
  """Makes the folder.

  Args:
    out: the folder of the fits.
    these: which fits they are, see `solve.same`.
  """
  errors.make_folder(out / FOLDER)
  workdir.write_json(out / FOLDER / FITS, these)


def fits_of(out: pathlib.Path) -> dict[str, Any]:
  """What `begin` wrote, or {} where nothing is unfinished."""
  file = out / FOLDER / FITS
  return workdir.read_json(file) if file.is_file() else {}


def delete(folder: pathlib.Path) -> None:
  """Deletes the saved fits of a folder: their results are written."""
  for path in folder.glob('*.npz'):
    atomic_files.delete(path)


def end(out: pathlib.Path) -> None:
  """Deletes the folder that `begin` made."""
  shutil.rmtree(out / FOLDER, ignore_errors=True)


class Saves:
  """The saved state of the fits of one batch, in a file.

  Attributes:
    path: the file.
    every: seconds between two saves.
  """

  def __init__(self, path: str | os.PathLike, *, every: float = 300.0):
    self.path, self.every = pathlib.Path(path), every
    self._last = time.monotonic()

  def read(
      self, state: TrainState
  ) -> tuple[TrainState, dict[str, np.ndarray] | None]:
    """Reads what was saved.

    Args:
      state: the state at the first step.

    Returns:
      The saved state and the curve up to it, metric -> [steps, n]; `state` and
      None where nothing was saved.

    Raises:
      UserError: the file is damaged, or is of other fits.
    """
    try:
      found = array_files.load(self.path)
    except FileNotFoundError:
      return state, None
    except ValueError as error:
      raise self._unusable(str(error)) from error
    curve = {name.removeprefix(CURVE): found.pop(name)
             for name in list(found) if name.startswith(CURVE)}
    leaves, treedef = jax.tree.flatten(state)
    names = _names(state)
    if not curve or found.keys() != {*names}:
      raise self._unusable('it has other arrays')
    for name, leaf in zip(names, leaves, strict=True):
      if (found[name].shape, found[name].dtype) != (leaf.shape, leaf.dtype):
        raise self._unusable(f'{name} is {found[name].shape}')
    return treedef.unflatten(found[name] for name in names), curve

  def write_if_due(
      self, state: TrainState, curve: Mapping[str, np.ndarray]) -> None:
    """Saves after `every` seconds.

    Args:
      state: the state.
      curve: metric -> [steps, n], of all steps up to it.

    Raises:
      UserError: the file cannot be written.
    """
    if time.monotonic() - self._last < self.every:
      return
    # One file, so that the state and the curve are of one step.
    leaves = map(np.asarray, jax.tree.leaves(state))
    arrays = dict(zip(_names(state), leaves, strict=True))
    array_files.save(self.path, arrays | {
        CURVE + name: values for name, values in curve.items()})
    self._last = time.monotonic()

  def _unusable(self, reason: str) -> errors.UserError:
    return errors.UserError(
        f'Cannot resume the fit in {self.path}: {reason}. Delete this file '
        'to begin that fit again.')


def _names(state: TrainState) -> list[str]:
  """A name for each array, in the order of jax.tree.leaves."""
  # .npz has files for its arrays: without '/'.
  return [f'{STATE}{jax.tree_util.keystr(path)}'
          for path, _ in jax.tree_util.tree_leaves_with_path(state)]
