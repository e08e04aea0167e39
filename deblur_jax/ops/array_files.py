"""NumPy's .npz and .npy files; nothing but arrays of numbers is read."""

import contextlib
import math
import os
import pathlib
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from deblur_jax import errors
from deblur_jax.ops import atomic_files

# An .npz that unpacks to more than MAX_RATIO times its own size and to more
# than ROOM bytes is refused: a few kB may hold any number of zeros.
MAX_RATIO = 100
ROOM = 256 * 2**20
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}


def load(
    path: str | os.PathLike, *, prefix: str = '') -> dict[str, np.ndarray]:
  """Reads the arrays of an .npz or the array of an .npy file.

  Args:
    path: the file.
    prefix: only arrays whose names begin with it are read; it is removed from
      the names.

  Returns:
    {name: array}; the name of an .npy's array is the stem of the file.

  Raises:
    FileNotFoundError: no such file.
    UserError: a pipe or a device.
    ValueError: any other fault of the file, in one line.
  """
  path = pathlib.Path(path)
  errors.check_file(path)
  with _in_one_line():
    found = np.load(path, allow_pickle=False, mmap_mode='r')
    if isinstance(found, np.ndarray):
      return {path.stem: np.array(found)}
    with found:
      names = [name for name in found if name.startswith(prefix)]
      _check_sizes(found.zip, names, path.stat().st_size)
      return {name.removeprefix(prefix): found[name] for name in names}


def names(path: str | os.PathLike) -> list[str]:
  """Reads the names of the arrays in an .npz file.

  Raises:
    FileNotFoundError, UserError, ValueError: as `load`.
  """
  errors.check_file(path)
  with _in_one_line(), zipfile.ZipFile(path) as archive:
    return [name.removesuffix('.npy') for name in archive.namelist()]


@contextlib.contextmanager
def _in_one_line():
  try:
    yield
  except FileNotFoundError:
    raise
  # NumPy evaluates a header as Python, which has errors of its own.
  except (OSError, ValueError, TypeError, EOFError, LookupError, SyntaxError,
          RuntimeError, MemoryError, tokenize.TokenError, zipfile.BadZipFile,
          zlib.error) as error:
    raise ValueError(' '.join(str(error).split())) from error


def check_total(archive: zipfile.ZipFile, names, packed: int) -> None:
  """Checks how much members of a zip archive unpack to.

  Args:
    archive: the archive.
    names: names of the members.
    packed: size of the archive, bytes.

  Raises:
    ValueError: they unpack to more than the limits allow.
  """
  total = sum(archive.getinfo(name).file_size for name in names)
  if total > max(ROOM, MAX_RATIO * packed):
    raise ValueError(
        f'it unpacks to {total:,} bytes, more than {MAX_RATIO} times its size')


def _check_sizes(archive: zipfile.ZipFile, names, packed: int) -> None:
  """Refuses a file that declares more than it holds, before memory is used."""
  there = set(archive.namelist())
  members = {name: f'{name}.npy' if f'{name}.npy' in there else name
             for name in names}
  check_total(archive, members.values(), packed)
  for name, member in members.items():
    size = archive.getinfo(member).file_size
    with archive.open(member) as stream:
      version = np.lib.format.read_magic(stream)
      if version not in _HEADERS:
        raise ValueError(f'{name} is of version {version} of .npy')
      shape, _, dtype = _HEADERS[version](stream)
    # Python's integers do not overflow.
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > size:
      raise ValueError(
          f'{name} declares the shape {shape}, and has {size:,} bytes')


def save(path: str | os.PathLike, named: Mapping[str, np.ndarray]) -> None:
  """Writes an .npz file, whole or not at all.

  Args:
    path: the file; an old one is replaced.
    named: {name: array}.

  Raises:
    UserError: the file cannot be written.
  """
  with atomic_files.replacing(path) as part, open(part, 'wb') as file:
    np.savez(file, **named)


def save_tree(path: str | os.PathLike, tree: Mapping[str, Any]) -> None:
  """Writes nested dicts as one .npz: {'net': {'a': x}} has the name 'net.a'.

  Args:
    path: the file; an old one is replaced.
    tree: dicts of arrays; keys have no '.'.

  Raises:
    UserError: the file cannot be written.
  """
  save(path, traverse_util.flatten_dict(tree, sep='.'))


def load_tree(path: str | os.PathLike, *, what: str) -> dict[str, Any]:
  """Reads the nested dicts that `save_tree` wrote.

  Args:
    path: the file.
    what: what the file should be, for the message.

  Raises:
    UserError: no such file, or it is not of this form.
  """
  try:
    named = load(path)
  except FileNotFoundError as error:
    raise errors.UserError(f'No file {path}: it should be {what}.') from error
  except ValueError as error:
    raise errors.UserError(
        f'Cannot read {path} ({error}): it should be {what}.') from error
  return traverse_util.unflatten_dict(named, sep='.')
