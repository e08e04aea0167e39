"""Counts a function's multiplications and parameters without running it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax


def macs(fn, *args) -> int:
  """Counts multiply-accumulates of convolutions and products in fn(*args).

  Sums, activations, biases and filters written as shifted sums do not count. A
  loop counts once for each iteration; of a conditional only the most expensive
  branch counts.

  Args:
    fn: a function that jax can trace.
    *args: arrays or `jax.ShapeDtypeStruct`s.

  Returns:
    The number of multiply-accumulates.

  Raises:
    ValueError: a loop of unknown length has convolutions or products.
  """
  return of_program(jax.make_jaxpr(fn)(*args))


def of_program(jaxpr) -> int:
  """Counts the multiply-accumulates of a traced program, see `macs`.

  Args:
    jaxpr: a `jax.core.ClosedJaxpr`.

  Returns:
    The number of multiply-accumulates.

  Raises:
    ValueError: a loop of unknown length has convolutions or products.
  """
  return _sum(jaxpr, {'conv_general_dilated': _convolution,
                      'dot_general': _product})


def bytes_moved(jaxpr) -> int:
  """Counts the bytes that convolutions and products read and write.

  All else is taken as fused with them, which makes it a lower bound.

  Args:
    jaxpr: a `jax.core.ClosedJaxpr`.

  Returns:
    The bytes of all their arguments and results.

  Raises:
    ValueError: a loop of unknown length has convolutions or products.
  """
  return _sum(jaxpr, dict.fromkeys(
      ('conv_general_dilated', 'dot_general'), _arguments_and_results))


def values_read(fn, tree, *args) -> int:
  """Counts the values of a tree of arrays that fn(tree, *args) uses.

  For a training state and a method's `restore` these are the parameters of the
  restoring network, without those of a discriminator or an optimizer.

  Args:
    fn: a function that jax can trace.
    tree: arrays or `jax.ShapeDtypeStruct`s.
    *args: the other arguments of fn.

  Returns:
    The number of values in the arrays that fn uses.
  """
  jaxpr = jax.make_jaxpr(fn)(tree, *args).jaxpr
  read = {id(variable) for equation in jaxpr.eqns
          for variable in equation.invars}
  leaves = jaxpr.invars[:len(jax.tree.leaves(tree))]
  return sum(math.prod(leaf.aval.shape) for leaf in leaves if id(leaf) in read)


def _sum(jaxpr, costs):
  """Sums costs, {name of a primitive: equation -> cost}, over a program."""
  jaxpr = getattr(jaxpr, 'jaxpr', jaxpr)  # a ClosedJaxpr has a jaxpr
  return sum(_of_equation(equation, costs) for equation in jaxpr.eqns)


def _of_equation(equation, costs):
  name = equation.primitive.name
  if name in costs:
    return costs[name](equation)
  inner = [_sum(jaxpr, costs) for jaxpr in inner_jaxprs(equation.params)]
  if name == 'scan':
    return equation.params['length'] * sum(inner)
  if name == 'cond':
    return max(inner)
  if name == 'while' and any(inner):
    raise ValueError('Cannot count the products in a loop of unknown length.')
  return sum(inner)


def inner_jaxprs(params: Mapping[str, Any]) -> Iterator[Any]:
  """Yields the programs among the parameters of an equation.

  Args:
    params: of the equation.

  Yields:
    A jaxpr, closed or not.
  """
  for value in params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      if hasattr(getattr(item, 'jaxpr', item), 'eqns'):
        yield item


def _convolution(equation):
  """Each value of the result is a sum over the kernel's window and channels."""
  spec = equation.params['dimension_numbers'].rhs_spec  # (out, in, *window)
  kernel = equation.invars[1].aval.shape
  window = math.prod(kernel[axis] for axis in spec[1:])
  return math.prod(equation.outvars[0].aval.shape) * window


def _product(equation):
  (left, _), _ = equation.params['dimension_numbers']
  shape = equation.invars[0].aval.shape
  summed = math.prod(shape[axis] for axis in left)
  return math.prod(equation.outvars[0].aval.shape) * summed


def _arguments_and_results(equation):
  return sum(size_of(variable.aval)
             for variable in (*equation.invars, *equation.outvars))


def size_of(aval) -> int:
  """Returns the bytes of an array of a shape and a dtype; 0 for random keys."""
  if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key):
    return 0
  return math.prod(aval.shape) * aval.dtype.itemsize
