"""Reads weights that PyTorch wrote, without PyTorch: names -> arrays.

Both forms of `torch.save`: zip archives, and the older row of pickles in which
torchvision's and LPIPS' own files lie. Nothing but tensors and dicts is
unpickled, so a file cannot run code here. .safetensors and .npz with the same
names are read alike.
"""

import collections
import hashlib
import io
import json
import math
import pathlib
import pickle
import zipfile

import jax.numpy as jnp
import numpy as np

from deblur_jax import types

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    'FloatStorage': np.float32, 'DoubleStorage': np.float64,
    'HalfStorage': np.float16, 'LongStorage': np.int64,
    'IntStorage': np.int32, 'ByteStorage': np.uint8}
_SAFE_DTYPES = {
    'F64': np.float64, 'F32': np.float32, 'F16': np.float16,
    'BF16': jnp.bfloat16, 'I64': np.int64, 'I32': np.int32, 'U8': np.uint8}


def read(path: str | pathlib.Path, *, what: str) -> dict[str, np.ndarray]:
  """A state dict: name -> array, in PyTorch's layout.

  Args:
    path: .npz, .safetensors, or .pth or .pt.
    what: for the error, what the file is and where to get it.

  Raises:
    UserError: no such file, or one that is not of this form.
  """
  path = pathlib.Path(path)
  try:
    if path.suffix == '.npz':
      with np.load(path) as arrays:
        return dict(arrays)
    if path.suffix == '.safetensors':
      return _read_safetensors(path.read_bytes())
    return _read_torch(path)
  except (FileNotFoundError, IsADirectoryError) as error:
    raise types.UserError(f'No file {path}: it should be {what}.') from error
  except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError,
          pickle.UnpicklingError, zipfile.BadZipFile) as error:
    raise types.UserError(
        f'Cannot read {path} ({error}): it should be {what}.') from error


def check_sha256(path: str | pathlib.Path, expected: str) -> None:
  """Refuses a file whose SHA-256 is not `expected`, hexadecimal digits."""
  try:
    with open(path, 'rb') as file:
      found = hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise types.UserError(
        f'Cannot read {path} to check its SHA-256: {error.strerror}.'
    ) from error
  if found != str(expected).lower():
    raise types.UserError(
        f'{path} has SHA-256 {found}, expected {expected}: it is another file, '
        'or damaged; get it again, or correct sha256.')


def _read_safetensors(content):
  """The length of a header, the header in JSON, the numbers."""
  size = int.from_bytes(content[:8], 'little')
  if not 0 < size <= len(content) - 8:
    raise ValueError('its header is cut short')
  header = json.loads(content[8:8 + size])
  header.pop('__metadata__', None)
  numbers = memoryview(content)[8 + size:]
  return {name: _safe_array(name, about, numbers)
          for name, about in header.items()}


def _safe_array(name, about, numbers):
  first, last = about['data_offsets']
  dtype, shape = np.dtype(_SAFE_DTYPES[about['dtype']]), about['shape']
  if not (0 <= first <= last <= len(numbers)
          and last - first == math.prod(shape) * dtype.itemsize):
    raise ValueError(f'{name} does not fit into the file')
  return np.frombuffer(numbers[first:last], dtype).reshape(shape)


class _Later:
  """A tensor whose numbers are read after the pickle."""

  def __init__(self, storage, offset, size, stride):
    self.storage, self.offset = storage, offset
    self.size, self.stride = size, stride

  def array(self, storages):
    flat = storages[self.storage][self.offset:]
    strides = [step * flat.itemsize for step in self.stride]
    view = np.lib.stride_tricks.as_strided(flat, self.size, strides)
    return np.array(view)


class _Unpickler(pickle.Unpickler):

  def __init__(self, file):
    super().__init__(file)
    self.dtypes = {}   # of the storages, by key

  def find_class(self, module, name):
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return lambda storage, offset, size, stride, *rest: _Later(
          storage, offset, size, stride)
    if (module, name) == ('torch._utils', '_rebuild_parameter'):
      return lambda data, *rest: data
    if module == 'torch' and name in _DTYPES:
      return _DTYPES[name]
    raise pickle.UnpicklingError(f'{module}.{name} is not a plain tensor')

  def persistent_load(self, saved):
    _, dtype, key, *_ = saved
    self.dtypes[key] = np.dtype(dtype)
    return key


def _read_torch(path):
  with path.open('rb') as file:
    if zipfile.is_zipfile(file):
      file.seek(0)
      return _read_archive(zipfile.ZipFile(file))
    file.seek(0)
    return _read_pickles(file)


def _read_archive(archive):
  name = next((name for name in archive.namelist()
               if name.endswith('/data.pkl')), None)
  if name is None:
    raise ValueError('no data.pkl in it')
  unpickler = _Unpickler(io.BytesIO(archive.read(name)))
  state = unpickler.load()
  folder = name.removesuffix('data.pkl')
  return _arrays(state, {
      key: np.frombuffer(archive.read(f'{folder}data/{key}'), dtype)
      for key, dtype in unpickler.dtypes.items()})


def _read_pickles(file):
  """A magic number, the version, the machine, the state, keys, the storages."""
  unpickle = lambda: _Unpickler(file).load()
  if unpickle() != _MAGIC:
    raise ValueError('not a file of torch.save')
  unpickle(), unpickle()
  unpickler = _Unpickler(file)
  state = unpickler.load()
  storages = {}
  for key in unpickle():
    count = int(np.frombuffer(file.read(8), '<i8')[0])
    dtype = unpickler.dtypes[key]
    storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
  return _arrays(state, storages)


def _arrays(state, storages):
  if not isinstance(state, dict):
    raise ValueError('not a dict of tensors')
  return {name: later.array(storages) for name, later in state.items()
          if isinstance(later, _Later)}
