"""How a leaf of a config becomes a call: options by name, checked.

A leaf is the keyword arguments of one function or network. Unknown and missing
names are a user's mistakes. The message names the place of the leaf.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deblur_jax.errors import UserError, suggest


def require(table: Mapping[str, Any], name: str, *, where: str) -> Any:
  """table[name], or a UserError that it is missing."""
  if name not in table:
    raise UserError(
        f'{where}.{name} is missing; there is only: {", ".join(table)}.')
  return table[name]


def check_keys(config: Mapping[str, Any], keys: Sequence[str]) -> None:
  """Raises a UserError where a config's top level has other keys than these."""
  for key in config:
    if key not in keys:
      raise UserError(
          f'Unknown config key {key}; known: {", ".join(keys)}.'
          f'{suggest(key, keys)}')
  for key in keys:
    if key not in config:
      raise UserError(f'The config has no {key}.')


def call(
    fn: Callable[..., Any], kwargs: Mapping[str, Any], *, args=(), where: str
) -> Any:
  """fn(*args, **kwargs), where unknown and missing keys are UserErrors.

  Args:
    fn: a function with keyword-only options, or a linen module.
    kwargs: one leaf of a config.
    args: the inputs of fn.
    where: the place of that leaf, as the user writes it: 'nets.net'.
  """
  _check_options(fn, kwargs, where)
  return fn(*args, **kwargs)


def bind(
    fn: Callable[..., Any], kwargs: Mapping[str, Any], *, where: str
) -> Callable[..., Any]:
  """fn with its options set and its inputs still to come, checked as `call`."""
  _check_options(fn, kwargs, where)
  return functools.partial(fn, **kwargs)


def _check_options(fn, kwargs, where):
  options = {
      name: option for name, option in inspect.signature(fn).parameters.items()
      if option.kind is option.KEYWORD_ONLY
      or (isinstance(fn, type) and name not in ('parent', 'name'))}
  for key in kwargs:
    if key not in options:
      raise UserError(
          f'Unknown key {where}.{key}; known: {", ".join(sorted(options))}.'
          f'{suggest(key, options)}')
  for name, option in options.items():
    if option.default is option.empty and name not in kwargs:
      raise UserError(f'{where}.{name} is missing.')
