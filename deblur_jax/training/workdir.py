"""The files in the folder of a run.

  config.json       the resolved config, and the format number of the folder
  environment.json  versions, devices, commit, command
  data.json         number and digest of the names of the training and test sets
  metrics.jsonl     one line for each logged step
  summary.json      written when training is finished
  eval.json         written by `deblur_jax.evaluation.test_sets`
  checkpoints       the folder of `deblur_jax.training.checkpoint`
  parameters.txt    name, shape and dtype of each parameter that is learned
  tensorboard       curves, pictures, profiles and hyperparameters

All but the growing metrics.jsonl are written to a temporary name and renamed.
"""

import contextlib
import importlib.metadata
import json
import math
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax

from deblur_jax import errors
from deblur_jax.config import check_table, check_values
from deblur_jax.ops import atomic_files, process_locks

CONFIG = 'config.json'
ENVIRONMENT = 'environment.json'
DATA = 'data.json'
METRICS = 'metrics.jsonl'
LOCK = '.lock'
CHECKPOINTS = 'checkpoints'
PARAMETERS = 'parameters.txt'
TENSORBOARD = 'tensorboard'
# Raised when config keys or the parts of a checkpoint get other names.
FORMAT = 3
# Parts of a config that are dicts.
TABLES = ('method', 'nets', 'optim', 'data', 'augment', 'validate')
MAX_JSON = 2**28    # bytes of a file, that of an evaluation of 500,000 pictures
# These options change no result.
FREE_KEYS = ('log_every', 'save_every', 'tensorboard', 'profile',
             'split_state')
# The names of options under `data` that may be paths. A data set may move; its
# names tell whether it is the same, see `training.train`.
DATA_PATHS = ('root', 'data_dir', 'blur', 'sharp')


def to_json(content: Any, **options) -> str:
  """Encodes as JSON that every reader accepts.

  Args:
    content: dicts, lists, texts and numbers. Infinity becomes 1e999, which
      readers take as infinity or as their largest number; NaN becomes null.
    **options: of `json.dumps`.

  Returns:
    The text.
  """
  text = json.dumps(_finite(content), allow_nan=False, **options)
  return text.replace(f'"{_INFINITE}"', '1e999').replace(
      f'"-{_INFINITE}"', '-1e999')


_INFINITE = '<infinite number>'


def _finite(content):
  if isinstance(content, Mapping):
    return {key: _finite(value) for key, value in content.items()}
  if isinstance(content, list | tuple):
    return [_finite(value) for value in content]
  if not isinstance(content, float) or math.isfinite(content):
    return content
  return None if math.isnan(content) else (
      _INFINITE if content > 0 else f'-{_INFINITE}')


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes or replaces a JSON file atomically; see `to_json`."""
  atomic_files.write(path, to_json(content, indent=2) + '\n')


def read_json(path: pathlib.Path) -> Any:
  """Reads a JSON file.

  Raises:
    UserError: it is missing, unreadable, too large or not JSON.
  """
  errors.check_file(path)
  try:
    if (size := path.stat().st_size) > MAX_JSON:
      raise errors.UserError(
          f'{path} has {size:,} bytes, and more than {MAX_JSON:,} are refused.')
    return json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError as error:
    raise errors.UserError(f'No {path.name} in {path.parent}.') from error
  except OSError as error:
    raise errors.UserError(
        f'Cannot read {path}: {error.strerror}.') from error
  except (ValueError, RecursionError) as error:
    raise errors.UserError(f'{path} is not JSON: {error}.') from error


def write_config(folder: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Writes the config of a run (plain dicts) and the format of its folder."""
  write_json(folder / CONFIG, {'format': FORMAT, **config})


def read_config(folder: pathlib.Path) -> dict[str, Any]:
  """Reads the config of a run.

  Raises:
    UserError: there is no run, one in the format of another version, or a
      config with parts of a wrong type or values out of bounds.
  """
  config = read_json(folder / CONFIG)
  if not isinstance(config, dict) or not isinstance(
      config.get('method'), dict):
    raise errors.UserError(
        f'{folder / CONFIG} is not the config of a run: it has no method. Move '
        'it elsewhere, or give the folder of a run.')
  found = config.pop('format', 1)
  if found != FORMAT:
    raise errors.UserError(
        f'{folder} holds a run in format {found}, which another version of '
        f'deblur_jax made{_maker(folder)}; this version reads format {FORMAT}. '
        'Use that version for it, or train again in another folder.')
  try:
    check_form(config)
  except errors.UserError as error:
    raise errors.UserError(f'{folder / CONFIG}: {error}') from error
  return config


def check_form(config: Mapping[str, Any]) -> None:
  """Checks what holds for the config of every run, before it is used.

  Args:
    config: plain dicts; it may be incomplete.

  Raises:
    UserError: a part of a wrong type, values out of bounds; it has the key.
  """
  check_values(config)
  for key in TABLES:
    if key in config:
      check_table(config[key], where=key)
  for key in ('nets', 'optim'):
    for name, leaf in config.get(key, {}).items():
      check_table(leaf, where=f'{key}.{name}')


