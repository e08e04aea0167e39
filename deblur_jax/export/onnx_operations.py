"""The arithmetic primitives of JAX as operations of ONNX.

Each is fn(graph, values, params) -> value, or values; params are those of the
primitive. It raises a NotImplementedError for cases that it does not translate.
The primitives of shapes and axes are in `onnx_shapes.py`.
"""

import string

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax.export import onnx_shapes
from deblur_jax.export.onnx_graph import TYPES, Graph, Value, known


def element(kind: str):
  """Makes the row of an elementwise ONNX operation `kind`."""
  return lambda graph, values, params: elementwise(
      graph, values, lambda *names: graph.op(kind, *names))


def elementwise(graph: Graph, values, make) -> Value:
  """Applies an elementwise operation to arrays in a common order of axes.

  Args:
    graph: the graph.
    values: arrays of one rank, or scalars.
    make: (*names of the inputs) -> name of the output.

  Returns:
    The result.
  """
  rank = max(len(x.shape) for x in values)
  as_wide = dict(shape=(1,) * rank, broadcast_dimensions=())
  values = [x if len(x.shape) == rank else
            onnx_shapes.broadcast_in_dim(graph, [x], as_wide) for x in values]
  order = graph.best_order(values)
  sides = lambda axis, which: next(
      (getattr(x, which)[axis] for x in values if getattr(x, which)[axis] != 1),
      1)
  shape, have = (tuple(sides(axis, which) for axis in range(rank))
                 for which in ('shape', 'have'))
  return Value(
      make(*(graph.stored(x, order) for x in values)), shape, have, order)


def convert(graph: Graph, values, params):
  """convert_element_type: a Cast."""
  x, = values
  kind = TYPES[np.dtype(params['new_dtype']).name]
  return x._replace(data=graph.op('Cast', graph.stored(x), to=kind))


def maximum(graph: Graph, values, params):
  """max: a Relu where one argument is zero, else a Max."""
  for x, other in (values, values[::-1]):
    if other.constant and not other.data.any() and not x.constant:
      return x._replace(data=graph.op('Relu', graph.stored(x)))
  return element('Max')(graph, values, params)


def clamp(graph: Graph, values, params):
  """clamp: a Clip between two numbers."""
  low, x, high = values
  if low.shape or high.shape:
    raise NotImplementedError('with bounds that are not scalars')
  return x._replace(data=graph.op(
      'Clip', graph.stored(x), graph.stored(low), graph.stored(high)))


def select(graph: Graph, values, params):
  """select_n: a Where."""
  which, no, yes = values
  return elementwise(graph, [which, yes, no],
                     lambda *names: graph.op('Where', *names))


def not_equal(graph: Graph, values, params):
  """ne: an Equal and a Not."""
  return elementwise(graph, values, lambda a, b: graph.op(
      'Not', graph.op('Equal', a, b)))


def square(graph: Graph, values, params):
  """square: a value times itself."""
  return elementwise(graph, values, lambda x: graph.op('Mul', x, x))


def remainder(graph: Graph, values, params):
  """rem: a Mod with the sign of the dividend."""
  return elementwise(graph, values, lambda a, b: graph.op(
      'Mod', a, b, fmod=1))


def integer_pow(graph: Graph, values, params):
  """integer_pow: one or two products, or a Pow."""
  if params['y'] == 2:
    return square(graph, values, params)
  if params['y'] == 3:   # much faster than Pow
    return elementwise(graph, values, lambda x: graph.op(
        'Mul', x, graph.op('Mul', x, x)))
  return elementwise(graph, values, lambda x: graph.op(
      'Pow', x, graph.constant(np.float32(params['y']))))


def rsqrt(graph: Graph, values, params):
  """rsqrt: the reciprocal of a Sqrt."""
  return elementwise(graph, values, lambda x: graph.op(
      'Reciprocal', graph.op('Sqrt', x)))


def erfc(graph: Graph, values, params):
  """erfc: 1 - Erf."""
  one = graph.constant(np.float32(1))
  return elementwise(graph, values, lambda x: graph.op(
      'Sub', one, graph.op('Erf', x)))


