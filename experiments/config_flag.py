"""The flag --config=FILE[:ARG] of the programs, and --config.KEY=VALUE.

KEY may be any option of the function that a part of the config goes to, also
one that the file does not list: `deblur_jax.config` has the function check its
name and its type. VALUE is a Python literal, which may contain dict(path='a'),
a dict in YAML such as {path: runs/a}, or else text. `restorer.scales` is an
option of the network that restores, whatever the config calls it.
"""

import ast
import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import yaml
from absl import flags
from ml_collections import config_flags

from deblur_jax import errors

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'
RESTORER = 'restorer'
NAMED = ('nets', 'optim')     # the config names their members
_SETTINGS = {}       # of the command line: dotted key -> value


def define(help_text: str = 'Config file, FILE or FILE:ARG.') -> None:
  """Defines --config.

  Args:
    help_text: the text of --help.
  """
  flags.DEFINE_string('config', None, help_text)


def take(argv: Sequence[str]) -> list[str]:
  """Keeps the --config.KEY=VALUE of a command line for `value`.

  Args:
    argv: the command line.

  Returns:
    The other arguments.

  Raises:
    UserError: a KEY without a value.
  """
  rest = []
  _SETTINGS.clear()
  words = iter(argv)
  for word in words:
    match = re.fullmatch(r'--?(no)?config\.([^=]+)(=.*)?', word, re.DOTALL)
    if match is None:
      rest.append(word)
      continue
    no, key, text = match.groups()
    if no:
      _SETTINGS[key] = False
      continue
    text = next(words, '--') if text is None else text[1:]
    if match[3] is None and text.startswith('--'):
      raise errors.UserError(f'{word} has no value: give {word}=VALUE.')
    _SETTINGS[key] = Text(text)
  return rest


def value(default: str | None = None) -> ml_collections.ConfigDict | None:
  """The config of --config with what --config.KEY=VALUE changes.

  Args:
    default: the file if there is no --config.

  Returns:
    The config; None without a file.

  Raises:
    UserError: as `load`; a KEY without --config.
  """
  path = flags.FLAGS.config or default
  if path is not None:
    return load(path, _SETTINGS)
  if _SETTINGS:
    raise errors.UserError(
        f'--config.{next(iter(_SETTINGS))} changes a config: give '
        '--config=FILE too.')
  return None


def is_given(key: str) -> bool:
  """Returns whether the command line has --config.KEY=VALUE."""
  return key in _SETTINGS


def load(
    path: str, settings: Mapping[str, Any] | None = None
) -> ml_collections.ConfigDict:
  """Reads a config file and changes some keys.

  Args:
    path: FILE or FILE:ARG.
    settings: dotted key -> value.

  Returns:
    The config.

  Raises:
    UserError: no such file, an error in it, or settings as of `change`.
  """
  file = pathlib.Path(str(path).partition(':')[0])
  if not file.is_file():
    known = [one.stem for one in CONFIGS.glob('*.py')]
    raise errors.UserError(
        f'No config file {file}.{errors.suggest(file.stem, known)}')
  values = flags.FlagValues()
  argv = [sys.argv[0], f'--config={path}']
  holder = config_flags.DEFINE_config_file(
      'config', lock_config=False, flag_values=values, sys_argv=argv)
  try:
    values(argv)
    config = holder.value
    change(config, settings or {})
  except (flags.Error, AttributeError, KeyError, NameError, OSError,
          SyntaxError, TypeError, ValueError) as error:
    # ml_collections quotes the traceback of a config file; the error is last.
    *_, last = str(error).strip().splitlines() or [type(error).__name__]
    last = re.sub(r'[\\"\']+', "'", last.replace('\\n', ' '))
    last = re.sub(r"^['\s]*(\w+Error: )?", '', last)
    if last.count("'") % 2:
      last = last.removesuffix("'")
    raise errors.UserError(f'{path}: {last}') from error
  return config


