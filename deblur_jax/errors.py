"""Errors for the user; imports only the standard library, so it loads fast."""

import ast
import contextlib
import difflib
import errno
import os
import pathlib
import re
import reprlib
import stat
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_SPACE_WORDS = ('No space left', 'File too large', 'quota exceeded')

_SHOWN = reprlib.Repr()    # Python 3.11 takes no arguments here
_SHOWN.maxlevel, _SHOWN.maxlong = 4, 40
_SHOWN.maxlist = _SHOWN.maxtuple = _SHOWN.maxdict = 8
_SHOWN.maxstring = _SHOWN.maxother = 80


class UserError(ValueError):
  """A mistake of the user: one line that says what, where and how to fix it.

  All programs print it without a traceback and exit with 2.
  """


class NoFolder(UserError):
  """A folder does not exist.

  Attributes:
    folder: its path.
  """

  def __init__(self, folder: pathlib.Path):
    super().__init__(f'No folder {folder}.')
    self.folder = folder


def is_disk_full(error: BaseException | None) -> bool:
  """Returns whether an error is a full disk, an exceeded quota or file size."""
  return isinstance(error, Exception) and (
      getattr(error, 'errno', None) in _NO_SPACE
      or any(sign in str(error) for sign in _NO_SPACE_WORDS))


def describe(error: BaseException, *, name: str) -> str:
  """Describes in one line why a file failed.

  Args:
    error: any error.
    name: of the file.

  Returns:
    A line that has the name.
  """
  if isinstance(error, UserError):
    return str(named(error, name))
  if is_out_of_memory(error):
    return f'{name} is too large for the memory.'
  reason = getattr(error, 'strerror', None) or ' '.join(str(error).split())
  return f'{name}: {reason or type(error).__name__} ({type(error).__name__}).'


def named(error: UserError, name: str) -> UserError:
  """Adds the name of a file to a message that lacks it.

  Args:
    error: the message.
    name: of the file.
  """
  has_it = re.search(rf'(?<!\w){re.escape(name)}(?!\w)', str(error))
  return error if has_it else UserError(f'{name}: {error}')


def first_line(error: BaseException) -> str:
  """Returns the first line of an error's message, or else its name."""
  return (str(error).strip().splitlines() or [type(error).__name__])[0]


def quieten_threads() -> None:
  """Hides the tracebacks of orbax's threads: full disks, damaged checkpoints.

  The call that waits for them reports the error. For programs: it changes the
  hooks of the process.
  """
  def failed(args):
    if not is_disk_full(args.exc_value):
      threading.__excepthook__(args)

  def unraisable(args):
    # From files that were still being written or read when a call failed.
    if 'Event loop is closed' not in str(args.exc_value):
      sys.__unraisablehook__(args)

  threading.excepthook, sys.unraisablehook = failed, unraisable


@contextlib.contextmanager
def needs_extra(
    package: str, *, extra: str, what: str = 'This', otherwise: str = ''
) -> Iterator[None]:
  """Explains the failed import of a package that the base install lacks.

  Args:
    package: its usual name, such as 'TensorFlow'.
    extra: the extra of pyproject.toml that installs it, such as 'train'.
    what: what needs it, for the start of the message.
    otherwise: what to do without the package, if there is a way.

  Raises:
    UserError: an import in the block failed; the message has the command that
      installs the package.
  """
  try:
    yield
  except ImportError as error:
    way = f'; or {otherwise}' if otherwise else ''
    raise UserError(
        f"{what} needs {package}: pip install 'deblur-jax[{extra}]'{way}."
    ) from error


def make_folder(path: str | os.PathLike) -> pathlib.Path:
  """Makes a folder and its parents.

  Args:
    path: of the folder, which may exist.

  Returns:
    The path.

  Raises:
    UserError: the folder cannot be made.
  """
  path = pathlib.Path(path)
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'Cannot make {path}: {error.strerror}.') from error
  return path


def check_file(path: str | os.PathLike) -> None:
  """Refuses what is no file before it is opened: a pipe could wait for ever.

  Args:
    path: of a file; one that is missing is left to whoever opens it.

  Raises:
    UserError: a pipe, a device or a socket.
  """
  try:
    mode = os.stat(path).st_mode
  except (OSError, ValueError):
    return
  if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
    raise UserError(f'{os.fspath(path)} is a pipe or a device; give a file.')


def shown(value: Any) -> str:
  """Returns a value as Python writes it, at most 80 characters of it."""
  return _SHOWN.repr(value)


def suggest(name: str, known) -> str:
  """Suggests a known name for an unknown one.

  Args:
    name: the unknown name.
    known: the known names.

  Returns:
    ' Did you mean ...?', or '' if no known name is similar.
  """
  near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
  return f' Did you mean {near[0]!r}?' if near else ''


def look_up(table: Mapping[str, Any], name: str, *, what: str = 'name') -> Any:
  """Looks up a name in a table.

  Args:
    table: the rows by their names.
    name: of a row.
    what: the kind of row, for the message.

  Returns:
    The row.

  Raises:
    UserError: the name is unknown; the message lists the known ones.
  """
  try:
    return table[name]
  except (KeyError, TypeError):    # a list from a config is no key
    raise UserError(
        f'Unknown {what} {shown(name)}; known: '
        f'{", ".join(sorted(map(str, table)))}.'
        f'{suggest(name, table)}') from None


def key_and_value(word: str) -> tuple[str, Any]:
  """Parses the value of --option=key=value.

  Args:
    word: 'key=value'.

  Returns:
    (key, value); a value that is no Python literal is a string.

  Raises:
    UserError: there is no '='.
  """
  key, separator, value = word.partition('=')
  if not separator:
    raise UserError(f'--option={word}: write --option=key=value.')
  try:
    return key, ast.literal_eval(value)
  except (SyntaxError, ValueError):
    return key, {'true': True, 'false': False}.get(value.lower(), value)


def is_out_of_memory(error: BaseException) -> bool:
  """Returns whether the memory of a device or of this process was too small."""
  return isinstance(error, MemoryError) or any(
      words in str(error) for words in ('RESOURCE_EXHAUSTED', 'Out of memory'))
