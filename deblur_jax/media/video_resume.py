"""Unfinished work on a video: encoded parts in a hidden folder beside it."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from deblur_jax import errors
from deblur_jax.data import frames
from deblur_jax.media import video_writing
from deblur_jax.ops import atomic_files, process_locks


@contextlib.contextmanager
def workplace(
    target: pathlib.Path, task: dict[str, Any], *, resume: bool,
) -> Iterator[pathlib.Path]:
  """Yields the hidden folder of parts, locked for this process.

  The folder is deleted at the end. Where the work is interrupted, it stays if
  it has a part.

  Args:
    target: the video to write.
    task: everything that the parts depend on; parts of another task are
      deleted.
    resume: whether parts of this task are kept.

  Raises:
    UserError: the folder cannot be written, or another process uses it.
  """
  errors.make_folder(target.parent)
  folder = errors.make_folder(target.with_name(f'.{target.name}.unfinished'))
  with contextlib.ExitStack() as stack:
    with writing(target):
      stack.enter_context(process_locks.held(
          folder / 'lock', busy=f'Another process is writing {target}.'))
    try:
      with writing(target):
        _prepare(folder, json.dumps(task, indent=2), resume)
      yield folder
    except BaseException:
      if not finished(folder):
        shutil.rmtree(folder, ignore_errors=True)
      raise
    shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder, task, resume):
  record = folder / 'task.json'
  begun = record.read_text(encoding='utf-8') if record.exists() else None
  if not resume or begun != task:
    for path in folder.glob('*.part'):
      path.unlink()
    record.write_text(task, encoding='utf-8')


def save(folder: pathlib.Path, number: int, packets: list) -> None:
  """Writes a part: a line of JSON with times and lengths, then the bytes.

  Args:
    folder: the folder of parts.
    number: of the part, from 0.
    packets: `video_writing.Packet`s, in order.

  Raises:
    UserError: the part cannot be written.
  """
  rows = [[p.pts, p.duration, p.is_key, len(p.data)] for p in packets]
  content = [json.dumps(rows).encode() + b'\n', *(p.data for p in packets)]
  atomic_files.write(
      _part(folder, number), b''.join(content), part=folder / 'part.tmp')


def saved(folder: pathlib.Path) -> Iterator[video_writing.Packet]:
  """Yields the packets of all parts, in order."""
  for number in range(len(finished(folder))):
    with open(_part(folder, number), 'rb') as file:
      for pts, duration, is_key, length in json.loads(file.readline()):
        yield video_writing.Packet(pts, duration, is_key, file.read(length))


def finished(folder: pathlib.Path) -> list[int]:
  """The number of frames in each part, up to the first incomplete one."""
  counts = []
  for number in itertools.count():
    try:
      with open(_part(folder, number), 'rb') as file:
        line = file.readline()
        size = os.fstat(file.fileno()).st_size
      lengths = [row[-1] for row in json.loads(line)]
    except (OSError, ValueError):
      return counts
    if len(line) + sum(lengths) != size:
      return counts
    counts.append(len(lengths))


@contextlib.contextmanager
def writing(target: pathlib.Path) -> Iterator[None]:
  """Reports errors of the disk in the block as a UserError."""
  try:
    yield
  except (frames.import_av().FFmpegError, OSError) as error:
    raise errors.UserError(
        f'Cannot write {target}: {error.strerror or error}.') from error


def _part(folder, number):
  return folder / f'{number:06d}.part'
