"""The user's cache folder: its place, content and size.

`program_cache` keeps compiled programs there, `data.builtin` its rendered
pictures. If the folder cannot be used, they are made each time.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from deblur_jax import errors
from deblur_jax.ops import atomic_files

VARIABLE = 'DEBLUR_CACHE'
OFF = ('', '0', 'off')
LIMIT = 2**30            # bytes; the least recently used files are deleted
PROGRAM, PICTURES = '.program', '.pictures'    # suffixes
# The cache's files, and incomplete files of killed processes.
FILES = re.compile(r'([0-9a-f]{64}|\.[0-9a-f]{16})\.(program|pictures)')
_PACKAGE = pathlib.Path(__file__).parents[1]


class Facts(NamedTuple):
  """The state of the cache.

  Attributes:
    folder: '' where the environment turns the cache off.
    programs: number of compiled programs.
    bytes: total size of all files.
    limit: the size in bytes above which files are deleted.
    problem: why nothing is kept; '' if it is.
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
  return Facts(
      str(folder), sum(path.suffix == PROGRAM for _, _, path in found),
      sum(size for _, size, _ in found), LIMIT, problem(folder))


def clear() -> int:
  """Deletes all files of the cache.

  Returns:
    The number of deleted files.

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
  """Checks whether files can be kept in a folder, and makes it if missing.

  A program is machine code. Programs are read only from a folder in which no
  other user can write, so that nobody can replace them by other code. The
  checksum in each file detects damage.

  Args:
    folder: the folder.

  Returns:
    The reason why files cannot be kept there; '' if they can.
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


def place(parts: Sequence[Any], suffix: str) -> pathlib.Path | None:
  """Returns the path of an entry; makes the folder if it is missing.

  Args:
    parts: everything on which the content depends, beside this package.
    suffix: PROGRAM or PICTURES.

  Returns:
    The path, whose name is the hash of the parts and of the package's files;
    None if nothing can be kept.
  """
  folder = locate()
  if folder is None or problem(folder):
    return None
  name = hashlib.sha256(repr((sources(), *parts)).encode()).hexdigest()
  return folder / f'{name}{suffix}'


@functools.cache
def sources() -> str:
  """The hash of this package's files: an edit makes old entries invalid."""
  digest = hashlib.sha256()
  for path in sorted(_PACKAGE.rglob('*.py')):
    content = path.read_bytes()
    digest.update(f'{path.relative_to(_PACKAGE)} {len(content)}\n'.encode())
    digest.update(content)
  return digest.hexdigest()


def read(path: pathlib.Path) -> bytes | None:
  """Reads a file that `write` wrote, and marks it as used.

  Args:
    path: of the file.

  Returns:
    Its content; None if there is none. A damaged file is deleted.
  """
  try:
    checksum, content = path.read_bytes().split(b'\n', 1)
    if checksum == _checksum(path, content):
      os.utime(path)
      return content
  except FileNotFoundError:
    return None
  except (OSError, ValueError):
    pass
  with contextlib.suppress(OSError):
    path.unlink()
  return None


def write(path: pathlib.Path, content: bytes) -> None:
  """Writes a file with its checksum, and deletes old ones beyond LIMIT.

  Args:
    path: of the file; its name is a hash with one of the suffixes.
    content: of the file.

  Raises:
    UserError: it cannot be written.
  """
  atomic_files.write(path, _checksum(path, content) + b'\n' + content)
  evict(path.parent)


def _checksum(path, content) -> bytes:
  return hashlib.sha256(path.name.encode() + content).hexdigest().encode()


def _files(folder) -> list[tuple[float, int, pathlib.Path]]:
  """(last use, bytes, path) of each file, the least recently used first."""
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
  """Deletes the least recently used files until the rest is within LIMIT."""
  found = _files(folder)
  total = sum(size for _, size, _ in found)
  for _, size, path in found:
    if total <= LIMIT:
      break
    with contextlib.suppress(OSError):    # another process may have it open
      path.unlink()
    total -= size