def _maker(folder) -> str:
  """' (commit ...)' of the code that made a run, where it is known."""
  try:
    commit = read_json(folder / ENVIRONMENT)['commit']
  except (errors.UserError, KeyError, TypeError):
    return ''
  return f' (commit {commit})' if commit else ''


def check_config(folder: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Refuses a folder that holds another experiment.

  Args:
    folder: the folder of a run; a folder without a config is accepted.
    config: plain dicts.

  Raises:
    UserError: the run has another format, or its config differs; the message
      has the first differences.
  """
  if (folder / CONFIG).exists():
    config = json.loads(json.dumps(config))  # JSON has lists, no tuples
    differing = differences(read_config(folder), config)
    if differing:
      more = f'; and {len(differing) - 4} more' if len(differing) > 4 else ''
      raise errors.UserError(
          f'{folder} holds another experiment: {"; ".join(differing[:4])}{more}'
          '. Choose another --workdir, or pass --allow_config_change to train.')


def check_folder(folder: pathlib.Path) -> None:
  """Checks before a run that its folder can be made and written.

  Raises:
    UserError: it cannot, or another process of this machine trains there.
  """
  atomic_files.check_folder(folder)
  if (folder / LOCK).exists():
    with locked(folder):
      pass


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """Lists the leaves that change results: 'key: old -> new'."""
  old, new = flatten(old), flatten(new)
  return [
      f'{key}: {old.get(key, "absent")} -> {new.get(key, "absent")}'
      for key in sorted(old.keys() | new.keys())
      if old.get(key) != new.get(key)
      and not is_free(key, old.get(key), new.get(key))]


def is_free(key: str, *values: Any) -> bool:
  """Whether an option changes no result.

  Args:
    key: dotted.
    *values: of the option; a path of a data set is free.
  """
  return key in FREE_KEYS or (
      key.startswith('data.') and key.rpartition('.')[2] in DATA_PATHS
      and all(isinstance(value, str) for value in values)
      # Of TFDS `blur` and `sharp` are names of features.
      and (key.endswith(('.root', '.data_dir'))
           or any('/' in value or '\\' in value for value in values)))


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Flattens a config: {'nets': {'net': {...}}} -> {'nets.net.scales': 3}."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, Mapping):
      flat.update(flatten(value, f'{prefix}{key}.'))
    else:
      flat[prefix + key] = value
  return flat


def describe_environment() -> dict[str, Any]:
  """Returns versions, devices, commit and command of this process."""
  packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy',
              'pillow', 'tensorflow-cpu', 'tensorflow')
  versions = {}
  for package in packages:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  return {
      'command': [sys.executable, *sys.argv],
      'commit': _commit(),
      'python': platform.python_version(),
      'platform': platform.platform(),
      'devices': [device.device_kind for device in jax.devices()],
      'processes': jax.process_count(),
      'versions': versions,
  }


class MetricsLog:
  """The file metrics.jsonl: one JSON object in each line."""

  def __init__(self, folder: pathlib.Path, *, finished: int):
    """Opens the file for the steps after `finished`.

    Lines of later steps are dropped: a killed process wrote them after its last
    checkpoint, and this process computes those steps again.
    """
    path = folder / METRICS
    lines = [line for line in read_metrics(folder) if line['step'] <= finished]
    atomic_files.write(
        path, ''.join(to_json(line) + '\n' for line in lines))
    # Without a buffer, which would be written once more when it is closed.
    self._file = path.open('ab', buffering=0)

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Appends a line.

    Raises:
      UserError: it cannot be written.
    """
    line = (to_json({'step': step, **values}) + '\n').encode()
    try:
      written = self._file.write(line)
      if written < len(line):    # the disk is full
        self._file.write(line[written:])
    except OSError as error:
      raise errors.UserError(
          f'Cannot write {self._file.name}: {error.strerror}. Make room and '
          'start again.') from error

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
  """Reads metrics.jsonl; leaves out a last line that is incomplete."""
  path = folder / METRICS
  lines = []
  for line in (path.read_text(encoding='utf-8').splitlines()
               if path.exists() else ()):
    with contextlib.suppress(ValueError):
      lines.append(json.loads(line))
  return lines


@contextlib.contextmanager
def locked(folder: pathlib.Path):
  """Locks the folder for this process; the lock ends with the process.

  Raises:
    UserError: another process of this machine trains there.
  """
  with process_locks.held(folder / LOCK, busy=(
      f'Another process trains in {folder}; wait for it, or choose another '
      '--workdir.')):
    yield


def _commit() -> str | None:
  """The commit of the code, with '+' where the tree has changes."""
  here = pathlib.Path(__file__).parent
  try:
    commit = subprocess.run(
        ['git', 'rev-parse', 'HEAD'], cwd=here, capture_output=True, text=True,
        check=True).stdout.strip()
    dirty = subprocess.run(
        ['git', 'status', '--porcelain', '--untracked-files=no'], cwd=here,
        capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None
  return commit + ('+' if dirty else '')
