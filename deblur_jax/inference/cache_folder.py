"""The folder of compiled programs: its place, content and size.

`program_cache` fills it. If the folder cannot be used, programs are compiled
each time.
"""

import contextlib
import os
import pathlib
import re
import sys
from typing import NamedTuple

from deblur_jax import errors

VARIABLE = 'DEBLUR_CACHE'
OFF = ('', '0', 'off')
LIMIT = 2**30            # bytes; the least recently used programs are deleted
# Programs, and incomplete files of killed processes.
FILES = re.compile(r'([0-9a-f]{64}|\.[0-9a-f]{16})\.program')


class Facts(NamedTuple):
  """The state of the cache.

  Attributes:
    folder: '' where the environment turns the cache off.
    programs: number of files.
    bytes: their total size.
    limit: the size in bytes above which files are deleted.
    problem: why programs are not kept; '' if they are.
  """

  folder: str
  programs: int
  bytes: int
  limit: int
  problem: str

  def line(self) -> str:
    """Describes the cache in one line."""
    content = (f'{self.folder}: {self.programs} programs, '
               f'{self.bytes / 2**20:.1f} of {self.limit / 2**20:.0f} MiB')
    if not self.folder:
      return self.problem
    return f'{content}; not used: {self.problem}' if self.problem else content


def facts() -> Facts:
  """Reads the state of the cache; makes the folder if it is missing."""
  folder = locate()
  if folder is None:
    return Facts('', 0, 0, LIMIT, f'{VARIABLE} turns it off')
  found = _files(folder)
  return Facts(str(folder), len(found), sum(size for _, size, _ in found),
               LIMIT, problem(folder))


def clear() -> int:
  """Deletes all programs.

  Returns:
    The number of deleted programs.

  Raises:
    UserError: the cache is off, or a file cannot be deleted.
  """
  folder = locate()
  if folder is None:
    raise errors.UserError(f'{VARIABLE} turns the cache off: nothing to clear.')
  found = _files(folder)
  for _, _, path in found:
    try:
      path.unlink(missing_ok=True)
    except OSError as error:
      raise errors.UserError(
          f'Cannot delete {path}: {error.strerror}.') from error
  return len(found)


def locate() -> pathlib.Path | None:
  """Returns the folder, which may not exist yet; None if the cache is off."""
  given = os.environ.get(VARIABLE)
  if given is not None:
    off = given.strip().lower() in OFF
    return None if off else pathlib.Path(given).absolute()
  home = pathlib.Path(os.path.expanduser('~'))
  if sys.platform == 'win32':
    base = os.environ.get('LOCALAPPDATA') or home / 'AppData' / 'Local'
  elif sys.platform == 'darwin':
    base = home / 'Library' / 'Caches'
  else:
    base = os.environ.get('XDG_CACHE_HOME') or home / '.cache'
  return pathlib.Path(base, 'deblur_jax')


def problem(folder: pathlib.Path) -> str:
  """Checks whether programs can be kept in a folder, and makes it if missing.

  A program is machine code. Programs are read only from a folder in which no
  other user can write, so that nobody can replace them by other code. The
  checksum in each file detects damage.

  Args:
    folder: the folder.

  Returns:
    The reason why programs cannot be kept there; '' if they can.
  """
  try:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
  except OSError as error:
    return f'cannot be created: {error.strerror}'
  if hasattr(os, 'geteuid') and (
      found.st_uid != os.geteuid() or found.st_mode & 0o022):
    return 'others can write there: chmod 700, or choose another'
  if not os.access(folder, os.W_OK | os.X_OK):
    return 'cannot be written'
  return ''


def _files(folder) -> list[tuple[float, int, pathlib.Path]]:
  """(last use, bytes, path) of each program, the least recently used first."""
  found = []
  with contextlib.suppress(OSError):
    for path in folder.iterdir():
      if not (FILES.fullmatch(path.name) and path.is_file()):
        continue
      with contextlib.suppress(OSError):    # another process deleted it
        about = path.stat()
        found.append((about.st_mtime, about.st_size, path))
  return sorted(found)


def evict(folder: pathlib.Path) -> None:
  """Deletes the least recently used programs until the rest is within LIMIT."""
  found = _files(folder)
  total = sum(size for _, size, _ in found)
  for _, size, path in found:
    if total <= LIMIT:
      break
    with contextlib.suppress(OSError):    # another process may have it open
      path.unlink()
    total -= size
