"""An ONNX graph under construction: arrays, their axes, and symbolic sizes.

Networks here have channels last, ONNX's convolutions channels first. An array
may be stored with its axes in another order than its logical order. Only
operations that depend on the order transpose it, so a network needs at most one
transposition at each end. An array that is constant along an axis is stored
with size 1 there until an operation needs all values.
"""

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Dim = Any                # an int, or a symbol of `jax.export.symbolic_shape`
Shape = tuple[Dim, ...]

# ONNX's numbers of the types. bfloat16 in JAX is float32 in the file, because
# few programs compute in bfloat16.
TYPES = {'float32': 1, 'uint8': 2, 'int8': 3, 'int32': 6, 'int64': 7, 'bool': 9,
         'float16': 10, 'float64': 11, 'bfloat16': 1}


class Value(NamedTuple):
  """An array of the graph.

  Attributes:
    data: a constant with axes in logical order, or the name of the output of a
      node.
    shape: the logical shape.
    have: the stored sizes in logical order: those of `shape`, or 1 where the
      array is constant along an axis.
    order: stored axis i is the logical axis order[i].
  """

  data: np.ndarray | str
  shape: Shape
  have: Shape
  order: tuple[int, ...]

  @property
  def constant(self) -> bool:
    """Whether the values are known at export."""
    return isinstance(self.data, np.ndarray)


class Node(NamedTuple):
  """An ONNX operation.

  Attributes:
    kind: the name of the operation.
    inputs: names of values; '' for one that is left out.
    outputs: names of values.
    attributes: constants by name.
  """

  kind: str
  inputs: tuple[str, ...]
  outputs: tuple[str, ...]
  attributes: dict[str, Any]


def known(array, shape: Shape | None = None) -> Value:
  """Makes a constant.

  Args:
    array: the stored values.
    shape: the logical shape, where the array has axes of size 1 along which it
      is constant; by default the array's.

  Returns:
    The value.
  """
  array = np.asarray(array)
  return Value(array, array.shape if shape is None else tuple(shape),
               array.shape, tuple(range(array.ndim)))