def log1p(graph: Graph, values, params):
  """log1p: Log(1 + x)."""
  one = graph.constant(np.float32(1))
  return elementwise(graph, values, lambda x: graph.op(
      'Log', graph.op('Add', x, one)))


def reduction(kind: str):
  """Makes the row of a reduction over axes, of the ONNX operation `kind`."""
  def reduce(graph, values, params):
    axes = params['axes']
    x = graph.full(values[0], axes)
    name = graph.op(kind, graph.stored(x), graph.ints(
        [x.order.index(axis) for axis in axes]), keepdims=0)
    stay = [axis for axis in range(len(x.shape)) if axis not in axes]
    return Value(
        name, tuple(x.shape[axis] for axis in stay),
        tuple(x.have[axis] for axis in stay),
        tuple(stay.index(axis) for axis in x.order if axis in stay))

  return reduce


def dim_as_value(graph: Graph, values, params):
  """dim_as_value: a symbolic size as a scalar."""
  size = graph.op('Squeeze', graph.dims([params['dim']]))
  return Value(graph.op('Cast', size, to=TYPES['int32']), (), (), ())


def convolution(graph: Graph, values, params):
  """conv_general_dilated: a Conv, channels first."""
  x, kernel = map(graph.full, values)
  image_axes, kernel_axes, out_axes = params['dimension_numbers']
  if set(params['lhs_dilation']) != {1} or params['batch_group_count'] != 1:
    raise NotImplementedError('with zeros between the values of the image')
  name, shape = graph.stored(x, image_axes), [
      x.shape[axis] for axis in image_axes]
  padding = params['padding']
  if any(not isinstance(side, int) or side < 0
         for around in padding for side in around):
    lows, highs = zip(*padding, strict=True)
    name = graph.op('Pad', name, graph.dims([0, 0, *lows, 0, 0, *highs]),
                    mode='constant')
    shape[2:] = [side + low + high for side, (low, high) in zip(
        shape[2:], padding, strict=True)]
    padding = ((0, 0),) * len(padding)
  window = [kernel.shape[axis] for axis in kernel_axes[2:]]
  lows, highs = zip(*padding, strict=True)
  name = graph.op(
      'Conv', name, graph.stored(kernel, kernel_axes), kernel_shape=window,
      strides=list(params['window_strides']), pads=[*lows, *highs],
      dilations=list(params['rhs_dilation']),
      group=params['feature_group_count'])
  sides = [
      (side + low + high - (k - 1) * dilation - 1) // stride + 1
      for side, (low, high), k, dilation, stride in zip(
          shape[2:], padding, window, params['rhs_dilation'],
          params['window_strides'], strict=True)]
  stored = [shape[0], kernel.shape[kernel_axes[0]], *sides]
  result = tuple(stored[out_axes.index(axis)] for axis in range(len(stored)))
  return Value(name, result, result, tuple(out_axes))


def layer_norm(graph: Graph, values, params):
  """layer_norm: a LayerNormalization over the last axis."""
  x, scale, bias = values
  usual = tuple(range(len(x.shape)))
  return x._replace(order=usual, data=graph.op(
      'LayerNormalization', graph.stored(graph.full(x), usual),
      graph.stored(scale), graph.stored(bias), axis=-1, **params))


