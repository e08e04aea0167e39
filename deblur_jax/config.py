"""Checks the options of a config leaf and passes them to a function.

A leaf is the keyword arguments of one function or network. Unknown and missing
names raise a UserError with the place of the leaf.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deblur_jax.errors import UserError, suggest


def require(table: Mapping[str, Any], name: str, *, where: str) -> Any:
  """Looks up a required entry of a config.

  Args:
    table: a part of the config.
    name: of the entry.
    where: the place of the part, such as 'nets'.

  Returns:
    The entry.

  Raises:
    UserError: the entry is missing.
  """
  if name not in table:
    raise UserError(
        f'{where}.{name} is missing; {where} has only: {", ".join(table)}.')
  return table[name]


def check_keys(config: Mapping[str, Any], keys: Sequence[str]) -> None:
  """Checks the keys of a config's top level.

  Args:
    config: the config.
    keys: all of its keys.

  Raises:
    UserError: a key is unknown or missing.
  """
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
  """Calls a function with the options of a config leaf.

  Args:
    fn: a function with keyword-only options, or a linen module.
    kwargs: the leaf.
    args: the positional arguments of fn.
    where: the place of the leaf, as the user writes it, such as 'nets.net'.

  Returns:
    The result of fn.

  Raises:
    UserError: an option is unknown or missing.
  """
  _check_options(fn, kwargs, where)
  return fn(*args, **kwargs)


def bind(
    fn: Callable[..., Any], kwargs: Mapping[str, Any], *, where: str
) -> Callable[..., Any]:
  """Binds the options of a config leaf to a function.

  Args:
    fn: as of `call`.
    kwargs: the leaf.
    where: as of `call`.

  Returns:
    A function of the positional arguments of fn.

  Raises:
    UserError: an option is unknown or missing.
  """
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