def resolve(
    path: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
  """The config of a file as in config.json: plain dicts, and lists.

  Args:
    path: as of `load`.
    settings: as of `load`.
  """
  return json.loads(json.dumps(load(path, settings).to_dict()))


def change(
    config: ml_collections.ConfigDict, settings: Mapping[str, Any]) -> None:
  """Changes keys of a config; a key that it does not list becomes part of it.

  Keys that share a value in the file change together. A number keeps the type
  that the config has there, where that loses nothing.

  Args:
    config: changed in place.
    settings: dotted key -> value.

  Raises:
    UserError: a key that no function could take: an unknown part of the config,
      or a key inside of a value that is no dict.
  """
  with config.unlocked(), config.ignore_type():
    for key, new in settings.items():
      *parents, last = full_key(config, key).split('.')
      part = config
      for depth, name in enumerate(parents, 1):
        if part.get(name) is None:
          if depth == 1 or (depth == 2 and parents[0] in NAMED):
            raise _unknown(key, config)
          part[name] = ml_collections.ConfigDict(type_safe=False)
        part = part[name]
        if not isinstance(part, ml_collections.ConfigDict):
          raise errors.UserError(
              f'The config has no key {key}: {".".join(parents[:depth])} is '
              f'{part!r}.')
      if part is config and last not in config:
        raise _unknown(key, config)
      part[last] = _as_before(part.get(last), new)


def full_key(config: Mapping[str, Any], key: str) -> str:
  """The key with the name of the network in place of 'restorer'.

  Args:
    config: with its `nets`.
    key: dotted.

  Returns:
    'nets.generator.scales' for 'restorer.scales'; other keys as they are.

  Raises:
    UserError: the config has no network that restores.
  """
  role, dot, rest = key.partition('.')
  if role != RESTORER or not dot:
    return key
  from deblur_jax.methods import pretrained  # loads JAX

  name = pretrained.restorer(config.get('nets', {}), where='The config')
  return f'nets.{name}.{rest}'


class Text(str):
  """What a command line has, to be read as `literal` where no text is meant."""


class _DictCalls(ast.NodeTransformer):
  """Writes dict(a=1) as {'a': 1}, which `ast.literal_eval` reads."""

  def visit_Call(self, node: ast.Call) -> ast.AST:
    self.generic_visit(node)
    named = all(pair.arg for pair in node.keywords)
    if getattr(node.func, 'id', None) != 'dict' or node.args or not named:
      return node
    return ast.Dict([ast.Constant(pair.arg) for pair in node.keywords],
                    [pair.value for pair in node.keywords])


def literal(text: str) -> Any:
  """'1e-4' -> 0.0001, '(1, 2)' -> (1, 2), '{path: a}' -> {'path': 'a'}.

  Args:
    text: a Python literal, with or without dict(KEY=VALUE); a dict or list in
      YAML; or anything else.

  Returns:
    The value; the text itself if it is neither.
  """
  try:
    return ast.literal_eval(_DictCalls().visit(
        ast.parse(text.lstrip(), mode='eval')))
  except (SyntaxError, ValueError):
    pass
  if text[:1] in ('{', '['):
    try:
      return yaml.safe_load(text)
    except yaml.YAMLError:
      pass
  return text


def _unknown(key, config):
  from deblur_jax.training import workdir  # loads JAX

  known = [*workdir.flatten(config.to_dict()), *config]
  return errors.UserError(
      f'The config has no key {key}.{errors.suggest(key, known)}')


def _as_before(old, new):
  """A new value with the type of the old one, where that loses nothing."""
  if isinstance(new, Text):
    read = literal(new)
    # A folder may be called 2024_01, which Python reads as a number.
    new = str(new) if isinstance(old, str) and isinstance(
        read, bool | int | float) else read
  if isinstance(old, bool):
    return {'true': True, 'false': False}.get(str(new).lower(), new)
  if isinstance(old, str) and isinstance(new, bool | int | float):
    return str(new)
  if isinstance(old, float) and type(new) is int:
    return float(new)
  if isinstance(old, int) and isinstance(new, float) and new.is_integer():
    return int(new)
  return new
