"""A video goes through a function of frames and comes out whole.

Whole means: every frame at its time, also where the rate is not constant; sound
and subtitles packet by packet as they were; turned, tagged and as large as
before. Frames are restored and encoded in parts of a second or two, which lie
in a hidden folder beside the target until all are there: interrupted work goes
on behind the last of them, with the same frames for the function as without a
break. (The file may differ by a few bytes: x264 does not always repeat itself.)

From frame to frame nothing begins anew: batches have one shape, so that a
network is compiled once for a video, and they come in the order of time, so
that a function may start from what it knows of the frames before.
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
from deblur_jax.media import video_parts, video_reading, video_writing
from deblur_jax.ops import atomic_files

SUFFIXES = ('.3gp', '.avi', '.flv', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4',
            '.mpeg', '.mpg', '.mts', '.ogv', '.ts', '.webm', '.wmv')
# Of the file itself, told anew by the one that is written.
_OWN_METADATA = ('major_brand', 'minor_version', 'compatible_brands', 'encoder',
                 'DURATION')


class Done(NamedTuple):
  """What was done.

  frames: how many the target has.
  resumed: how many of them an earlier call had restored.
  notes: what could not be kept or read, a line each.
  """

  frames: int
  resumed: int
  notes: tuple[str, ...]


def is_video(path: str | os.PathLike) -> bool:
  """Whether the name of a file is one of a video."""
  return pathlib.Path(path).suffix.lower() in SUFFIXES


def target_suffix(source: str | os.PathLike) -> str:
  """What to end a restored video's name in: its own suffix, or else .mkv."""
  suffix = pathlib.Path(source).suffix.lower()
  return suffix if suffix in video_writing.CONTAINERS else '.mkv'


def size(
    source: str | os.PathLike, *,
    max_pixels: int = video_reading.MAX_PIXELS
) -> tuple[int, int, int | None]:
  """(height, width, how many frames if known) by the header of a video.

  Height and width are as stored: how a player turns frames is told by them.

  Raises:
    UserError: no video, frames that are too large.
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
  """Writes the video `target`: the frames of `source` as `fn` makes them.

  Frames reach fn upright, as players show them and as photos are restored, and
  are written as they were stored, with the same note of how to turn them.
  Memory holds the pictures of `batch + window` frames, whatever the length.

  Args:
    source: a video; of its video streams the first counts.
    target: .mp4, .m4v, .mov, .mkv or .webm.
    fn: float32 [batch, h, w, 3 * window] in [0, 1] -> [batch, h, w, 3]. It is
      called in the order of time and may remember; work that is resumed begins
      with the first frame that is missing. The last batch is filled up with its
      last frame, so that there is one shape.
    batch: frames at once.
    window: odd; above 1, each frame comes between its neighbours, in the order
      of time, along the last axis. Before the first frame and behind the last
      one these are repeated.
    start: seconds; what is before is left out, the target begins at 0.
    end: seconds of the source at which to end.
    crf: quality, lower is better and larger; None for the codec's usual one.
    overwrite: whether the target may exist.
    resume: whether to go on with unfinished work on the same target.
    strip_gps: leaves out where it was filmed.
    made_by: what fn is, such as its weights' hash and options; unfinished work
      that another has begun is thrown away.
    part: frames after which work is kept, rounded up to whole batches.
    max_pixels: larger frames are refused.
    on_frame: called with the number of frames done, and of all if it is known.

  Raises:
    UserError: no video, nothing in it to decode; a target that exists,
      cannot be written or cannot hold the sound; options out of their range.
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
    copied, left_out = video_writing.copied_streams(opened, stream, container)
    copied = {other.index for other in copied}
    task = _task(source, settings, batch=batch, window=window, part=part,
                 start=start, end=end, made_by=made_by)
    total = video_reading.total(opened, stream, cut)
    del first
    with video_parts.workplace(target, task, resume=resume) as folder:
      resumed, count = _make_parts(
          folder, _windows(shots, window), fn, settings, part, batch,
          lambda done: on_frame(done, total))
      with video_parts.writing(target):
        whole = folder / f'whole{target.suffix}'
        with atomic_files.replacing(target, part=whole):
          _assemble(whole, source, container, settings, folder, cut, copied,
                    strip_gps, notes)
          _check_free(target, overwrite)      # hours later
  return Done(count, resumed, (*changes, *left_out, *dict.fromkeys(notes)))


def _checked(source, target, overwrite):
  """Absolute paths: no name looks like an option or a protocol to FFmpeg."""
  frames.import_av()
  # Of a link what it points to is written.
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
        f'{target} is there already; choose another name, or overwrite it.')


def _peek(shots, source):
  """(first frame, all shots)."""
  first = next(shots, None)
  if first is None:
    raise errors.UserError(f'{source} has no frame there that can be decoded.')
  return first.frame, itertools.chain([first], shots)


def _task(source, settings, **options):
  """All that the encoded frames depend on."""
  state = source.stat()
  return {'source': [str(source), state.st_size, state.st_mtime_ns],
          'av': frames.import_av().__version__,
          'settings': settings._asdict(), **options}


def _windows(
    shots: Iterable[video_reading.Shot], size: int,
) -> Iterator[tuple[video_reading.Shot, ...]]:
  """Each frame between its neighbours; at the borders frames are repeated."""
  around = collections.deque(maxlen=size)
  for shot in _repeated(shots, size // 2):
    around.append(shot)
    if len(around) == size:
      yield tuple(around)


def _repeated(shots, half):
  """The first and the last one `half` times more."""
  shots = iter(shots)
  shot = next(shots)
  yield from [shot] * (half + 1)
  for shot in shots:
    yield shot
  yield from [shot] * half


def _make_parts(folder, windows, fn, settings, part, batch, tell):
  """Encodes what the folder lacks -> (how many it had, how many it has)."""
  counts = video_parts.finished(folder)
  resumed = done = sum(counts)
  for _ in itertools.islice(windows, resumed):
    pass
  for number in itertools.count(len(counts)):
    packets = _encoded(
        itertools.islice(windows, part), fn, settings, batch, done, tell)
    if not packets:
      return resumed, done
    video_parts.save(folder, number, packets)
    done += len(packets)


def _encoded(windows, fn, settings, batch, done, tell):
  """The packets of some frames, the first of which can be decoded by itself."""
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
    # Else they lived until the next batch is there.
    del group, window, shot, pictures, picture
    tell(done + len(durations))
  if durations:
    packets += encoder.encode(None)
  return [
      video_writing.Packet(
          one.pts, durations[one.pts], one.is_keyframe, bytes(one))
      for one in packets]


def _applied(fn, group, batch):
  """fn of a batch of windows -> [len(group), h, w, 3], upright."""
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
  """Puts encoded frames and the source's other packets together."""
  with video_reading.opened(source) as (opened, stream):
    others = [other for other in opened.streams if other.index in copied]
    packets = video_reading.packets(opened, others, notes) if others else ()
    packets = (packet for packet in packets if cut.holds(packet))
    metadata = {
        key: value for key, value in opened.metadata.items()
        if key not in _OWN_METADATA
        and not (strip_gps and 'location' in key.lower())}
    video_writing.write(
        str(path), container, settings, opened, stream, others,
        video_parts.saved(folder), packets, shift=cut.shift, metadata=metadata,
        chapters=cut.is_whole)