def dot_general(graph: Graph, values, params):
  """dot_general: a MatMul of batches where possible, else an Einsum."""
  a, b = map(graph.full, values)
  (sum_a, sum_b), (batch_a, batch_b) = params['dimension_numbers']
  free_a, free_b = ([axis for axis in range(len(x.shape)) if axis not in taken]
                    for x, taken in ((a, [*sum_a, *batch_a]),
                                     (b, [*sum_b, *batch_b])))
  shape = (*(a.shape[axis] for axis in (*batch_a, *free_a)),
           *(b.shape[axis] for axis in free_b))
  result = lambda name: Value(name, shape, shape, tuple(range(len(shape))))
  one_sum = len(sum_a) == len(free_b) == 1
  if one_sum and (len(free_a) == 1 or not batch_a):
    return result(graph.op(
        'MatMul', graph.stored(a, [*batch_a, *free_a, *sum_a]),
        graph.stored(b, [*batch_b, *sum_b, *free_b])))
  letters = iter(string.ascii_lowercase)
  in_a = [next(letters) for _ in a.shape]
  in_b = [next(letters) for _ in b.shape]
  for left, right in zip((*sum_a, *batch_a), (*sum_b, *batch_b), strict=True):
    in_b[right] = in_a[left]
  lines = [''.join(names[axis] for axis in x.order)
           for names, x in ((in_a, a), (in_b, b))]
  out = ''.join([*(in_a[axis] for axis in (*batch_a, *free_a)),
                 *(in_b[axis] for axis in free_b)])
  return result(graph.op('Einsum', graph.stored(a), graph.stored(b),
                         equation=f'{lines[0]},{lines[1]}->{out}'))


def same(graph: Graph, values, params):
  """Returns the first value, for primitives that change nothing."""
  return values[0]


def all_same(graph: Graph, values, params):
  """Returns all values, for primitives that change nothing."""
  return values


def evaluate(equation, values) -> Value | None:
  """Computes the result of a primitive for constants.

  Args:
    equation: of a jaxpr.
    values: its inputs.

  Returns:
    The result, or None where an input or a size is not known.
  """
  primitive, sizes = equation.primitive, equation.outvars[0].aval.shape
  if primitive.multiple_results or not values or not all(
      x.constant for x in values):
    return None
  if primitive.name in ELEMENTS:
    rank = len(sizes)
    arrays = np.broadcast_arrays(*(
        x.data.reshape(x.have or (1,) * rank) for x in values))
    return known(_run(equation, arrays), sizes)
  if primitive.name not in onnx_shapes.SHAPES and all(
      isinstance(side, int) for side in sizes):
    return known(_run(equation, [np.broadcast_to(x.data, x.shape)
                                 for x in values]))
  return None


def _run(equation, arrays):
  # On the CPU, so that the constants do not depend on the device.
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    result = np.asarray(equation.primitive.bind(
        *map(jnp.asarray, arrays), **equation.params))
  return result.astype(np.float32) if result.dtype.name == 'bfloat16' else (
      result)


ELEMENTS = {
    'abs': element('Abs'),
    'add': element('Add'),
    'add_any': element('Add'),
    'and': element('And'),
    'ceil': element('Ceil'),
    'clamp': clamp,
    'convert_element_type': convert,
    'cos': element('Cos'),
    'div': element('Div'),
    'eq': element('Equal'),
    'erf': element('Erf'),
    'erfc': erfc,
    'exp': element('Exp'),
    'floor': element('Floor'),
    'ge': element('GreaterOrEqual'),
    'gt': element('Greater'),
    'integer_pow': integer_pow,
    'le': element('LessOrEqual'),
    'log': element('Log'),
    'log1p': log1p,
    'logistic': element('Sigmoid'),
    'lt': element('Less'),
    'max': maximum,
    'min': element('Min'),
    'mul': element('Mul'),
    'ne': not_equal,
    'neg': element('Neg'),
    'not': element('Not'),
    'or': element('Or'),
    'pow': element('Pow'),
    'rem': remainder,
    'round': element('Round'),
    'rsqrt': rsqrt,
    'select_n': select,
    'sign': element('Sign'),
    'sin': element('Sin'),
    'sqrt': element('Sqrt'),
    'square': square,
    'sub': element('Sub'),
    'tanh': element('Tanh'),
}
OPERATIONS = ELEMENTS | onnx_shapes.SHAPES | {
    'conv_general_dilated': convolution,
    'copy': same,
    'copy_p': same,
    'dim_as_value': dim_as_value,
    'dot_general': dot_general,
    'layer_norm': layer_norm,
    'optimization_barrier': all_same,
    'reduce_max': reduction('ReduceMax'),
    'reduce_min': reduction('ReduceMin'),
    'reduce_sum': reduction('ReduceSum'),
    'stop_gradient': same,
}
