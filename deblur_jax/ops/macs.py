"""Multiply-accumulates of any function, counted in its program.

Nothing is computed: the jaxpr of the function is walked. Convolutions and dot
products count; additions, activations and interpolation do not, as in papers.
"""

import math
from collections.abc import Callable

import jax
from jax.extend import core


def macs(fn: Callable, *args) -> int:
  """Multiply-accumulates of fn(*args); arguments may be ShapeDtypeStructs."""
  return _of_jaxpr(jax.make_jaxpr(fn)(*args).jaxpr)


def _of_jaxpr(jaxpr) -> int:
  return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation) -> int:
  name = equation.primitive.name
  if name == 'conv_general_dilated':
    return _of_conv(equation)
  if name == 'dot_general':
    (contracted, _), _ = equation.params['dimension_numbers']
    left = equation.invars[0].aval
    return (math.prod(equation.outvars[0].aval.shape)
            * math.prod(left.shape[axis] for axis in contracted))
  inner = [_of_jaxpr(jaxpr) for jaxpr in _inner(equation.params)]
  if name == 'cond':  # one branch runs
    return max(inner)
  return sum(inner) * (equation.params['length'] if name == 'scan' else 1)


def _of_conv(equation) -> int:
  kernel = equation.invars[1].aval
  output = equation.outvars[0].aval
  kernel_axes = equation.params['dimension_numbers'].rhs_spec
  # Taps that fall on the zeros between dilated inputs are not work.
  dilation = math.prod(equation.params['lhs_dilation'])
  taps = math.prod(kernel.shape[axis] for axis in kernel_axes[1:])
  return math.prod(output.shape) * taps // dilation


def _inner(params):
  """The jaxprs that an equation calls, each once."""
  for key, value in params.items():
    if key in ('fwd_jaxpr_thunk', 'bwd', 'jvp_jaxpr_fun'):
      continue
    for part in value if isinstance(value, (tuple, list)) else (value,):
      if isinstance(part, core.ClosedJaxpr):
        yield part.jaxpr
      elif isinstance(part, core.Jaxpr):
        yield part
