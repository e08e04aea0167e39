"""Reads state dicts of PyTorch without PyTorch: names -> arrays.

It reads both forms of `torch.save`: zip archives, and the older sequence of
pickles of torchvision's and LPIPS' files. Only tensors and dicts are unpickled,
so that a file cannot run code or read memory outside of it. Files .safetensors
and .npz with the same names are read, too.
"""

import collections
import contextlib
import hashlib
import io
import math
import pathlib
import pickle
import pickletools
import zipfile
import zlib
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from flax import traverse_util

from deblur_jax import errors
from deblur_jax.ops import array_files

_MAGIC = 0x1950A86A20F9469CFC6C
# Names, not types: unpickled objects can neither be called nor changed.
_DTYPES = {
    'FloatStorage': 'float32', 'DoubleStorage': 'float64',
    'HalfStorage': 'float16', 'BFloat16Storage': 'bfloat16',
    'LongStorage': 'int64', 'IntStorage': 'int32', 'ShortStorage': 'int16',
    'CharStorage': 'int8', 'ByteStorage': 'uint8', 'BoolStorage': 'bool'}
# More names than any network has: a small pickle can repeat dicts in dicts.
_MAX_NAMES = 100_000
_MAX_DEPTH = 100
_REFUSED = (
    OSError, ValueError, EOFError, LookupError, AttributeError, TypeError,
    ArithmeticError, RuntimeError, MemoryError, pickle.UnpicklingError,
    zipfile.BadZipFile, zlib.error)


def read(
    path: str | pathlib.Path, *, what: str, prefix: str = ''
) -> dict[str, np.ndarray]:
  """Reads a state dict.

  Args:
    path: an .npz, a .safetensors or a file of `torch.save`, such as .pth.
    what: the expected content and its source, for the message.
    prefix: only arrays whose names begin with it are read from .npz and
      .safetensors; it is removed from the names.

  Returns:
    {name: array}, in PyTorch's layout.

  Raises:
    UserError: there is no such file, or it is not of this form.
  """
  return read_all(path, what=what, prefix=prefix)[0]


def read_all(
    path: str | pathlib.Path, *, what: str, prefix: str = ''
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads a state dict and the types of the file's other values.

  Nested dicts are flattened: {'net': {'a': ...}} has the name 'net.a'.

  Args:
    path: as of `read`.
    what: as of `read`.
    prefix: as of `read`.

  Returns:
    ({name: array}, {name of another value: its type}).

  Raises:
    UserError: as `read`.
  """
  path = pathlib.Path(path)
  with _refusing(path, what):
    if path.suffix == '.npz':
      return array_files.load(path, prefix=prefix), {}
    if path.suffix == '.safetensors':
      with _opened(path) as file:
        return {name.removeprefix(prefix): file.get_tensor(name)
                for name in file.keys() if name.startswith(prefix)}, {}
    return _read_torch(path)


def names(path: str | pathlib.Path, *, what: str) -> list[str]:
  """Lists the names in a file without reading its arrays.

  Args:
    path: an .npz or a .safetensors.
    what: as of `read`.

  Raises:
    UserError: there is no such file, or it is not of this form.
  """
  path = pathlib.Path(path)
  with _refusing(path, what):
    if path.suffix == '.npz':
      return array_files.names(path)
    with _opened(path) as file:
      return list(file.keys())


@contextlib.contextmanager
def _refusing(path, what):
  """Turns every error of reading into a UserError of one line."""
  errors.check_file(path)
  try:
    yield
  except errors.UserError:
    raise
  except (FileNotFoundError, IsADirectoryError) as error:
    raise errors.UserError(f'No file {path}: it should be {what}.') from error
  except _REFUSED as error:
    reason = ' '.join(str(error).split()) or type(error).__name__
    raise errors.UserError(
        f'Cannot read {path} ({reason}): it should be {what}.') from error


def read_tree(path: str | pathlib.Path, *, what: str) -> dict[str, Any]:
  """Reads a state dict as nested dicts, split at '/' or else at '.'.

  Args:
    path: as of `read`.
    what: as of `read`.

  Raises:
    UserError: as `read`.
  """
  found = read(path, what=what)
  sep = '/' if any('/' in name for name in found) else '.'
  return traverse_util.unflatten_dict(found, sep=sep)


def sha256(path: str | pathlib.Path) -> str:
  """Computes the SHA-256 of a file, hexadecimal."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def check_sha256(path: str | pathlib.Path, expected: str) -> None:
  """Checks the SHA-256 of a file.

  Args:
    path: the file.
    expected: hexadecimal.

  Raises:
    UserError: the file has another SHA-256, or cannot be read.
  """
  try:
    found = sha256(path)
  except OSError as error:
    raise errors.UserError(
        f'Cannot read {path} to check its SHA-256: {error.strerror}.'
    ) from error
  if found != str(expected).lower():
    raise errors.UserError(
        f'{path} has the SHA-256 {found}, expected {expected}: it is another '
        'file, or damaged; get it again, or correct sha256.')


@contextlib.contextmanager
def _opened(path):
  """Opens a .safetensors, mapped into memory."""
  import safetensors

  with path.open('rb'):
    pass               # safetensors' errors do not name a wrong path
  try:
    with safetensors.safe_open(path, 'numpy') as file:
      yield file
  except safetensors.SafetensorError as error:
    raise ValueError(error) from error


class _Later(NamedTuple):
  """A tensor whose numbers are read after the pickle."""

  storage: str
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]

  def array(self, storages):
    flat = storages[self.storage]
    if min((self.offset, *self.size, *self.stride)) < 0:
      raise ValueError('a tensor of negative size')
    last = self.offset + sum(
        (size - 1) * step
        for size, step in zip(self.size, self.stride, strict=True))
    if 0 not in self.size and last >= len(flat):
      raise ValueError('a tensor is longer than its storage: a truncated file?')
    if math.prod(self.size) > len(flat):
      raise ValueError('a tensor repeats its storage')
    strides = [step * flat.itemsize for step in self.stride]
    view = np.lib.stride_tricks.as_strided(
        flat[self.offset:], self.size, strides)
    return np.array(view)


