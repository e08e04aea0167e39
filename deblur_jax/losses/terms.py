"""Reads sums of losses: 'l1 + 0.1*fft_l1 + 0.01*dark_channel(window=15)'."""

import ast
from typing import Any, NamedTuple

from deblur_jax import errors


class Term(NamedTuple):
  """One term of a sum.

  Attributes:
    name: of a loss.
    weight: its factor.
    options: keyword arguments of the loss.
  """

  name: str
  weight: float = 1.0
  options: dict[str, Any] = {}


def parse(text: str) -> list[Term]:
  """Reads a sum of losses.

  Args:
    text: NAME, NUMBER*NAME or NUMBER*NAME(OPTION=VALUE, ...), joined by +. A
      VALUE is a Python literal.

  Returns:
    The terms, in their order.

  Raises:
    UserError: text is none of that.
  """
  try:
    return _terms(ast.parse(' '.join(text.split()), mode='eval').body)
  except (OverflowError, RecursionError, SyntaxError, ValueError) as error:
    raise errors.UserError(
        f'Loss {text.strip()!r} is not of the form l1 + 0.1*name + '
        '0.1*name(option=1).') from error


def _terms(node) -> list[Term]:
  """Returns the terms of a syntax tree; ValueError for any other."""
  match node:
    case ast.BinOp(left=left, op=ast.Add(), right=right):
      return [*_terms(left), *_terms(right)]
    case ast.BinOp(left=left, op=ast.Mult(), right=right):
      weight = _weight(left)
      term, = _terms(right)
      return [term._replace(weight=weight * term.weight)]
    case ast.Name(id=name):
      return [Term(name)]
    case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
      options = {one.arg: ast.literal_eval(one.value) for one in keywords}
      if None not in options and len(options) == len(keywords):
        return [Term(name, options=options)]
  raise ValueError('not a sum of losses')


def _weight(node) -> float:
  """Returns the product of a syntax tree of numbers; else a ValueError."""
  if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
    return _weight(node.left) * _weight(node.right)
  value = ast.literal_eval(node)
  if type(value) not in (int, float):
    raise ValueError('not a number')
  return float(value)
