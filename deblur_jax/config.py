"""Checks the options of a config leaf and passes them to a function.

A leaf is the keyword arguments of one function or network. Unknown and missing
names, and values of a wrong type, raise a UserError with the place of the leaf.
"""

import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deblur_jax.errors import UserError, shown, suggest

# Bounds of every config, far above those of any experiment.
MAX_LEVELS = 20
MAX_ENTRIES = 10_000
MAX_LENGTH = 200     # of a list
MAX_TEXT = 10_000    # characters
MAX_WHOLE = 2**53    # beyond it JSON's readers differ
MAX_COUNT = 2**31 - 1    # steps are counted in int32


def require(table: Mapping[str, Any], name: str, *, where: str) -> Any:
  """Looks up a required entry of a config.

  Args:
    table: a part of the config.
    name: of the entry.
    where: the place of the part, such as 'nets'.

  Returns:
    The entry.

  Raises:
    UserError: the entry is missing, or `table` is no dict.
  """
  if name not in check_table(table, where=where):
    raise UserError(
        f'{where}.{name} is missing; {where} has only: '
        f'{", ".join(map(str, table))}.')
  return table[name]


def check_table(table: Any, *, where: str) -> Mapping[str, Any]:
  """Returns a part of a config; raises a UserError unless it is a dict."""
  if not isinstance(table, Mapping):
    raise UserError(f'{where} must be a dict, got {shown(table)}.')
  return table


def check_values(config: Mapping[str, Any]) -> None:
  """Checks that the values of a config are within bounds.

  Args:
    config: dicts, lists, texts and numbers.

  Raises:
    UserError: too many levels or entries, lists or texts that are too long,
      numbers that are not finite or too large; the message has the key.
  """
  waiting, count = [('', config, 0)], 0
  while waiting:
    where, value, level = waiting.pop()
    count += 1
    if level > MAX_LEVELS or count > MAX_ENTRIES:
      raise UserError(
          f'{where[:80]} has more than {MAX_LEVELS} levels.'
          if level > MAX_LEVELS else
          f'A config of more than {MAX_ENTRIES:,} entries.')
    if isinstance(value, Mapping):
      waiting += [(f'{where}.{key}' if where else str(key), one, level + 1)
                  for key, one in value.items()]
    elif isinstance(value, list | tuple):
      if len(value) > MAX_LENGTH:
        raise UserError(
            f'{where} has {len(value):,} entries, more than {MAX_LENGTH}.')
      waiting += [(f'{where}[{i}]', one, level + 1)
                  for i, one in enumerate(value)]
    elif isinstance(value, str) and len(value) > MAX_TEXT:
      raise UserError(
          f'{where} has {len(value):,} characters, more than {MAX_TEXT:,}.')
    elif isinstance(value, float) and not math.isfinite(value):
      raise UserError(f'{where} = {value} is not finite.')
    elif isinstance(value, int) and abs(value) > MAX_WHOLE:
      raise UserError(f'{where} = {shown(value)} is too large.')


def check_keys(
    config: Mapping[str, Any], keys: Sequence[str], *,
    optional: Sequence[str] = ()) -> None:
  """Checks the keys of a config's top level.

  Args:
    config: the config.
    keys: those that it must have.
    optional: those that it may have.

  Raises:
    UserError: a key is unknown or missing.
  """
  known = (*keys, *optional)
  for key in config:
    if key not in known:
      raise UserError(
          f'Unknown config key {key}; known: {", ".join(known)}.'
          f'{suggest(key, known)}')
  for key in keys:
    if key not in config:
      raise UserError(f'The config has no {key}.')


def check_counts(counts: Mapping[str, Any]) -> None:
  """Raises a UserError unless all values are integers of 1 to MAX_COUNT.

  Args:
    counts: key, as the user writes it -> value.
  """
  for key, value in counts.items():
    if type(value) is not int or value < 1:
      raise UserError(f'{key} must be at least 1, got {shown(value)}.')
    if value > MAX_COUNT:
      raise UserError(f'{key} must be at most {MAX_COUNT:,}, got {value}.')


def check_seed(seed: Any) -> None:
  """Raises a UserError unless a config's seed is an integer."""
  if type(seed) is not int:    # no bool
    raise UserError(f'seed must be an integer, got {shown(seed)}.')


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
    UserError: an option is unknown, missing or of a wrong type.
  """
  return fn(*args, **_checked(fn, kwargs, where))


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
    UserError: an option is unknown, missing or of a wrong type.
  """
  return functools.partial(fn, **_checked(fn, kwargs, where))


