"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator

from deblur_jax import errors
from deblur_jax.ops import file_names


@contextlib.contextmanager
def replacing(
    target: str | os.PathLike, *, part: str | os.PathLike | None = None,
    durable: bool = False, advice: str = '') -> Iterator[pathlib.Path]:
  """Yields a path to write; it replaces `target` where the block ends well.

  A process that is killed leaves the old target or the new one, whole. So does
  an error in the block, after which the part is deleted.

  Args:
    target: the file, or the folder, to write. The folders above it are made. A
      link is followed: the file that it points to is replaced, with its mode.
    part: the path to write, in the same file system. None is a new hidden name
      beside `target` with the same suffix, so that several processes may write
      one target. A fixed name is for a single writer: a killed process leaves
      no more than that one file.
    durable: waits for the disk before the target is replaced, so that a power
      failure leaves the old or the new content, too. For files only.
    advice: what to do when the target cannot be written; it ends the message.

  Raises:
    UserError: the target cannot be written.
  """
  if reason := file_names.problem(pathlib.Path(target)):
    raise errors.UserError(f'{reason}{advice}.')
  target = pathlib.Path(os.path.realpath(target))
  errors.make_folder(target.parent)
  # Not tempfile, whose files only their owner may read.
  part = pathlib.Path(part) if part else target.with_name(
      f'.{secrets.token_hex(8)}{target.suffix}')
  try:
    yield part
    if target.is_file():
      shutil.copymode(target, part)
    if durable:
      with open(part, 'rb+') as file:
        os.fsync(file.fileno())
    os.replace(part, target)
  except OSError as error:
    name = error.filename and os.fspath(error.filename)
    if name and not str(name).startswith(os.fspath(part)):
      raise  # of another file that the block read
    raise errors.UserError(
        f'Cannot write {target}: {error.strerror or error}{advice}.'
    ) from error
  finally:
    delete(part)


def write(target: str | os.PathLike, content: bytes | str, **options) -> None:
  """Writes a whole file, as UTF-8 where the content is a text.

  Args:
    target: the file; see `replacing`.
    content: all of the file.
    **options: of `replacing`.

  Raises:
    UserError: the target cannot be written.
  """
  data = content.encode() if isinstance(content, str) else content
  with replacing(target, **options) as part:
    part.write_bytes(data)


def check(target: str | os.PathLike) -> None:
  """Checks that a file can be written, before hours of work for its content.

  Nothing is made.

  Args:
    target: the file; see `replacing`.

  Raises:
    UserError: it cannot.
  """
  if reason := file_names.problem(pathlib.Path(target)):
    raise errors.UserError(f'{reason}.')
  if os.path.isdir(target):
    raise errors.UserError(f'Cannot write {target}: it is a folder.')
  check_folder(pathlib.Path(os.path.realpath(target)).parent)


def check_folder(folder: pathlib.Path) -> None:
  """Raises a UserError unless a folder can be made, or written if it exists."""
  there = next(path for path in (folder, *folder.absolute().parents)
               if path.exists())
  if not there.is_dir() or not os.access(there, os.W_OK):
    raise errors.UserError(
        f'Cannot write {folder}: {there} is not a folder that may be written.')


def delete(path: pathlib.Path) -> None:
  """Deletes a file, or a folder with all in it, as far as it can be done."""
  if path.is_dir():
    shutil.rmtree(path, ignore_errors=True)
  else:
    with contextlib.suppress(OSError):
      path.unlink(missing_ok=True)
