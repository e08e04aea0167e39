"""Reads a video: all frames that can be decoded, upright, with their times."""

import collections
import contextlib
import fractions
import itertools
import math
import pathlib
from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.data import frames
from deblur_jax.media import video_writing

MAX_PIXELS = 200_000_000
# Without play lists, which would make FFmpeg read other files.
KNOWN = ('mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,'
         'mxf,dv,ivf,nut,yuv4mpegpipe')


class Cut(NamedTuple):
  """A span of a file's time: first <= time < last, in seconds.

  Attributes:
    first: seconds.
    last: seconds.
    shift: seconds to subtract from the times.
  """

  first: float = -math.inf
  last: float = math.inf
  shift: fractions.Fraction = fractions.Fraction(0)

  @property
  def is_whole(self) -> bool:
    """Whether the span is the whole file."""
    return self.first == -math.inf and self.last == math.inf

  def holds(self, packet) -> bool:
    """Whether a packet has a time in the span."""
    time = packet.pts if packet.dts is None else packet.dts
    return time is not None and (
        self.first <= float(time * packet.time_base) < self.last)


class Shot:
  """A frame with its times; its picture is converted on first use."""

  def __init__(self, frame, pts: int, duration: int):
    self.frame, self.pts, self.duration = frame, pts, duration
    self._picture = None

  def picture(self) -> np.ndarray:
    """float32 [h, w, 3] in [0, 1], upright."""
    if self._picture is None:
      self._picture = upright(
          video_writing.to_picture(self.frame),
          video_writing.display_matrix(self.frame))
    return self._picture


@contextlib.contextmanager
def opened(
    path: pathlib.Path, *, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[Any, Any]]:
  """Yields (container, its first video stream that is no cover picture).

  Args:
    path: the file.
    max_pixels: larger frames are refused.

  Raises:
    UserError: the file cannot be read, has no video, or has too large frames.
  """
  av = frames.import_av()
  try:
    container = av.open(str(path), container_options={
        'format_whitelist': KNOWN, 'protocol_whitelist': 'file'})
  except (av.FFmpegError, OSError) as error:
    raise errors.UserError(
        f'{path} is no video that can be read: {error.strerror or error}.'
        ) from None
  with container:
    streams = [stream for stream in container.streams.video
               if not video_writing.is_cover(stream) and stream.codec_context]
    if not streams:
      raise errors.UserError(f'{path} holds no video that can be decoded.')
    context = streams[0].codec_context
    if context.width * context.height > max_pixels:
      raise errors.UserError(
          f'The frames of {path} have {context.width}x{context.height} pixels; '
          f'more than {max_pixels} are refused.')
    streams[0].thread_type = 'AUTO'
    yield container, streams[0]


def cut(
    container, start: float | None, end: float | None,
) -> Cut:
  """Converts a span from a player's seconds to the file's times.

  Args:
    container: the opened file.
    start: seconds; None is the start of the file.
    end: seconds; None is the end of the file.

  Raises:
    UserError: an empty span.
  """
  if start is None and end is None:
    return Cut()
  start, end = start or 0.0, math.inf if end is None else end
  if not 0 <= start < end:
    raise errors.UserError(
        f'From {start} s to {end} s there is nothing of a video.')
  origin = fractions.Fraction(container.start_time or 0, 1_000_000)
  first = origin + fractions.Fraction(start)
  return Cut(float(first), float(origin) + end, first)


def shots(container, stream, part: Cut, notes: list[str]) -> Iterator[Shot]:
  """Yields the frames of a span with strictly increasing times.

  Args:
    container: as of `opened`.
    stream: as of `opened`.
    part: the span.
    notes: gets a line for each fault of the file.

  Raises:
    UserError: the size of the frames changes within the file.
  """
  time_base = video_writing.as_fraction(stream.time_base)
  usual = max(1, round(1 / (video_writing.rate(stream) * time_base)))
  shift = round(part.shift / time_base)
  last, size, moved = None, None, 0
  for frame in _decoded(container, stream, notes):
    if last is None:
      size = frame.width, frame.height
    elif (frame.width, frame.height) != size:
      raise errors.UserError(
          f'{container.name} turns from {size[0]}x{size[1]} to {frame.width}x'
          f'{frame.height} at {float(last * time_base):.1f} s; cut it in two '
          'there first.')
    pts, late = _next_time(frame, last, usual)
    last, moved = pts, moved + late
    if pts * time_base >= part.last:
      break
    if pts * time_base >= part.first:
      yield Shot(frame, pts - shift, frame.duration or usual)
  if moved:
    notes.append(
        f'{moved} frames had no time behind the one before; they follow it')


