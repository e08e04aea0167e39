"""StableHLO: the file that `jax.export` writes, for every size of picture.

Any program with jax reads it by `jax.export.deserialize`, without this package,
and calls it on whichever of `PLATFORMS` it has.
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
  """The function as StableHLO, its weights inside."""
  return export.export(jax.jit(traced.fn), platforms=platforms)(
      traced.blur)


def write(path: str | os.PathLike, traced: traced_lib.Traced) -> None:
  """Writes the function to a file, its weights inside."""
  pathlib.Path(path).write_bytes(make(traced).serialize())


def read(path: str | os.PathLike) -> Callable[[np.ndarray], np.ndarray]:
  """The function of a file.

  Raises:
    UserError: it is none of these.
  """
  try:
    exported = export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
  except OSError as error:
    raise errors.UserError(f'Cannot read {path}: {error.strerror}.') from None
  # What is wrong with the bytes has errors of many kinds.
  except Exception as error:
    raise errors.UserError(
        f'{path} is no file of jax.export ({type(error).__name__}).') from None
  call = jax.jit(exported.call)
  return lambda blur: np.asarray(jax.block_until_ready(call(blur)))
