"""The primitives of JAX for shapes and axes as operations of ONNX.

Each is fn(graph, values, params) -> value, or values; params are those of the
primitive. It raises a NotImplementedError for cases that it does not translate.
"""

import math
from collections.abc import Sequence

import numpy as np
from jax.lax import GatherScatterMode

from deblur_jax.export.onnx_graph import TYPES, Graph, Shape, Value, known

LOWEST = np.iinfo(np.int64).min


def transpose(graph: Graph, values, params):
  """transpose: changes the recorded order of axes; no node."""
  x, = values
  axes = params['permutation']
  if x.constant:
    return known(x.data.transpose(axes), [x.shape[axis] for axis in axes])
  return Value(x.data, tuple(x.shape[axis] for axis in axes),
               tuple(x.have[axis] for axis in axes),
               tuple(axes.index(axis) for axis in x.order))


def broadcast_in_dim(graph: Graph, values, params):
  """broadcast_in_dim: an Unsqueeze; repeated axes are only recorded."""
  x = values[0]
  shape, axes = params['shape'], params['broadcast_dimensions']
  have = [1] * len(shape)
  for axis, side in zip(axes, x.have, strict=True):
    have[axis] = side
  if x.constant:
    return known(x.data.reshape(have), shape)
  new = [axis for axis in range(len(shape)) if axis not in axes]
  order = _inserted([axes[axis] for axis in x.order], new)
  name = x.data if not new else graph.op(
      'Unsqueeze', x.data, graph.ints([order.index(axis) for axis in new]))
  return Value(name, tuple(shape), tuple(have), tuple(order))


def _inserted(order: list[int], new: Sequence[int]) -> list[int]:
  """Inserts each new axis after its predecessor."""
  order = list(order)
  for axis in sorted(new):
    order.insert(order.index(axis - 1) + 1 if axis else 0, axis)
  return order


def squeeze(graph: Graph, values, params):
  """squeeze: a Squeeze."""
  x, = values
  gone = params['dimensions']
  stay = [axis for axis in range(len(x.shape)) if axis not in gone]
  shape, have = ([sides[axis] for axis in stay] for sides in (x.shape, x.have))
  if x.constant:
    return known(x.data.reshape(have), shape)
  name = x.data if not gone else graph.op(
      'Squeeze', x.data, graph.ints([x.order.index(axis) for axis in gone]))
  return Value(name, tuple(shape), tuple(have), tuple(
      stay.index(axis) for axis in x.order if axis in stay))


def reshape(graph: Graph, values, params):
  """reshape: splits and joins axes; joined axes are made adjacent first."""
  x = graph.full(values[0])
  shape = tuple(params['new_sizes'])
  if x.constant:
    return known(x.data.reshape(shape))
  if x.shape == shape:
    return x
  groups = _groups(x.shape, shape)
  stored, done = [], set()
  for axis in x.order:
    index = next((i for i, (old, _) in enumerate(groups) if axis in old), None)
    if index is not None and index not in done:
      stored.append(index)
      done.add(index)
  ones_before = [axis for axis, side in enumerate(x.shape)
                 if side == 1 and all(axis not in old for old, _ in groups)]
  name = graph.stored(x, [
      *(axis for i in stored for axis in groups[i][0]), *ones_before])
  order = [axis for i in stored for axis in groups[i][1]]
  order = _with_ones(order, len(shape))
  name = graph.op('Reshape', name, graph.dims([shape[axis] for axis in order]))
  return Value(name, shape, shape, tuple(order))


def _with_ones(order, rank):
  """Inserts the axes of size 1, which are in no group, after the previous."""
  for axis in range(rank):
    if axis not in order:
      place = order.index(axis - 1) + 1 if axis - 1 in order else 0
      order.insert(place, axis)
  return order


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
  """(axes before, axes after) with the same values, in the smallest groups."""
  before, after = ([axis for axis, side in enumerate(shape) if side != 1]
                   for shape in (old, new))
  groups = []
  while before or after:
    count = min(
        ((i, j) for i in range(1, len(before) + 1)
         for j in range(1, len(after) + 1)
         if math.prod(old[axis] for axis in before[:i])
         == math.prod(new[axis] for axis in after[:j])),
        key=sum, default=(len(before), len(after)))
    groups.append((before[:count[0]], after[:count[1]]))
    before, after = before[count[0]:], after[count[1]:]
  return groups


def concatenate(graph: Graph, values, params):
  """concatenate: a Concat."""
  axis = params['dimension']
  values = [graph.full(x) for x in values]
  order = graph.best_order(values)
  name = graph.op('Concat', *(graph.stored(x, order) for x in values),
                  axis=order.index(axis))
  shape = list(values[0].shape)
  shape[axis] = sum(x.shape[axis] for x in values)
  return Value(name, tuple(shape), tuple(shape), order)


def stack(graph: Graph, values, params):
  """stack: new axes, then a Concat."""
  axis, rank = params['axis'], len(values[0].shape) + 1
  shape = list(values[0].shape)
  shape.insert(axis, 1)
  params = dict(shape=tuple(shape), broadcast_dimensions=[
      i for i in range(rank) if i != axis])
  return concatenate(
      graph, [broadcast_in_dim(graph, [x], params) for x in values],
      dict(dimension=axis))