def options(fn: Callable[..., Any]) -> dict[str, inspect.Parameter]:
  """The options that a config leaf may set.

  Args:
    fn: a function with keyword-only options, or a linen module.

  Returns:
    Name -> parameter, its annotation evaluated.
  """
  signature = inspect.signature(fn, eval_str=True)
  return {
      name: option for name, option in signature.parameters.items()
      if option.kind is option.KEYWORD_ONLY
      or (isinstance(fn, type) and name not in ('parent', 'name'))}


def convert(value: Any, annotation: Any, *, where: str) -> Any:
  """Converts a value of a config to the type of an option.

  An integer becomes a float and 3.0 an integer where the option is one; a list
  becomes a tuple. Nothing else changes its type: 1 is not True, '3' not 3.

  Args:
    value: of the config.
    annotation: of the option, evaluated. One that no config value can have is
      not checked, such as a function.
    where: the place of the value, such as 'nets.net.scales'.

  Returns:
    The value.

  Raises:
    UserError: the value has another type, or is NaN or infinite.
  """
  try:
    return _converted(value, annotation)
  except ValueError as error:
    raise UserError(
        f'{where} must be {_describe(annotation)}, got {shown(value)}{error}.'
    ) from None


def _checked(fn, kwargs, where):
  """kwargs, of the types of fn's options."""
  known = options(fn)
  others = any(option.kind is option.VAR_KEYWORD
               for option in inspect.signature(fn).parameters.values())
  checked = {}
  for key, value in kwargs.items():
    if key in known:
      value = convert(value, known[key].annotation, where=f'{where}.{key}')
    elif not others:
      raise UserError(
          f'Unknown key {where}.{key}; known: {", ".join(sorted(known))}.'
          f'{suggest(key, known)}')
    checked[key] = value
  for name, option in known.items():
    if option.default is option.empty and name not in kwargs:
      raise UserError(f'{where}.{name} is missing.')
  return checked


def _converted(value, annotation):
  """The value as `convert`; ValueError with a reason, or without."""
  of = typing.get_args(annotation)
  kind = typing.get_origin(annotation) or annotation
  if kind in (typing.Union, types.UnionType):
    return _converted_to_any(value, of)
  if kind in (bool, str, types.NoneType):
    # Programs and notebooks give paths as such.
    kind = str | os.PathLike if kind is str else kind
    return _require(value, isinstance(value, kind))
  if kind is int:
    whole = isinstance(value, float) and value.is_integer()
    return _require(int(value) if whole else value,
                    whole or _is(value, numbers.Integral))
  if kind is float:
    _require(value, _is(value, numbers.Real))
    try:
      value = float(value) if isinstance(value, int) else value
    except OverflowError:
      raise ValueError(', which is too large') from None
    if not math.isfinite(value):
      raise ValueError(', which is not finite')
    return value
  if kind is Mapping:
    _require(value, isinstance(value, Mapping))
    return {key: _converted(one, (of or (Any, Any))[1])
            for key, one in value.items()}
  if kind is tuple and of and of[-1] is not ...:
    _require(value, isinstance(value, list | tuple) and len(value) == len(of))
    return tuple(map(_converted, value, of))
  if kind in (Sequence, tuple):
    _require(value, isinstance(value, list | tuple))
    return tuple(_converted(one, (of or (Any,))[0]) for one in value)
  return value


def _converted_to_any(value, kinds):
  """The value, as the first type of a union that it has."""
  reasons = []
  # 3 is an integer first in float | int, and not the float 3.0.
  for kind in sorted(kinds, key=lambda kind: kind is float):
    try:
      return _converted(value, kind)
    except ValueError as error:
      reasons.append(str(error))
  raise ValueError(max(reasons, key=len))


def _require(value, condition):
  if not condition:
    raise ValueError('')
  return value


def _is(value, kind):
  return isinstance(value, kind) and not isinstance(value, bool)


def _describe(annotation):
  """A type in words: 'an integer or None'."""
  words = {bool: 'True or False', str: 'text', int: 'an integer',
           float: 'a number', types.NoneType: 'None'}
  of = typing.get_args(annotation)
  kind = typing.get_origin(annotation) or annotation
  if kind in (typing.Union, types.UnionType):
    return ' or '.join(map(_describe, of))
  if kind is Mapping:
    return "a dict such as {'path': 'runs/a'}"
  if kind is tuple and of and of[-1] is not ...:
    return f'a list of {len(of)}, each {_describe(of[0])}'
  if kind in (Sequence, tuple):
    return f'a list, each {_describe(of[0])}' if of else 'a list'
  return words.get(kind, str(kind))
