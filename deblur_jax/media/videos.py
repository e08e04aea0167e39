"""Applies a function of frames to a video and keeps the rest of the file.

Each frame keeps its time, also at a variable rate. Sound, subtitles, data and
the cover picture are copied packet by packet, where the container holds them.
Orientation, tags, time code and size stay. Transparency does not.

Frames are restored and encoded in parts of a second or two, which are stored in
a hidden folder beside the target until all are finished. Interrupted work
resumes after the last part, and the function gets the same frames as without
the interruption. (The file may differ by a few bytes: x264 is not always
deterministic.)

All batches have one shape, so that a network is compiled once for a video. They
come in the order of time, so that a function may use the frames before.
"""

import collections
import itertools
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.data import frames
from deblur_jax.media import video_reading, video_resume, video_writing
from deblur_jax.ops import atomic_files

SUFFIXES = ('.3gp', '.avi', '.flv', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4',
            '.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.webm', '.wmv')
# Metadata of the source file itself; the new file has its own.
_OWN_METADATA = ('major_brand', 'minor_version', 'compatible_brands', 'encoder',
                 'DURATION')


class Done(NamedTuple):
  """The outcome of `restore`.

  Attributes:
    frames: number of frames in the target.
    resumed: how many of them an earlier call had restored.
    notes: what could not be kept or read, a line each.
  """

  frames: int
  resumed: int
  notes: tuple[str, ...]


def is_video(path: str | os.PathLike) -> bool:
  """Whether a file has the suffix of a video."""
  return pathlib.Path(path).suffix.lower() in SUFFIXES


def target_suffix(source: str | os.PathLike) -> str:
  """The suffix of a restored video: the source's own, or .mkv."""
  suffix = pathlib.Path(source).suffix.lower()
  return suffix if suffix in video_writing.CONTAINERS else '.mkv'


def size(
    source: str | os.PathLike, *,
    max_pixels: int = video_reading.MAX_PIXELS
) -> tuple[int, int, int | None]:
  """Reads the size of a video from its header.

  Args:
    source: the file.
    max_pixels: larger frames are refused.

  Returns:
    Height and width of the stored frames, which a player may rotate, and the
    number of frames, None if it is unknown.

  Raises:
    UserError: no video, or frames that are too large.
  """
  with video_reading.opened(
      pathlib.Path(os.path.abspath(source)), max_pixels=max_pixels
  ) as (opened, stream):
    context = stream.codec_context
    return context.height, context.width, video_reading.total(
        opened, stream, video_reading.Cut())


def restore(
    source: str | os.PathLike, target: str | os.PathLike,
    fn: Callable[[np.ndarray], np.ndarray], *, batch: int = 4, window: int = 1,
    start: float | None = None, end: float | None = None,
    crf: int | None = None, overwrite: bool = False, resume: bool = True,
    strip_gps: bool = False, made_by: str = '', part: int = 48,
    max_pixels: int = video_reading.MAX_PIXELS,
    on_frame: Callable[[int, int | None], None] = lambda done, total: None,
) -> Done:
  """Writes a video with the frames of `source` changed by `fn`.

  Frames are given to `fn` upright, as players show them and as photos are
  restored. They are written as they were stored, with the same rotation tag.
  Memory holds the pictures of `batch + window` frames, for any length.

  Args:
    source: a video; its first video stream is used.
    target: .mp4, .m4v, .mov, .mkv or .webm.
    fn: float32 [batch, h, w, 3 * window] in [0, 1] -> [batch, h, w, 3]. It is
      called in the order of time and may keep a state; resumed work begins with
      the first missing frame. The last batch is filled with its last frame, so
      that all batches have one shape.
    batch: number of frames in a batch.
    window: odd; above 1, the last axis has each frame between its neighbours,
      in the order of time. The first and the last frame are repeated.
    start: seconds; earlier frames are left out, and the target begins at 0.
    end: seconds of the source at which to end.
    crf: quality of the codec, lower is better and larger; None is its default.
    overwrite: whether the target may exist.
    resume: whether unfinished work on the same target is resumed.
    strip_gps: whether the place is removed.
    made_by: identifies `fn`, such as the hash of its weights and its options;
      unfinished work with another value is deleted.
    part: number of frames that are stored together, rounded up to whole
      batches.
    max_pixels: larger frames are refused.
    on_frame: called with the number of finished frames and the number of all,
      None if it is unknown.

  Raises:
    UserError: no video, no frame that can be decoded; a target that exists,
      cannot be written or cannot hold the sound; an option out of range.
  """
  if min(batch, window, part) < 1 or window % 2 == 0:
    raise errors.UserError(
        f'batch={batch}, window={window} and part={part} must be above 0, and '
        'the window odd.')
  source, target = _checked(source, target, overwrite)
  container = video_writing.CONTAINERS[target.suffix.lower()]
  part = batch * math.ceil(part / batch)
  notes = []
  with video_reading.opened(
      source, max_pixels=max_pixels) as (opened, stream):
    cut = video_reading.cut(opened, start, end)
    shots = video_reading.shots(opened, stream, cut, notes)
    first, shots = _peek(shots, source)
    settings, changes = video_writing.choose(stream, first, container, crf)
    copied, left_out = video_writing.copied_streams(
        opened, stream, container, strip_gps=strip_gps)
    copied = {other.index for other in copied}
    task = _task(source, settings, batch=batch, window=window, part=part,
                 start=start, end=end, made_by=made_by)
    total = video_reading.total(opened, stream, cut)
    del first
    with video_resume.workplace(target, task, resume=resume) as folder:
      resumed, count = _make_parts(
          folder, _windows(shots, window), fn, settings, part, batch,
          lambda done: on_frame(done, total))
      with video_resume.writing(target):
        whole = folder / f'whole{target.suffix}'
        with atomic_files.replacing(target, part=whole):
          _assemble(whole, source, container, settings, folder, cut, copied,
                    strip_gps, notes)
          _check_free(target, overwrite)      # hours later
  return Done(count, resumed, (*changes, *left_out, *dict.fromkeys(notes)))


