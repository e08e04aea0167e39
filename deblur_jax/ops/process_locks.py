"""Locks between processes, on every system."""

import contextlib
import os
from collections.abc import Iterator

import filelock

from deblur_jax import errors


@contextlib.contextmanager
def held(path: str | os.PathLike, *, busy: str) -> Iterator[None]:
  """Holds the lock of a file; it ends with the block, or with the process.

  A file system without locks gives none: there the block runs unprotected.

  Args:
    path: of the lock's file, which is made.
    busy: the message if another holds the lock.

  Raises:
    UserError: another process, or another part of this one, holds the lock.
  """
  lock = filelock.FileLock(path, blocking=False)
  try:
    lock.acquire()
  except filelock.Timeout:
    raise errors.UserError(busy) from None
  except NotImplementedError:
    pass     # flock is missing
  try:
    yield
  finally:
    lock.release()
