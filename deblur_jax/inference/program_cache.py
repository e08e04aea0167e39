"""A cache of compiled programs on disk.

A file has one program for one model, shape, machine and version of the software
that compiled it. Its name is the hash of these.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import platform
import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import jaxlib
from jax.experimental import serialize_executable
from jax.sharding import Mesh

from deblur_jax.inference import cache_folder
from deblur_jax.ops import atomic_files
from deblur_jax.training import loop

_EXECUTABLE, _STABLEHLO = b'X', b'S'
# XLA's oneDNN operations: jaxlib 0.12 reads wrong memory when it serializes
# them, because it takes them for custom calls of another class.
_ONEDNN = '__onednn$'
_PACKAGE = pathlib.Path(__file__).parents[1]


def compiled(
    fn: Callable[..., Any], args: Sequence[jax.Array], *, identity: str,
    mesh: Mesh) -> Callable[..., Any]:
  """Compiles a jitted function for its arguments, or loads it from disk.

  Args:
    fn: a function of arrays to one array, from `loop.on_mesh`; weights are
      arguments.
    args: arrays with the shapes, types and shardings of later arguments.
    identity: distinguishes `fn` from all other functions of this version of the
      package: a network and its options.
    mesh: the devices.

  Returns:
    The compiled function.
  """
  folder = cache_folder.locate()
  if folder is None or cache_folder.problem(folder):
    return fn.lower(*args).compile()
  name = _key(identity, args, mesh)
  path = folder / f'{name}.program'
  program = _load(path, name, args, mesh)
  if program is None:
    program = fn.lower(*args).compile()
    _store(path, name, program, fn, args)
  return program


def _load(path, name, args, mesh):
  """The program in a file; None if there is none that runs."""
  try:
    checksum, content = path.read_bytes().split(b'\n', 1)
    if checksum != _checksum(name, content):
      raise ValueError('damaged')
    kind, content = content[:1], zlib.decompress(content[1:])
    if kind == _STABLEHLO:
      exported = jax.export.deserialize(bytearray(content))
      program = loop.on_mesh(exported.call, mesh).lower(*args).compile()
    else:
      program = serialize_executable.deserialize_and_load(
          content, jax.tree.structure((tuple(args), {})), jax.tree.structure(0),
          execution_devices=list(mesh.devices.flat))
    os.utime(path)
    return program
  except FileNotFoundError:
    return None
  except Exception:    # after any error the program is compiled
    with contextlib.suppress(OSError):
      path.unlink()
    return None


def _store(path, name, program, fn, args) -> None:
  """Writes a program atomically; does nothing on errors."""
  try:
    if jax.config.jax_compilation_cache_dir or _ONEDNN in program.as_text():
      # This saves only the tracing. A program from jax's own cache cannot be
      # serialized again: on CPUs the result lacks its functions.
      content = _STABLEHLO + zlib.compress(
          jax.export.export(fn)(*args).serialize(), 1)
    else:
      content = _EXECUTABLE + zlib.compress(
          serialize_executable.serialize(program)[0], 1)
    atomic_files.write(path, _checksum(name, content) + b'\n' + content)
    cache_folder.evict(path.parent)
  except Exception:    # a full disk, a program that cannot be serialized
    return


def _checksum(name, content) -> bytes:
  return hashlib.sha256(name.encode() + content).hexdigest().encode()


def _key(identity, args, mesh) -> str:
  """The hash of everything on which a program depends, hexadecimal."""
  devices = list(mesh.devices.flat)
  parts = (
      identity, [(x.shape, str(x.dtype), str(x.sharding)) for x in args],
      _versions(), _sources(), _machine(),
      sorted(item for item in os.environ.items()
             if item[0].startswith(('XLA_', 'LIBTPU_'))),
      sorted((key, str(value)) for key, value in jax.config.values.items()),
      [(device.id, device.platform, device.device_kind) for device in devices],
      jax.device_count(), devices[0].client.platform_version)
  return hashlib.sha256(repr(parts).encode()).hexdigest()


def _versions() -> tuple[str, ...]:
  return (sys.version, jax.__version__, jaxlib.__version__, flax.__version__)


@functools.cache
def _sources() -> str:
  """The hash of this package's files: an edit makes old programs invalid."""
  digest = hashlib.sha256()
  for path in sorted(_PACKAGE.rglob('*.py')):
    content = path.read_bytes()
    digest.update(f'{path.relative_to(_PACKAGE)} {len(content)}\n'.encode())
    digest.update(content)
  return digest.hexdigest()


@functools.cache
def _machine() -> tuple[str, ...]:
  """The CPU, whose instructions programs use."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return tuple(platform.uname())    # includes the machine's name
  kinds = ('model name', 'flags', 'Features', 'CPU part')
  return platform.machine(), str(os.cpu_count()), *sorted(
      {line for line in lines if line.startswith(kinds)})
