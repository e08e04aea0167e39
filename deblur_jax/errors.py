"""A user's mistakes as one line; needs nothing, so that help stays quick."""

import ast
import contextlib
import difflib
import errno
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_SPACE_WORDS = ('No space left', 'File too large', 'quota exceeded')


class UserError(ValueError):
  """A mistake of the user: one line that says what, where and how to mend it.

  The programs in `experiments/` print it without a traceback and exit with 2.
  """


def is_disk_full(error: BaseException | None) -> bool:
  """Whether a file could not be written for want of room, or of quota."""
  return isinstance(error, Exception) and (
      getattr(error, 'errno', None) in _NO_SPACE
      or any(sign in str(error) for sign in _NO_SPACE_WORDS))


@contextlib.contextmanager
def needs_extra(
    package: str, *, extra: str, what: str = 'This', otherwise: str = ''
) -> Iterator[None]:
  """Explains the failed import of a package that the base install lacks.

  Args:
    package: its usual name: 'TensorFlow'.
    extra: the extra of pyproject.toml that installs it: 'train'.
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
  """The folder, made with those above it; a UserError where it cannot be."""
  path = pathlib.Path(path)
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'Cannot make {path}: {error.strerror}.') from error
  return path


def suggest(name: str, known) -> str:
  """' Did you mean ...?', or '' where nothing known is near."""
  near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
  return f' Did you mean {near[0]!r}?' if near else ''


def look_up(table: Mapping[str, Any], name: str, *, what: str = 'name') -> Any:
  """table[name], or a UserError that lists what there is."""
  if name not in table:
    raise UserError(
        f'Unknown {what} {name!r}; known: {", ".join(sorted(map(str, table)))}.'
        f'{suggest(name, table)}')
  return table[name]


def key_and_value(word: str) -> tuple[str, Any]:
  """('key', 3) of --option=key=3; what is no Python value is a string."""
  key, separator, value = word.partition('=')
  if not separator:
    raise UserError(f'--option={word}: write --option=key=value.')
  try:
    return key, ast.literal_eval(value)
  except (SyntaxError, ValueError):
    return key, {'true': True, 'false': False}.get(value.lower(), value)


def is_out_of_memory(error: BaseException) -> bool:
  """Whether a device, or this process, had no room for an array."""
  return isinstance(error, MemoryError) or any(
      words in str(error) for words in ('RESOURCE_EXHAUSTED', 'Out of memory'))
