"""Tiny ONNX detectors, written byte by byte: there is no onnx package here."""

import numpy as np

FLOAT, INT64 = 1, 7


def write(path, *, inputs, constant, colour):
  """A detector that gives `constant` + the picture's mean colour * `colour`.

  Args:
    path: the file.
    inputs: shape of the input `images`; a word for a side left open.
    constant: [1, n, m] float32.
    colour: [3, m], or [n, 3] where the classes are along the middle axis.
  """
  last = colour.shape[0] == 3
  shape = [1, 1, 3] if last else [1, 3, 1]
  nodes = [
      (['images'], 'GlobalAveragePool', 'mean'),
      (['mean', 'shape'], 'Reshape', 'flat'),
      (['flat', 'colour'] if last else ['colour', 'flat'], 'MatMul', 'product'),
      (['product', 'constant'], 'Add', 'output')]
  tensors = {'shape': np.array(shape, np.int64),
             'colour': colour.astype(np.float32),
             'constant': constant.astype(np.float32)}
  graph = b''.join([
      *(_field(1, _node(*node)) for node in nodes), _field(2, b'graph'),
      *(_field(5, _tensor(*item)) for item in tensors.items()),
      _field(11, _value('images', inputs)),
      _field(12, _value('output', constant.shape))])
  # IR version 8 and operator set 13.
  path.write_bytes(_field(1, 8) + _field(8, _field(2, 13)) + _field(7, graph))
  return path


def _node(inputs, kind, output):
  return b''.join([*(_field(1, name.encode()) for name in inputs),
                   _field(2, output.encode()), _field(4, kind.encode())])


def _tensor(name, array):
  kind = INT64 if array.dtype == np.int64 else FLOAT
  return b''.join([*(_field(1, side) for side in array.shape), _field(2, kind),
                   _field(8, name.encode()), _field(9, array.tobytes())])


def _value(name, shape):
  sides = b''.join(
      _field(1, _field(2, side.encode()) if isinstance(side, str)
             else _field(1, side)) for side in shape)
  tensor = _field(1, FLOAT) + _field(2, sides)
  return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number, value):
  """A field of a protocol buffer: a whole number, or bytes."""
  if isinstance(value, int):
    return _varint(number << 3) + _varint(value)
  return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value):
  parts = []
  while value > 127:
    parts.append(value & 127 | 128)
    value >>= 7
  return bytes([*parts, value])
