"""Sequences of frames, from folders and videos, to be averaged to exposures.

Frames are used as they were recorded. Frames between them, as REDS interpolated
them, must be made by another program first.
"""

import contextlib
import functools
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.data import images


class Sequence(NamedTuple):
  """Frames in the order of time, all of one size.

  Attributes:
    name: of the folder to write: 'GOPR0372_07_00'.
    files: one for each frame, or the video file.
    length: number of frames.
    is_video: whether one file contains all frames.
  """

  name: str
  files: tuple[str, ...]
  length: int
  is_video: bool

  def file(self, number: int) -> str:
    """The name of the file that contains a frame."""
    return os.path.basename(self.files[0 if self.is_video else number])


def find(root: str | os.PathLike) -> list[Sequence]:
  """Finds the sequences of a folder, one in each sub-folder, or of a video.

  Numbers in names are compared as numbers: 2.png comes before 10.png.

  Args:
    root: a folder or a video file.

  Raises:
    UserError: no pictures, frames of different sizes, two folders whose names
      are equal with '/' as '-' (a/b and a-b), a video that is damaged or
      incomplete, or PyAV is not installed.
  """
  root = pathlib.Path(root)
  if root.is_file():
    return [_look_through(root)]
  folders = {}
  for key, path in sorted(images.find(root).items(), key=_natural):
    folders.setdefault(group(root, key), []).append(path)
  if not folders:
    raise errors.UserError(f'{root}: no pictures there.')
  return [_folder(name, paths) for name, paths in folders.items()]


def group(root: str | os.PathLike, key: str) -> str:
  """The name of a picture's sequence: its sub-folder, or else the root.

  Args:
    root: the folder.
    key: the key of the picture in `images.find`.
  """
  folder, _, _ = key.rpartition('/')
  return folder.replace('/', '-') or pathlib.Path(root).resolve().name


def shots(
    sequence: Sequence, wanted: range,
) -> Iterator[Callable[[], np.ndarray]]:
  """Yields functions that return the frames of a range as uint8 [h, w, 3].

  A video is decoded while the functions are drawn, and its frames are converted
  to RGB when they are called, so that threads share the work. Frames of a video
  keep their stored orientation.

  Args:
    sequence: the sequence.
    wanted: numbers of frames.

  Raises:
    UserError: the video ends before the range.
  """
  if not sequence.is_video:
    for path in sequence.files[wanted.start:wanted.stop]:
      yield functools.partial(images.read, path)
    return
  drawn = 0
  with _opened(sequence.files[0]) as (container, stream):
    decoded = container.decode(stream)
    for frame in itertools.islice(decoded, wanted.start, wanted.stop):
      drawn += 1
      yield functools.partial(frame.to_ndarray, format='rgb24')
  if drawn < len(wanted):
    raise _breaks_off(
        sequence.files[0], f'no frame {wanted.start + drawn} in it any more')


def _folder(name, paths):
  sizes = [images.size(path) for path in paths]
  for path, size in zip(paths, sizes, strict=True):
    if path.parent != paths[0].parent:
      raise errors.UserError(
          f'The sequences {paths[0].parent} and {path.parent} would have one '
          f'name, {name}; rename one of them.')
    if size != sizes[0]:
      raise errors.UserError(
          f'The frames of a sequence differ in size: {paths[0]} is '
          f'{_in_words(sizes[0])}, {path} is {_in_words(size)}.')
  return Sequence(name, tuple(map(os.fspath, paths)), len(paths), False)


def _look_through(path):
  """Decodes a whole video, so that faults appear before a pair is written."""
  packets, sizes = 0, []
  with _opened(path) as (container, stream):
    for packet in container.demux(stream):
      packets += packet.size > 0
      sizes += [(frame.height, frame.width) for frame in packet.decode()]
    declared = _declared(stream)
  if packets < declared:
    raise _breaks_off(path, f'{packets} of its {declared} frames are there')
  for number, size in enumerate(sizes):
    if size != sizes[0]:
      raise errors.UserError(
          f'The frames of {path} differ in size: frame 0 is '
          f'{_in_words(sizes[0])}, frame {number} is {_in_words(size)}.')
  return Sequence(path.stem, (os.fspath(path),), len(sizes), True)


def _declared(stream) -> int:
  """The minimal number of frames by the header; 0 where it is unknown."""
  if stream.frames:
    return stream.frames
  # One frame in twenty may be missing: rates are rounded.
  return int(0.95 * stated_end(stream) * float(stream.average_rate or 0))


def stated_end(stream) -> float:
  """The end of a stream in seconds by Matroska's metadata; 0 elsewhere."""
  times = re.fullmatch(
      r'(\d+):(\d+):([\d.]+)', stream.metadata.get('DURATION', ''))
  if not times:
    return 0.0
  hours, minutes, seconds = map(float, times.groups())
  return 3600 * hours + 60 * minutes + seconds


@contextlib.contextmanager
def _opened(path):
  """Yields (container, first video stream); errors become a UserError."""
  av = import_av()
  try:
    with av.open(os.fspath(path)) as container:
      if not container.streams.video:
        raise errors.UserError(f'{path} holds no video.')
      stream = container.streams.video[0]
      stream.thread_type = 'AUTO'
      # Otherwise damaged frames are silently filled with guesses.
      stream.codec_context.options = {'err_detect': 'explode'}
      yield container, stream
  except av.FFmpegError as error:
    raise _breaks_off(path, error.strerror or str(error)) from None


def import_av():
  """Imports the module of PyAV.

  Raises:
    UserError: it is not installed.
  """
  with errors.needs_extra(
      'PyAV', extra='video', what='A video',
      otherwise='give a folder of its frames'):
    import av
  return av


def _breaks_off(path, reason):
  return errors.UserError(
      f'The video {path} is damaged or breaks off: {reason}. Copy it again, or '
      'cut off what is broken.')


def _natural(item):
  """A sort key that puts 'a/2' before 'a/10', and ties in order of text."""
  key, _ = item
  parts = re.split(r'(\d+)', key)
  return [part if i % 2 == 0 else int(part)
          for i, part in enumerate(parts)], key


def _in_words(size):
  height, width = size
  return f'{width}x{height}'
