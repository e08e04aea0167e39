"""NumPy's files, of which nothing but arrays of numbers is read."""

import os
import pathlib
import zipfile
import zlib

import numpy as np


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of an .npz by name, or that of an .npy by the file's stem.

  Raises:
    FileNotFoundError: no such file.
    ValueError: anything else that is wrong with it, in one line.
  """
  path = pathlib.Path(path)
  try:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
      return {path.stem: found}
    with found:
      return {name: found[name] for name in found}
  except FileNotFoundError:
    raise
  except (OSError, ValueError, TypeError, EOFError, LookupError,
          zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(' '.join(str(error).split())) from error
