"""The folder in which the package keeps what it may lose."""

import os
import pathlib
import sys
from collections.abc import Mapping

NAME = 'deblur_jax'


def folder(
    *, environ: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> pathlib.Path:
  """The user's cache folder of this package; it need not exist.

  Args:
    environ: DEBLUR_CACHE in it names the folder itself.
    platform: as `sys.platform` says.

  Returns:
    A path, which nothing is written to here.
  """
  if given := environ.get('DEBLUR_CACHE'):
    return pathlib.Path(given)
  home = pathlib.Path(os.path.expanduser('~'))
  if platform == 'darwin':
    return home / 'Library' / 'Caches' / NAME
  if platform == 'win32':
    return pathlib.Path(
        environ.get('LOCALAPPDATA') or home / 'AppData' / 'Local', NAME)
  return pathlib.Path(environ.get('XDG_CACHE_HOME') or home / '.cache', NAME)