def _unpickler(file):
  """Checks a pickle and returns its unpickler, at the same position.

  The unpickler allocates memory for as many objects as the pickle declares.
  """
  start, opcodes, largest = file.tell(), 0, 0
  for opcode, argument, _ in pickletools.genops(file):
    opcodes += 1
    if opcode.name in ('PUT', 'BINPUT', 'LONG_BINPUT'):
      largest = max(largest, argument)
  if largest > opcodes:
    raise pickle.UnpicklingError(f'a pickle that remembers {largest:,} objects')
  file.seek(start)
  return _Unpickler(file)


class _Unpickler(pickle.Unpickler):

  def __init__(self, file):
    super().__init__(file)
    self.dtypes = {}   # of the storages, by key

  def find_class(self, module, name):
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if module == 'torch._utils' and name in (
        '_rebuild_tensor', '_rebuild_tensor_v2'):  # the first up to torch 0.3
      return lambda storage, offset, size, stride, *rest: _Later(
          storage, offset, size, stride)
    if (module, name) == ('torch._utils', '_rebuild_parameter'):
      return lambda data, *rest: data
    if module == 'torch' and name in _DTYPES:
      return _DTYPES[name]
    raise pickle.UnpicklingError(
        f'{module}.{name} is not a plain tensor: only the result of '
        'net.state_dict() is read')

  def persistent_load(self, saved):
    _, dtype, key, _, _, *view = saved
    if view and view[0] is not None:
      raise pickle.UnpicklingError('a part of a storage, as torch 0.1 wrote')
    if dtype not in _DTYPES.values():
      raise pickle.UnpicklingError(f'a storage of {dtype}')
    # NumPy does not know bfloat16 by its name.
    self.dtypes[key] = np.dtype(getattr(ml_dtypes, dtype, dtype))
    return key


def _read_torch(path):
  with path.open('rb') as file:
    if zipfile.is_zipfile(file):
      file.seek(0)
      return _read_archive(zipfile.ZipFile(file), path.stat().st_size)
    file.seek(0)
    if file.read(2) == b'PK':
      raise ValueError('a truncated zip archive')
    file.seek(0)
    return _read_pickles(file)


def _read_archive(archive, packed):
  name = next((name for name in archive.namelist()
               if name.endswith('/data.pkl')), None)
  if name is None:
    raise ValueError('no data.pkl in it')
  array_files.check_total(archive, archive.namelist(), packed)
  unpickler = _unpickler(io.BytesIO(archive.read(name)))
  state = unpickler.load()
  folder = name.removesuffix('data.pkl')
  return _arrays(state, {
      key: np.frombuffer(archive.read(f'{folder}data/{key}'), dtype)
      for key, dtype in unpickler.dtypes.items()})


def _read_pickles(file):
  """Reads the magic number, version, machine, state, keys and storages."""
  unpickle = lambda: _unpickler(file).load()
  size = file.seek(0, io.SEEK_END)
  file.seek(0)
  if unpickle() != _MAGIC:
    raise ValueError('not a file of torch.save')
  unpickle(), unpickle()
  unpickler = _unpickler(file)
  state = unpickler.load()
  storages = {}
  for key in unpickle():
    count = int.from_bytes(file.read(8), 'little')
    dtype = unpickler.dtypes[key]
    if count * dtype.itemsize > size - file.tell():
      raise ValueError('the file is truncated')
    content = file.read(count * dtype.itemsize)
    storages[key] = np.frombuffer(content, dtype)
  return _arrays(state, storages)


def _arrays(state, storages):
  """The tensors by name, and the types of other values."""
  if not isinstance(state, dict):
    raise ValueError('not a dict of tensors')
  tensors, rest, total = {}, {}, 0
  stored = sum(array.nbytes for array in storages.values())
  for count, (name, value) in enumerate(_flat(state)):
    if count >= _MAX_NAMES:
      raise ValueError(f'more than {_MAX_NAMES:,} names')
    if isinstance(value, _Later):
      tensors[name] = value.array(storages)
      total += tensors[name].nbytes
      if total > max(array_files.ROOM, array_files.MAX_RATIO * stored):
        raise ValueError('its tensors repeat their storages')
    else:
      rest[name] = type(value).__name__
  return tensors, rest


def _flat(state, prefix='', depth=0):
  if depth > _MAX_DEPTH:
    raise ValueError(f'dicts of more than {_MAX_DEPTH} levels')
  for key, value in state.items():
    # An empty dict counts as a name, too, for the limit of their number.
    if isinstance(value, dict) and value:
      yield from _flat(value, f'{prefix}{key}.', depth + 1)
    else:
      yield f'{prefix}{key}', value
