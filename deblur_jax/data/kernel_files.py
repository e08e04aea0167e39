"""Reads blur kernels from files: measured, estimated, or of a benchmark."""

import os
import pathlib
from collections.abc import Collection

import numpy as np

from deblur_jax import errors
from deblur_jax.blur import kernels
from deblur_jax.data import images
from deblur_jax.ops import array_files


def read(
    path: str | os.PathLike, *, names: Collection[str],
    correlation: bool = False) -> dict[str, np.ndarray]:
  """Reads a kernel for each name.

  Args:
    path: an .npz of arrays [kh, kw] or [n, kh, kw]; an .npy of one; a picture,
      the mean of whose channels is divided by its sum; or a folder of all
      these. The name of a kernel is the name of its array, with _0, _1, ... for
      n kernels, or the path of its file below the folder without suffix. A
      single kernel is used for all names.
    names: the names to read; other kernels are ignored.
    correlation: whether the files are meant for cross-correlation, as most of
      Levin's are; they are then rotated by 180 degrees.

  Returns:
    {name: float32 [kh, kw]}, of odd sides and sum one.

  Raises:
    UserError: a name has no kernel, a file is not readable, or
      `kernels.check_kernel` refuses a kernel.
  """
  path = pathlib.Path(path)
  found = _find(path)
  if len(found) == 1:
    found = dict.fromkeys(names, *found.values())
  missing = [name for name in names if name not in found]
  if missing:
    raise errors.UserError(
        f'{path} has no kernel {missing[0]}, only {", ".join(found)}; name '
        'them as the pictures, or give one for all.')
  turn = -1 if correlation else 1
  return {name: np.ascontiguousarray(kernels.check_kernel(
      found[name], where=f'{path}: {name}')[::turn, ::turn]) for name in names}


def read_all(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads all kernels as they are stored.

  Args:
    path: see `read`; sides may be even.

  Returns:
    {name: float32 [kh, kw]}, of sum one.

  Raises:
    UserError: no kernels, a file is not readable, or a kernel has negative or
      no values.
  """
  path = pathlib.Path(path)
  found = _find(path)
  for name, kernel in found.items():
    if kernel.ndim != 2 or not np.isfinite(kernel).all() or not (
        kernel.min() >= 0 and kernel.sum() > 0):
      raise errors.UserError(
          f'{path}: {name} is no kernel [h, w] of values from 0 on.')
  return {name: (kernel / kernel.sum()).astype(np.float32)
          for name, kernel in found.items()}


def _find(path):
  found = _in_folder(path) if path.is_dir() else _in_file(path, path.stem)
  if not found:
    raise errors.UserError(
        f'{path}: no kernels there; they are .npz, .npy or pictures.')
  return found


def _in_folder(folder):
  found = {}
  for file in sorted(folder.rglob('*')):
    if file.suffix.lower() in (*images.SUFFIXES, '.npz', '.npy'):
      name = file.relative_to(folder).with_suffix('').as_posix()
      for key, kernel in _in_file(file, name).items():
        if key in found:
          raise errors.UserError(
              f'{folder} has two kernels {key}; remove one of them.')
        found[key] = kernel
  return found


def _in_file(path, name):
  if path.suffix.lower() in images.SUFFIXES:
    gray = images.read(path).mean(axis=-1)
    return {name: gray / max(gray.sum(), 1)}
  try:
    stored = array_files.load(path)
  except FileNotFoundError:
    raise errors.UserError(f'No file {path}.') from None
  except ValueError as error:
    raise errors.UserError(
        f'Cannot read kernels from {path}: {error}.') from None
  if path.suffix.lower() == '.npy':
    stored = {name: next(iter(stored.values()))}
  return _one_by_one({
      key: array for key, array in stored.items() if array.dtype.kind in 'fiu'})


def _one_by_one(stored):
  found = {}
  for name, array in stored.items():
    if array.ndim == 3:
      found |= {f'{name}_{i}': kernel for i, kernel in enumerate(array)}
    else:
      found[name] = array
  return found
