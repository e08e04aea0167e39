"""The files by which a run's folder explains itself.

  config.json       the resolved config
  environment.json  versions, devices, commit, command
  metrics.jsonl     one line a logged step
  summary.json      written when training is finished
  eval.json         written by `deblur_jax.evaluation.test_sets`
  checkpoints       the folder of `deblur_jax.training.checkpoint`

All but the growing metrics.jsonl are written to a temporary name and renamed.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax

from deblur_jax import errors
from deblur_jax.ops import atomic_files

CONFIG = 'config.json'
METRICS = 'metrics.jsonl'
CHECKPOINTS = 'checkpoints'
# How often a run speaks or saves does not change what it computes.
FREE_KEYS = ('log_every', 'save_every', 'tensorboard')


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes or replaces a file, never half of it."""
  atomic_files.write(path, json.dumps(content, indent=2) + '\n')


def read_json(path: pathlib.Path) -> Any:
  """What `write_json` wrote."""
  try:
    return json.loads(path.read_text())
  except FileNotFoundError as error:
    raise errors.UserError(f'No {path.name} in {path.parent}.') from error
  except OSError as error:
    raise errors.UserError(
        f'Cannot read {path}: {error.strerror}.') from error
  except ValueError as error:
    raise errors.UserError(f'{path} is not JSON: {error}.') from error


def check_config(folder: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Refuses a folder that holds another experiment.

  Raises:
    UserError: the folder's config differs, with the first differences.
  """
  path = folder / CONFIG
  if path.exists():
    config = json.loads(json.dumps(config))  # tuples become lists, as on disk
    differing = differences(read_json(path), config)
    if differing:
      more = f'; and {len(differing) - 4} more' if len(differing) > 4 else ''
      raise errors.UserError(
          f'{folder} holds another experiment: {"; ".join(differing[:4])}{more}'
          '. Choose another --workdir, or pass --allow_config_change to train.')


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """'key: old -> new' for every leaf that differs and matters."""
  old, new = flatten(old), flatten(new)
  return [
      f'{key}: {old.get(key, "absent")} -> {new.get(key, "absent")}'
      for key in sorted(old.keys() | new.keys())
      if key not in FREE_KEYS and old.get(key) != new.get(key)]


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """{'nets': {'net': {'scales': 3}}} -> {'nets.net.scales': 3}."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, Mapping):
      flat.update(flatten(value, f'{prefix}{key}.'))
    else:
      flat[prefix + key] = value
  return flat


def describe_environment() -> dict[str, Any]:
  """Versions, devices, commit and command of this process."""
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
  """metrics.jsonl: a JSON object a line."""

  def __init__(self, folder: pathlib.Path, *, finished: int):
    """Opens it for the steps after `finished`.

    Lines of later steps are dropped: they are of steps that an earlier process
    lost when it was killed, and will come again.
    """
    path = folder / METRICS
    lines = [line for line in read_metrics(folder) if line['step'] <= finished]
    atomic_files.write(
        path, ''.join(json.dumps(line) + '\n' for line in lines))
    self._file = path.open('a')

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Adds a line."""
    self._file.write(json.dumps({'step': step, **values}) + '\n')
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
  """The lines of metrics.jsonl; a last one that was cut short is left out."""
  path = folder / METRICS
  lines = []
  for line in path.read_text().splitlines() if path.exists() else ():
    with contextlib.suppress(ValueError):
      lines.append(json.loads(line))
  return lines


@contextlib.contextmanager
def locked(folder: pathlib.Path):
  """Holds the folder for one process; the lock goes when the process does.

  Raises:
    UserError: another process of this machine trains there.
  """
  with (folder / '.lock').open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise errors.UserError(
          f'Another process trains in {folder}; wait for it, or choose '
          'another --workdir.') from error
    except OSError:
      pass  # a file system without locks
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