def _checked(source, target, overwrite):
  """Absolute paths, so that FFmpeg takes no name for an option or protocol."""
  frames.import_av()
  # Where the target is a link, the file that it points to is written.
  source = pathlib.Path(os.path.abspath(source))
  target = pathlib.Path(os.path.realpath(target))
  if not source.is_file():
    raise errors.UserError(f'No file {source}.')
  if target.suffix.lower() not in video_writing.CONTAINERS:
    raise errors.UserError(
        f'Videos are not written as {target.name}; end it in '
        f'{", ".join(video_writing.CONTAINERS)}.')
  if target.exists() and os.path.samefile(source, target):
    raise errors.UserError(
        f'{target} is the video itself; write to another file.')
  if target.is_dir():
    raise errors.UserError(f'{target} is a folder; name a file in it.')
  _check_free(target, overwrite)
  return source, target


def _check_free(target, overwrite):
  if target.exists() and not overwrite:
    raise errors.UserError(
        f'{target} exists already; choose another name, or overwrite it.')


def _peek(shots, source):
  """(first frame, all shots)."""
  first = next(shots, None)
  if first is None:
    raise errors.UserError(f'{source} has no frame there that can be decoded.')
  return first.frame, itertools.chain([first], shots)


def _task(source, settings, **options):
  """Everything that the encoded frames depend on."""
  state = source.stat()
  return {'source': [str(source), state.st_size, state.st_mtime_ns],
          'av': frames.import_av().__version__,
          'settings': settings._asdict(), **options}


def _windows(
    shots: Iterable[video_reading.Shot], size: int,
) -> Iterator[tuple[video_reading.Shot, ...]]:
  """Yields each frame between its neighbours; end frames are repeated."""
  around = collections.deque(maxlen=size)
  for shot in _repeated(shots, size // 2):
    around.append(shot)
    if len(around) == size:
      yield tuple(around)


def _repeated(shots, half):
  """Repeats the first and the last shot `half` times."""
  shots = iter(shots)
  shot = next(shots)
  yield from [shot] * (half + 1)
  for shot in shots:
    yield shot
  yield from [shot] * half


def _make_parts(folder, windows, fn, settings, part, batch, on_frames):
  """Encodes the missing parts; returns (frames resumed, all frames)."""
  counts = video_resume.finished(folder)
  resumed = done = sum(counts)
  for _ in itertools.islice(windows, resumed):
    pass
  for number in itertools.count(len(counts)):
    packets = _encoded(
        itertools.islice(windows, part), fn, settings, batch, done, on_frames)
    if not packets:
      return resumed, done
    video_resume.save(folder, number, packets)
    done += len(packets)


def _encoded(windows, fn, settings, batch, done, on_frames):
  """Encodes frames into packets that can be decoded independently."""
  encoder = video_writing.open_encoder(settings)
  packets, durations = [], {}
  while group := list(itertools.islice(windows, batch)):
    pictures = _applied(fn, group, batch)
    for window, picture in zip(group, pictures, strict=True):
      shot = window[len(window) // 2]
      frame = video_writing.to_frame(
          video_reading.stored(picture, settings.matrix), settings)
      frame.pts, durations[shot.pts] = shot.pts, shot.duration
      packets += encoder.encode(frame)
    # Otherwise they would stay in memory until the next batch is read.
    del group, window, shot, pictures, picture
    on_frames(done + len(durations))
  if durations:
    packets += encoder.encode(None)
  return [
      video_writing.Packet(
          one.pts, durations[one.pts], one.is_keyframe, bytes(one))
      for one in packets]


def _applied(fn, group, batch):
  """Applies fn to a batch of windows: [len(group), h, w, 3], upright."""
  filled = group + group[-1:] * (batch - len(group))
  blur = np.stack([
      np.concatenate([shot.picture() for shot in window], axis=-1)
      for window in filled])                         # [batch, h, w, 3 * window]
  sharp = np.asarray(fn(blur), np.float32)
  if sharp.shape != (*blur.shape[:-1], 3):
    raise ValueError(
        f'Expected frames of shape {(*blur.shape[:-1], 3)}, got {sharp.shape}.')
  return sharp[:len(group)]


def _assemble(path, source, container, settings, folder, cut, copied, strip_gps,
              notes):
  """Combines the encoded frames with the other packets of the source."""
  with video_reading.opened(source) as (opened, stream):
    others = [other for other in opened.streams if other.index in copied]
    covers = video_reading.covers(source, {
        other.index for other in others if video_writing.is_cover(other)})
    timed = [other for other in others if other.index not in covers]
    packets = video_reading.packets(opened, timed, notes) if timed else ()
    packets = (packet for packet in packets if cut.holds(packet))
    metadata = {
        key: value for key, value in opened.metadata.items()
        if key not in _OWN_METADATA
        and not (strip_gps and 'location' in key.lower())}
    video_writing.write(
        str(path), container, settings, opened, stream, others,
        video_resume.saved(folder), packets, covers=covers, shift=cut.shift,
        metadata=metadata, chapters=cut.is_whole)
