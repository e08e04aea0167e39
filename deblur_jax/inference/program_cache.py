"""A cache of compiled programs on disk.

A file has one program for one model, shape, machine and version of the software
that compiled it. Its name is the hash of these.
"""

import contextlib
import functools
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
from deblur_jax.training import loop

_EXECUTABLE, _STABLEHLO = b'X', b'S'
# XLA's oneDNN operations: jaxlib 0.12 reads wrong memory when it serializes
# them, because it takes them for custom calls of another class.
_ONEDNN = '__onednn$'


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
  path = cache_folder.place(
      _conditions(identity, args, mesh), cache_folder.PROGRAM)
  if path is None:
    return fn.lower(*args).compile()
  program = _load(path, args, mesh)
  if program is None:
    program = fn.lower(*args).compile()
    _store(path, program, fn, args)
  return program


def _load(path, args, mesh):
  """The program in a file; None if there is none that runs."""
  content = cache_folder.read(path)
  if content is None:
    return None
  try:
    kind, content = content[:1], zlib.decompress(content[1:])
    if kind == _STABLEHLO:
      exported = jax.export.deserialize(bytearray(content))
      program = loop.on_mesh(exported.call, mesh).lower(*args).compile()
    else:
      program = serialize_executable.deserialize_and_load(
          content, jax.tree.structure((tuple(args), {})), jax.tree.structure(0),
          execution_devices=list(mesh.devices.flat))
    return program
  except Exception:    # after any error the program is compiled
    with contextlib.suppress(OSError):
      path.unlink()
    return None


def _store(path, program, fn, args) -> None:
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
    cache_folder.write(path, content)
  except Exception:    # a full disk, a program that cannot be serialized
    return


def _conditions(identity, args, mesh) -> tuple:
  """Everything on which a program depends, beside this package."""
  devices = list(mesh.devices.flat)
  return (
      identity, [(x.shape, str(x.dtype), str(x.sharding)) for x in args],
      _versions(), _machine(),
      sorted(item for item in os.environ.items()
             if item[0].startswith(('XLA_', 'LIBTPU_'))),
      sorted((key, str(value)) for key, value in jax.config.values.items()),
      [(device.id, device.platform, device.device_kind) for device in devices],
      jax.device_count(), devices[0].client.platform_version)


def _versions() -> tuple[str, ...]:
  return (sys.version, jax.__version__, jaxlib.__version__, flax.__version__)


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
