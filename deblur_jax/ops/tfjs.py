"""Reads a TensorFlow.js graph that jax2tf made from a Flax network.

Such a folder has a model.json with the graph and a list of its constants, and
files with their values in the same order. The network's parameters are
constants of the graph:

  a float32 constant with more than one value is a parameter
  its module is in its name, or in that of the operation that uses it
  the operation determines the parameter's name: OPERATIONS
  a transposed convolution is stored as [h, w, out, in], rotated by 180 degrees

TensorFlow is not needed, and the graph is not run.
"""

import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from deblur_jax import errors

INDEX = 'model.json'
# The operation that uses a constant -> the parameter's name.
OPERATIONS = {
    'Conv2D': 'kernel', 'Conv2DBackpropInput': 'kernel', 'Einsum': 'kernel',
    'AddV2': 'bias', 'Mul': 'scale'}
MAX_INDEX = 256 * 2**20     # bytes of model.json; MAXIM's has 10 million
_BYTES = {'float32': 4, 'int32': 4, 'bool': 1}
_SCOPE = 'jax2tf_apply_/'   # precedes the path of a Flax module
_FIRST = 'jax2tf_arg_'      # begins names of parameters without their module


def is_folder(path: str | pathlib.Path) -> bool:
  """Returns whether a path is a folder with a model.json."""
  return (pathlib.Path(path) / INDEX).is_file()


def read(folder: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the parameters of a network.

  Args:
    folder: with a model.json and its files of values.

  Returns:
    {path in the Flax tree, joined by '/': float32 array}.

  Raises:
    UserError: there is no such folder, or one of its files is missing, damaged
      or of another form.
  """
  folder = pathlib.Path(folder)
  path = folder / INDEX
  try:
    if path.stat().st_size > MAX_INDEX:
      raise ValueError(f'more than {MAX_INDEX:,} bytes')
    index = json.loads(path.read_bytes())
    groups = [(list(map(str, group['paths'])),
               [(str(entry['name']), _shape(entry), _dtype(entry))
                for entry in group['weights']])
              for group in index['weightsManifest']]
    nodes = [(str(node['op']), str(node['name']),
              [str(name).split(':')[0] for name in node.get('input', ())])
             for node in index['modelTopology']['node']]
  except FileNotFoundError as error:
    raise errors.UserError(f'No file {path}.') from error
  except (OSError, ValueError, LookupError, TypeError, AttributeError,
          RecursionError) as error:
    reason = ' '.join(str(error).split()) or type(error).__name__
    raise errors.UserError(
        f'Cannot read {path} ({reason}): it should be a graph of '
        'TensorFlow.js.') from error
  values = {}
  for paths, entries in groups:
    values |= _constants(folder, paths, entries)
  return dict(_parameters(values, nodes, path))


def _shape(entry: Mapping[str, Any]) -> tuple[int, ...]:
  shape = tuple(entry['shape'])
  if not all(type(side) is int and side >= 0 for side in shape):    # no bool
    raise ValueError(
        f'{entry["name"]} has the shape {errors.shown(shape)}')
  return shape


def _dtype(entry: Mapping[str, Any]) -> str:
  dtype = entry['dtype']
  if 'quantization' in entry:
    raise ValueError(f'{entry["name"]} is quantized')
  if not isinstance(dtype, str) or dtype not in _BYTES:
    raise ValueError(f'{entry["name"]} is of {errors.shown(dtype)}')
  return dtype


def _constants(folder, paths, entries) -> dict[str, np.ndarray]:
  """The float32 constants of one group of files."""
  expected = sum(math.prod(shape) * _BYTES[dtype]
                 for _, shape, dtype in entries)
  for name in paths:
    if pathlib.PurePath(name).name != name:
      raise errors.UserError(
          f'{folder / INDEX} names {errors.shown(name)}: its files must be in '
          'the same folder.')
    if not (folder / name).is_file():
      raise errors.UserError(
          f'{folder} has no {errors.shown(name)}, one of its {len(paths)} '
          'files of values: get it again.')
  size = sum((folder / name).stat().st_size for name in paths)
  if size != expected:
    raise errors.UserError(
        f'The files of values in {folder} have {size:,} bytes, but {INDEX} '
        f'declares {expected:,}: a file is truncated or of another model.')
  content, found, start = bytearray(), {}, 0
  for name in paths:
    content += (folder / name).read_bytes()
  for name, shape, dtype in entries:
    count = math.prod(shape)
    if dtype == 'float32' and count > 1:
      found[name] = np.frombuffer(
          content, '<f4', count, offset=start).reshape(shape)
    start += count * _BYTES[dtype]
  return found


def _parameters(values, nodes, path) -> Iterator[tuple[str, np.ndarray]]:
  users = {}    # constant -> the first operation that uses it
  for op, name, inputs in nodes:
    for constant in inputs:
      if constant in values:
        users.setdefault(constant, (op, name))
  seen = set()
  for constant, value in values.items():
    op, consumer = users.get(constant, ('none', ''))
    place = consumer if _FIRST in constant else constant
    _, scope, place = place.partition(_SCOPE)
    if op not in OPERATIONS or not scope:
      raise errors.UserError(
          f'{path}: the constant {errors.shown(constant)} (used by '
          f'{errors.shown(op)}) is no parameter of a Flax network.')
    leaf = OPERATIONS[op]
    if op == 'Einsum':
      module = place.removesuffix('/einsum/Einsum')
    else:
      module = place.rpartition('/')[0]
    if op == 'Conv2DBackpropInput':
      value = value[::-1, ::-1].swapaxes(2, 3)
    if leaf != 'kernel':
      value = value.reshape(-1)
    name = f'{module}/{leaf}'
    if name in seen:
      raise errors.UserError(f'{path} has {errors.shown(name)} twice.')
    seen.add(name)
    yield name, np.array(value, np.float32, order='C')
