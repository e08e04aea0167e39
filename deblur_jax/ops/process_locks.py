"""Locks between processes, on every system."""

import contextlib
import os
from collections.abc import Iterator

import filelock

from deblur_jax import errors


@contextlib.contextmanager
def held(path: str | os.PathLike, *, busy: str) -> Iterator[None]:
  """Holds the lock of a file; it ends with the block, or with the process.

  Where the file system has no locks the block runs unprotected.

  Args:
    path: of the lock's file, which is made.
    busy: the message if another holds the lock.

  Raises:
    UserError: another process, or another part of this one, holds the lock.
  """
  # Not the soft lock of filelock, which a killed process leaves behind.
  lock = filelock.FileLock(path, blocking=False, fallback_to_soft=False)
  try:
    lock.acquire()
  except filelock.Timeout:
    raise errors.UserError(busy) from None
  except PermissionError as error:
    raise errors.UserError(f'Cannot write {path}: {error.strerror}.') from None
  except (NotImplementedError, OSError):
    pass     # flock is missing, or fails as on NFS without a lock daemon
  try:
    yield
  finally:
    lock.release()


def is_free(path: str | os.PathLike) -> bool:
  """Whether nobody holds the lock of a file.

  Args:
    path: of the lock's file, which exists.

  Returns:
    False also where the file system has no locks, or the file is another
    user's.
  """
  lock = filelock.FileLock(path, blocking=False, fallback_to_soft=False)
  try:
    lock.acquire()
  except (filelock.Timeout, NotImplementedError, OSError):
    return False
  lock.release()
  return True