class Graph:
  """Nodes in order, constants, and symbolic sizes computed so far."""

  def __init__(self):
    self.nodes: list[Node] = []
    self.constants: dict[str, np.ndarray] = {}
    self._made: dict[Any, str] = {}   # key of a node or constant -> its names
    self._sizes: dict[str, str] = {}  # symbol -> name of its value, int64 [1]

  def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes):
    """Adds a node, or finds an equal one.

    Args:
      kind: the name of the ONNX operation.
      *inputs: names of its inputs.
      outputs: number of its outputs.
      **attributes: of the operation.

    Returns:
      The name of its output, or a tuple of names if there are several.
    """
    key = _key(kind, inputs, attributes)
    if key not in self._made:
      names = tuple(f'{kind.lower()}_{len(self.nodes)}_{i}'
                    for i in range(outputs))
      self.nodes.append(Node(kind, inputs, names, attributes))
      self._made[key] = names
    names = self._made[key]
    return names[0] if outputs == 1 else names

  def constant(self, array: np.ndarray) -> str:
    """Adds a constant, or finds an equal one, and returns its name."""
    array = np.asarray(array, order='C')   # ascontiguousarray adds an axis
    key = (array.dtype.str, array.shape, array.tobytes())
    if key not in self._made:
      self._made[key] = f'constant_{len(self.constants)}'
      self.constants[self._made[key]] = array
    return self._made[key]

  def input(self, name: str, shape: Shape) -> Value:
    """Returns the graph's input and computes the symbols in its shape."""
    sizes = self.op('Shape', name)
    for axis, side in enumerate(shape):
      if not isinstance(side, int):
        self._sizes[str(side)] = self.op(
            'Gather', sizes, self.ints([axis]), axis=0)
    return Value(name, shape, shape, tuple(range(len(shape))))

  def ints(self, values: Sequence[int]) -> str:
    """Adds an int64 constant [n] and returns its name."""
    return self.constant(np.array(values, np.int64))

  def dims(self, sizes: Sequence[Dim]) -> str:
    """Adds int64 [n] of sizes, numbers or symbols, and returns its name."""
    parts = []   # consecutive numbers are one constant
    for side in sizes:
      if not isinstance(side, int):
        parts.append(self._dim(ast.parse(
            str(side).replace('^', '**'), mode='eval').body))
      elif parts and isinstance(parts[-1], list):
        parts[-1].append(side)
      else:
        parts.append([side])
    names = [part if isinstance(part, str) else self.ints(part)
             for part in parts] or [self.ints([])]
    return names[0] if len(names) == 1 else self.op('Concat', *names, axis=0)

  def _dim(self, tree: ast.expr) -> str:
    """int64 [1] of a symbolic expression in the notation of `jax.export`."""
    match tree:
      case ast.Constant(value=value):
        return self.ints([value])
      case ast.Name(id=name):
        return self._sizes[name]
      case ast.UnaryOp(op=ast.USub(), operand=operand):
        return self.op('Neg', self._dim(operand))
      case ast.BinOp(left=left, op=op, right=right):
        return self.op(_BINARY[type(op)], self._dim(left), self._dim(right))
      case ast.Call(func=ast.Name(id='floordiv'), args=[a, b]):
        # ONNX rounds towards zero; Mod has the sign of the divisor.
        a, b = self._dim(a), self._dim(b)
        return self.op('Div', self.op('Sub', a, self.op('Mod', a, b)), b)
      case ast.Call(func=ast.Name(id=name), args=args):
        return self.op(name.capitalize(), *map(self._dim, args))
    raise NotImplementedError(ast.unparse(tree))

  def stored(self, value: Value, order: Sequence[int] | None = None) -> str:
    """Returns the name of an array in an order of axes.

    Args:
      value: the array.
      order: of its axes; by default its stored order. Another order adds a
        transposition.
    """
    order = value.order if order is None else tuple(order)
    if value.constant:
      return self.constant(value.data.transpose(order))
    if order == value.order:
      return value.data
    wide = [axis for axis in value.order if value.have[axis] != 1]
    if wide == [axis for axis in order if value.have[axis] != 1]:
      return self._move_ones(value, order)
    return self.op('Transpose', value.data,
                   perm=self._transposition(value, order)[1])

  def best_order(self, values: Sequence[Value]) -> tuple[int, ...]:
    """Returns the order of axes that needs the fewest transpositions.

    Args:
      values: arrays of one rank, at least one of them not constant.
    """
    computed = [value for value in values if not value.constant]
    orders = {value.order for value in computed}
    usual = tuple(range(len(computed[0].order)))
    # Transpositions of small arrays cost almost nothing.
    large = [value for value in computed if 1 not in value.have] or computed
    cost = lambda order: sum(
        order != value.order and self._transposition(value, order)[0]
        not in self._made for value in large)
    return min(sorted(orders | {usual}, key=lambda order: order != usual),
               key=cost)

  def _transposition(self, value, order):
    """(key of the Transpose node, its permutation)."""
    perm = [value.order.index(axis) for axis in order]
    return _key('Transpose', (value.data,), dict(perm=perm)), perm

  def _move_ones(self, value, order):
    """Moves axes of size 1, which moves no value."""
    places = lambda order: self.ints(
        [i for i, axis in enumerate(order) if value.have[axis] == 1])
    return self.op('Unsqueeze', self.op(
        'Squeeze', value.data, places(value.order)), places(order))

  def full(self, value: Value, axes: Sequence[int] | None = None) -> Value:
    """Expands an array that is constant along axes to all of its values.

    Args:
      value: the array.
      axes: logical axes; by default all.

    Returns:
      The array, stored with its full sizes along these axes.
    """
    axes = range(len(value.shape)) if axes is None else axes
    have = tuple(value.shape[axis] if axis in axes else side
                 for axis, side in enumerate(value.have))
    if have == value.have:
      return value
    if value.constant and all(isinstance(side, int) for side in have):
      return known(np.broadcast_to(value.data, have), value.shape)
    name = self.op('Expand', self.stored(value), self.dims(
        [have[axis] for axis in value.order]))
    return Value(name, value.shape, have, value.order)


def _key(kind, inputs, attributes):
  return kind, inputs, repr(sorted(attributes.items()))


_BINARY = {ast.Add: 'Add', ast.Sub: 'Sub', ast.Mult: 'Mul', ast.Pow: 'Pow'}
