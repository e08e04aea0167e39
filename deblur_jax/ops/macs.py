"""Counts a function's multiplications and parameters without running it."""

import math

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
  return _count(jax.make_jaxpr(fn)(*args))


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


def _count(jaxpr):
  jaxpr = getattr(jaxpr, 'jaxpr', jaxpr)  # a ClosedJaxpr has a jaxpr
  return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation):
  name = equation.primitive.name
  if name == 'conv_general_dilated':
    return _convolution(equation)
  if name == 'dot_general':
    return _product(equation)
  inner = [_count(jaxpr) for jaxpr in _inner_jaxprs(equation.params)]
  if name == 'scan':
    return equation.params['length'] * sum(inner)
  if name == 'cond':
    return max(inner)
  if name == 'while' and any(inner):
    raise ValueError('Cannot count the products in a loop of unknown length.')
  return sum(inner)


def _inner_jaxprs(params):
  """Yields the jaxprs among the parameters of a primitive."""
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