def packets(
    container, streams: Sequence, notes: list[str],
) -> Iterator[Any]:
  """Yields the readable packets of streams, in the order of the file.

  Args:
    container: of `opened`.
    streams: the streams.
    notes: gets a line where the file breaks off.
  """
  av = frames.import_av()
  demuxed = container.demux(streams)
  while True:
    try:
      packet = next(demuxed, None)
    except av.FFmpegError as error:
      notes.append(f'the file breaks off: {error.strerror}')
      return
    if packet is None:
      return
    if packet.size:
      yield packet


def covers(path: pathlib.Path, indices: Container[int]) -> dict[int, bytes]:
  """Reads cover pictures.

  Args:
    path: the file.
    indices: of the streams that hold them.

  Returns:
    The bytes of each picture, by the index of its stream.
  """
  found = {}
  with opened(path) as (container, _):
    streams = [one for one in container.streams if one.index in indices]
    # FFmpeg gives them before all other packets.
    for packet in itertools.islice(
        packets(container, streams, []) if streams else (), len(streams)):
      found[packet.stream.index] = bytes(packet)
  return found


def total(container, stream, part: Cut) -> int | None:
  """The expected number of frames in a span, None if it is unknown."""
  if part.is_whole and stream.frames:
    return stream.frames
  if not container.duration or not stream.average_rate:
    return None
  origin = (container.start_time or 0) / 1e6
  span = (min(part.last, origin + container.duration / 1e6)
          - max(part.first, origin))
  return max(1, round(span * float(stream.average_rate)))


def upright(picture: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
  """Rotates a stored picture [h, w, 3] by a display matrix."""
  transposed, down, right = _turn(matrix)
  picture = picture.swapaxes(0, 1) if transposed else picture
  return picture[::down, ::right]


def stored(picture: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
  """The inverse of `upright`."""
  transposed, down, right = _turn(matrix)
  picture = picture[::down, ::right]
  return picture.swapaxes(0, 1) if transposed else picture


def _turn(matrix):
  """(whether axes are swapped, then the steps of rows and of columns).

  A point moves to (a x + c y, b x + d y), where [[a, b], [c, d]] is the upper
  left of the matrix. Rotations by other than multiples of 90 degrees are left
  to the player.
  """
  if not matrix:
    return False, 1, 1
  a, b, c, d = (int(np.sign(matrix[i])) for i in (0, 1, 3, 4))
  if a and d and not b and not c:
    return False, d, a
  if b and c and not a and not d:
    return True, b, c
  return False, 1, 1


def _decoded(container, stream, notes) -> Iterator[Any]:
  """Yields the frames that can be decoded; notes count the others."""
  av = frames.import_av()
  read, end, bad, damaged = 0, 0.0, 0, 0
  # AVI has times of decoding alone, in order; frames are shown in another.
  is_avi, times = container.format.name == 'avi', collections.deque()
  for packet in itertools.chain(packets(container, [stream], notes), [None]):
    if packet is not None:
      read += 1
      time = (packet.pts or 0) + (packet.duration or 0)
      end = max(end, float(time * packet.time_base))
      if is_avi and packet.dts is not None:
        times.append(packet.dts)
    try:
      for frame in stream.codec_context.decode(packet):
        damaged += frame.is_corrupt
        if times:
          frame.pts = times.popleft()
        yield frame
    except av.FFmpegError:
      bad += 1
      if times:
        times.pop()
  if bad:
    notes.append(f'{bad} packets of the video could not be decoded')
  if damaged:
    notes.append(f'{damaged} frames were damaged in the source')
  if read < stream.frames and not is_avi:    # it counts repeated frames
    notes.append(
        f'the video breaks off: {read} of its {stream.frames} frames are there')
  stated = frames.stated_end(stream)
  if end < 0.95 * stated:
    notes.append(f'the video breaks off at {end:.1f} of {stated:.1f} s')


def _next_time(frame, last, usual):
  """(the frame's time, whether it was raised to be after the last one)."""
  pts = frame.dts if frame.pts is None else frame.pts
  if pts is None:
    return (0 if last is None else last + usual), False
  if last is not None and pts <= last:
    return last + 1, True
  return pts, False
