"""NumPy's files, of which nothing but arrays of numbers is read."""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from deblur_jax import types


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of an .npz by name, or that of an .npy by the file's stem.

  Raises:
    FileNotFoundError: no such file.
    ValueError: anything else that is wrong with it, in one line.
  """
  path = pathlib.Path(path)
  try:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
      return {path.stem: found}
    with found:
      return {name: found[name] for name in found}
  except FileNotFoundError:
    raise
  except (OSError, ValueError, TypeError, EOFError, LookupError,
          zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(' '.join(str(error).split())) from error


def save(path: str | os.PathLike, named: Mapping[str, np.ndarray]) -> None:
  """Writes or replaces an .npz, never half of it.

  Raises:
    UserError: it cannot be written.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  try:
    with open(temporary, 'wb') as file:
      np.savez(file, **named)
    os.replace(temporary, path)
  except OSError as error:
    temporary.unlink(missing_ok=True)
    raise types.UserError(
        f'Could not write {path}: {error.strerror}.') from error


def save_tree(path: str | os.PathLike, tree: Mapping[str, Any]) -> None:
  """Dicts within dicts as one .npz: {'net': {'a': x}} has the name 'net.a'."""
  save(path, traverse_util.flatten_dict(tree, sep='.'))


def load_tree(path: str | os.PathLike, *, what: str) -> dict[str, Any]:
  """What `save_tree` wrote.

  Args:
    path: the file.
    what: for the error, what it should be.

  Raises:
    UserError: no such file, or not of this form.
  """
  try:
    named = load(path)
  except FileNotFoundError as error:
    raise types.UserError(f'No file {path}: it should be {what}.') from error
  except ValueError as error:
    raise types.UserError(
        f'Cannot read {path} ({error}): it should be {what}.') from error
  return traverse_util.unflatten_dict(named, sep='.')
