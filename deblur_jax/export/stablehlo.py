"""StableHLO files by `jax.export`, for all sizes of pictures.

Every program with jax reads them by `jax.export.deserialize`, without this
package, and runs them on one of `PLATFORMS`.
"""

import os
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax import export

from deblur_jax import errors
from deblur_jax.export import traced as traced_lib

PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')


def make(
    traced: traced_lib.Traced, *, platforms=PLATFORMS) -> export.Exported:
  """Exports a function with its weights to StableHLO.

  Args:
    traced: the function.
    platforms: on which the result runs.

  Returns:
    The exported function.
  """
  return export.export(jax.jit(traced.fn), platforms=platforms)(
      traced.blur)


def write(path: str | os.PathLike, traced: traced_lib.Traced) -> None:
  """Writes a function with its weights to a file."""
  pathlib.Path(path).write_bytes(make(traced).serialize())


def read(path: str | os.PathLike) -> Callable[[np.ndarray], np.ndarray]:
  """Reads a file.

  Args:
    path: of the file.

  Returns:
    A function [n, h, w, c] -> [n, h, w, 3].

  Raises:
    UserError: the file cannot be read, or is of another kind.
  """
  try:
    exported = export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
  except OSError as error:
    raise errors.UserError(f'Cannot read {path}: {error.strerror}.') from None
  # Errors of deserialization have no common class.
  except Exception as error:
    raise errors.UserError(
        f'{path} is no file of jax.export ({type(error).__name__}).') from None
  call = jax.jit(exported.call)
  return lambda blur: np.asarray(jax.block_until_ready(call(blur)))