def split(graph: Graph, values, params):
  """split: a Split with several outputs."""
  x = graph.full(values[0])
  axis, sizes = params['axis'], params['sizes']
  names = graph.op(
      'Split', graph.stored(x), graph.dims(sizes), outputs=len(sizes),
      axis=x.order.index(axis))
  shapes = [x.shape[:axis] + (size,) + x.shape[axis + 1:] for size in sizes]
  return [Value(name, shape, shape, x.order)
          for name, shape in zip(names, shapes, strict=True)]


def slice_(graph: Graph, values, params):
  """slice: a Slice, with steps if there are any."""
  x, = values
  strides = params['strides'] or (1,) * len(x.shape)
  parts = list(zip(
      params['start_indices'], params['limit_indices'], strides, strict=True))
  shape = tuple((limit - start + stride - 1) // stride
                for start, limit, stride in parts)
  # Axes along which the array is constant are not sliced.
  cut = [axis for axis, part in enumerate(parts) if x.have[axis] != 1
         and part != (0, x.shape[axis], 1)]
  have = tuple(shape[axis] if axis in cut else side
               for axis, side in enumerate(x.have))
  if not cut:
    return x._replace(shape=shape)
  starts, ends, steps = zip(*(parts[axis] for axis in cut), strict=True)
  name = graph.op(
      'Slice', graph.stored(x), graph.dims(starts), graph.dims(ends),
      graph.ints([x.order.index(axis) for axis in cut]), graph.dims(steps))
  return Value(name, shape, have, x.order)


def rev(graph: Graph, values, params):
  """rev: a Slice with steps of -1."""
  x, = values
  axes = [axis for axis in params['dimensions'] if x.have[axis] != 1]
  if not axes:
    return x
  backwards = graph.ints([-1] * len(axes))
  name = graph.op(
      'Slice', graph.stored(x), backwards, graph.ints([LOWEST] * len(axes)),
      graph.ints([x.order.index(axis) for axis in axes]), backwards)
  return x._replace(data=name, order=x.order)


def pad(graph: Graph, values, params):
  """pad: a Pad; negative widths crop."""
  x, filling = graph.full(values[0]), values[1]
  config = params['padding_config']
  if any(between for _, _, between in config):
    raise NotImplementedError('with zeros between the values')
  if not any(low or high for low, high, _ in config):
    return x
  around = [[config[axis][end] for axis in x.order] for end in (0, 1)]
  name = graph.op('Pad', graph.stored(x), graph.dims(sum(around, [])),
                  graph.stored(filling), mode='constant')
  shape = tuple(side + low + high for side, (low, high, _) in zip(
      x.shape, config, strict=True))
  return Value(name, shape, shape, x.order)


def iota(graph: Graph, values, params):
  """iota: a constant, or a Range where the size is symbolic."""
  shape, axis = params['shape'], params['dimension']
  have = [1] * len(shape)
  have[axis] = shape[axis]
  if isinstance(shape[axis], int):
    line = np.arange(shape[axis], dtype=params['dtype'])
    return known(line.reshape(have), shape)
  zero, one = (graph.constant(np.int64(i)) for i in (0, 1))
  line = graph.op('Cast', graph.op(
      'Range', zero, graph.op('Squeeze', graph.dims([shape[axis]])), one),
      to=TYPES[np.dtype(params['dtype']).name])
  others = [i for i in range(len(shape)) if i != axis]
  name = graph.op('Unsqueeze', line, graph.ints(others)) if others else line
  return Value(name, tuple(shape), tuple(have), tuple(range(len(shape))))


def gather(graph: Graph, values, params):
  """gather: a Gather, for `jnp.take` along one axis with mode 'clip'."""
  numbers = params['dimension_numbers']
  rank, index = len(values[0].shape), values[1]
  axis, *others = numbers.start_index_map
  one_axis = (not others and numbers.collapsed_slice_dims == (axis,)
              and not numbers.operand_batching_dims and len(index.shape) == 2)
  if not one_axis or numbers.offset_dims != tuple(
      i for i in range(rank) if i != axis) or any(
          part != side for i, (part, side) in enumerate(
              zip(params['slice_sizes'], values[0].shape, strict=True))
          if i != axis):
    raise NotImplementedError('along other than one axis')
  if params['mode'] != GatherScatterMode.CLIP:
    raise NotImplementedError("of mode other than 'clip'")
  x, index = graph.full(values[0], [axis]), graph.full(index)
  wanted = graph.op('Cast', graph.op(
      'Squeeze', graph.stored(index, (0, 1)), graph.ints([1])),
      to=TYPES['int64'])
  last = graph.dims([x.shape[axis] - 1])
  wanted = graph.op('Min', graph.op('Max', wanted, graph.ints([0])), last)
  place = x.order.index(axis)
  name = graph.op('Gather', graph.stored(x), wanted, axis=place)
  sides = lambda known: tuple(
      index.shape[0] if i == axis else side for i, side in enumerate(known))
  return Value(name, sides(x.shape), sides(x.have), x.order)


SHAPES = {
    'broadcast_in_dim': broadcast_in_dim,
    'concatenate': concatenate,
    'gather': gather,
    'iota': iota,
    'pad': pad,
    'reshape': reshape,
    'rev': rev,
    'slice': slice_,
    'split': split,
    'squeeze': squeeze,
    'stack': stack,
    'transpose': transpose,
}
