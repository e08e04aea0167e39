"""Blur kernels from files: measured, estimated, or of a benchmark."""

import os
import pathlib

import numpy as np

from deblur_jax import types
from deblur_jax.blur import operators
from deblur_jax.data import images


def read(
    path: str | os.PathLike, *, correlation: bool = False
) -> dict[str, np.ndarray]:
  """Kernels by name, each float32 [kh, kw] of odd sides and of sum one.

  Args:
    path: an .npz of arrays [kh, kw] or [n, kh, kw] (words in it are passed
      over); an .npy of one; a picture, whose channels' mean is divided by its
      sum; or a folder of all these. Names are those of the arrays, with a
      number where there are n, and the files' without suffix.
    correlation: the files are meant for cross-correlation, as most of Levin's
      are: turn them by half a turn.

  Raises:
    UserError: nothing there, not readable, or `operators.check_kernel` refuses
      a kernel.
  """
  path = pathlib.Path(path)
  files = sorted(path.iterdir()) if path.is_dir() else [path]
  found = {}
  for file in files:
    found |= _read_file(file, required=file == path)
  if not found:
    raise types.UserError(
        f'{path}: no kernels there; they are .npz, .npy or pictures.')
  kernels = {name: operators.check_kernel(kernel, where=f'{path}: {name}')
             for name, kernel in found.items()}
  if correlation:
    kernels = {name: np.ascontiguousarray(kernel[::-1, ::-1])
               for name, kernel in kernels.items()}
  return kernels


def _read_file(path, *, required):
  suffix = path.suffix.lower()
  if suffix in images.SUFFIXES:
    gray = images.read(path).mean(axis=-1)
    return {path.stem: gray / max(gray.sum(), 1)}
  if suffix not in ('.npz', '.npy') and not required:
    return {}
  try:
    arrays = np.load(path, allow_pickle=False)
    if suffix == '.npy':
      arrays = {path.stem: arrays}
    return _one_by_one({name: arrays[name] for name in arrays
                        if arrays[name].dtype.kind != 'U'})
  except (OSError, ValueError, TypeError, EOFError) as error:
    reason = ' '.join(str(error).split())
    raise types.UserError(
        f'Cannot read kernels from {path}: {reason}.') from None


def _one_by_one(arrays):
  found = {}
  for name, array in arrays.items():
    array = np.asarray(array, np.float32)
    if array.ndim == 3:
      found |= {f'{name}_{i}': kernel for i, kernel in enumerate(array)}
    else:
      found[name] = array
  return found
