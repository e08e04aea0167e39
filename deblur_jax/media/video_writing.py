"""Writes a video: codec and pixel format, and a copy of the other streams.

Frames are encoded without B-frames, so that the time of a packet is the time of
its frame, also at a variable rate, and so that parts that were encoded
separately form one stream.
"""

import collections
import contextlib
import fractions
import functools
import heapq
import io
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.data import frames
from deblur_jax.ops import bit_depth


class Encoder(NamedTuple):
  """The quality settings of a codec: default crf, largest crf, options.

  Attributes:
    crf: default quality, lower is better.
    worst: the largest crf.
    options: of the encoder.
  """

  crf: int
  worst: int
  options: dict[str, str]


class Container(NamedTuple):
  """A file format.

  Attributes:
    name: FFmpeg's.
    encoders: that it holds, the default one first.
    covers: whether it keeps cover pictures.
  """

  name: str
  encoders: tuple[str, ...]
  covers: bool = False


class Settings(NamedTuple):
  """The settings of an encoder: only numbers and names, stored as JSON.

  Attributes:
    encoder: FFmpeg's name.
    crf: quality, lower is better.
    pixels: FFmpeg's name of the format of pixels.
    size: width, height.
    time_base: seconds, a fraction.
    rate: frames a second, a fraction.
    aspect: of a pixel; (0, 1) where it is unknown.
    colour: range, space, primaries, transfer.
    location: of the chroma samples between the pixels.
    matrix: display matrix, nine numbers or none.
  """

  encoder: str
  crf: int
  pixels: str
  size: tuple[int, int]
  time_base: tuple[int, int]
  rate: tuple[int, int]
  aspect: tuple[int, int]
  colour: tuple[int, int, int, int]
  location: int
  matrix: tuple[int, ...]


class Packet(NamedTuple):
  """An encoded frame; times are in units of the time base.

  Attributes:
    pts: time of display.
    duration: of display.
    is_key: whether decoding can begin there.
    data: the encoded bytes.
  """

  pts: int
  duration: int
  is_key: bool
  data: bytes


def choose(
    stream, frame, container: Container, crf: int | None,
) -> tuple[Settings, list[str]]:
  """Chooses encoder settings that are close to those of the source.

  Args:
    stream: the video stream of the source.
    frame: its first frame.
    container: the format of the target.
    crf: quality, lower is better and larger; None is the codec's default.

  Returns:
    The settings, and what cannot be kept, a line each.

  Raises:
    UserError: the codec has no such crf.
  """
  codec = stream.codec_context.codec.canonical_name
  encoder = _encoder(codec, frame, container)
  usual = ENCODERS[encoder]
  if crf is not None and not 0 <= crf <= usual.worst:
    raise errors.UserError(
        f'crf={crf} is not in 0 to {usual.worst}, the range of {encoder}; '
        f'its default is {usual.crf}.')
  pixels = _pixels(encoder, frame)
  settings = Settings(
      encoder=encoder, crf=usual.crf if crf is None else crf, pixels=pixels,
      size=(frame.width, frame.height), time_base=_pair(stream.time_base),
      rate=_pair(rate(stream)),
      aspect=_pair(stream.sample_aspect_ratio or 0),
      colour=_colour(frame),
      location=0 if frame.format.is_rgb else _location(frame),
      matrix=display_matrix(frame))
  # FFmpeg's decoder of VP9 leaves alpha out; Matroska names it.
  is_transparent = stream.metadata.get('alpha_mode') == '1' or any(
      part.is_alpha for part in frame.format.components)
  changes = list(_changes(codec, frame, settings, container))
  return settings, changes + ['transparency is lost'] * is_transparent


@contextlib.contextmanager
def keep_scheduling() -> Iterator[None]:
  """Keeps the scheduling of the threads of this process.

  SVT-AV1 makes the thread that opens it a real-time thread where it may, as
  root does. Such a thread starves the other threads and programs.
  """
  if not hasattr(os, 'sched_setscheduler'):    # Linux has it
    yield
    return
  before = os.sched_getscheduler(0), os.sched_getparam(0)
  try:
    yield
  finally:
    for thread in os.listdir('/proc/self/task'):
      with contextlib.suppress(ProcessLookupError):    # it has ended
        if os.sched_getscheduler(int(thread)) != before[0]:
          os.sched_setscheduler(int(thread), *before)


def open_encoder(settings: Settings):
  """Opens an encoder of frames; `encode(None)` flushes it."""
  av = frames.import_av()
  # The only way to stop messages of SVT-AV1 on stderr.
  os.environ.setdefault('SVT_LOG', '1')
  context = av.CodecContext.create(settings.encoder, 'w')
  _configure(context, settings)
  context.flags |= av.codec.context.Flags.global_header
  with keep_scheduling():
    context.open()
  return context


def to_frame(picture: np.ndarray, settings: Settings):
  """Converts a picture to a frame in the encoder's pixel format.

  Args:
    picture: [h, w, 3] in [0, 1], oriented as the frames are stored.
    settings: of the encoder.
  """
  av = frames.import_av()
  kind, bits = (('rgb48le', 16) if settings.pixels.endswith('10le') else
                ('rgb24', 8))
  picture = bit_depth.quantize(picture, bits=bits)
  frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=kind)
  if settings.location:
    frame.chroma_location = settings.location
  frame = frame.reformat(
      format=settings.pixels, dst_color_range=settings.colour[0],
      dst_colorspace=settings.colour[1],
      interpolation=_ways('AREA', 'ACCURATE_RND'))
  frame.time_base = fractions.Fraction(*settings.time_base)
  return frame


def to_picture(frame) -> np.ndarray:
  """Converts a frame to float32 [h, w, 3] in [0, 1] with all of its bits.

  The picture is oriented as the frame is stored.
  """
  kind = 'rgb48le' if _bits(frame) > 8 else 'rgb24'
  # Slower than the default, but closer: after a round trip the luma of a photo
  # has 70 dB instead of 47, and its RGB is 2.7 dB closer to the photo.
  picture = frame.to_ndarray(format=kind, interpolation=_ways(
      'BICUBIC', 'FULL_CHR_H_INT', 'FULL_CHR_H_INP', 'ACCURATE_RND'))
  return bit_depth.to_float(picture)


def display_matrix(frame) -> tuple[int, ...]:
  """The display matrix by which players rotate a frame, or ()."""
  side_data = frames.import_av().sidedata.sidedata.Type.DISPLAYMATRIX
  if side_data not in frame.side_data:
    return ()
  matrix = np.frombuffer(bytes(frame.side_data[side_data]), np.int32)
  return tuple(matrix.tolist())


def copied_streams(
    source, video, container: Container, *, strip_gps: bool = False,
) -> tuple[list, list[str]]:
  """Finds the streams that can be copied.

  Args:
    source: the opened source.
    video: its video stream, which is not copied.
    container: the format of the target.
    strip_gps: whether data streams are left out, which may have the place.

  Returns:
    The streams that the container can hold, and a note about each kind that it
    cannot.

  Raises:
    UserError: the container cannot hold the sound.
  """
  kept, others = [], collections.Counter()
  for stream in source.streams:
    if stream is video or _is_made_again(stream, source):
      continue
    if _is_kept(stream, container, strip_gps):
      kept.append(stream)
    elif stream.type == 'audio':
      raise errors.UserError(
          f'{container.name} cannot hold the sound of the source '
          f'({_codec_name(stream)}); write to .mkv, which can.')
    else:
      kind = 'cover picture' if is_cover(stream) else stream.type
      others[f'{kind} ({_codec_name(stream)})'] += 1
  return kept, [f'left out: {count} x {what}' for what, count in others.items()]


def _is_made_again(stream, source) -> bool:
  """Whether FFmpeg makes this stream from the time code or the chapters."""
  chapters = len(source.chapters())    # each is a packet of text
  return 'timecode' in stream.metadata or (
      stream.type == 'data' and 0 < stream.frames == chapters)


def is_cover(stream) -> bool:
  """Whether a stream is the cover picture of its file."""
  return stream.type == 'video' and bool(
      stream.disposition & frames.import_av().stream.Disposition.attached_pic)


def _is_kept(stream, container, strip_gps) -> bool:
  if is_cover(stream):
    return container.covers
  if stream.type == 'attachment':
    return container.name == 'matroska'
  if stream.type == 'video' or (stream.type == 'data' and strip_gps):
    return False
  return _fits(container, stream)


@keep_scheduling()
def write(
    path: str, container: Container, settings: Settings, source, video,
    copied: Iterable, packets: Iterable[Packet], others: Iterable,
    *, covers: Mapping[int, bytes], shift: fractions.Fraction,
    metadata: dict[str, str], chapters: bool,
) -> None:
  """Writes a file: encoded frames and unchanged packets of other streams.

  Args:
    path: the file.
    container: its format.
    settings: of the encoder.
    source: the opened source.
    video: its video stream.
    copied: its streams that are copied.
    packets: of the frames, in order.
    others: packets of the copied streams, in order; they are changed.
    covers: the pictures of those that are covers, by the index of the stream.
    shift: seconds to subtract from the times of the others.
    metadata: of the file.
    chapters: whether chapters are copied.
  """
  av = frames.import_av()
  rates = [settings.time_base[1],
           *(stream.time_base.denominator for stream in copied)]
  with av.open(path, 'w', format=container.name, container_options=_options(
      container, rates, metadata)) as target:
    streams = {}
    for stream in source.streams:
      if stream is video:
        new = streams[stream.index] = _video_stream(target, settings, container)
      elif stream.index in covers and container.name == 'matroska':
        _attach(target, stream, covers[stream.index])
        continue
      elif stream in copied:
        new = streams[stream.index] = target.add_stream_from_template(stream)
      else:
        continue
      new.metadata.update({key: value for key, value in stream.metadata.items()
                           if key in STREAM_METADATA})
      new.disposition = stream.disposition
    target.metadata.update(metadata)
    if chapters:
      target.set_chapters(source.chapters())
    for index in covers.keys() & streams:
      packet = av.Packet(covers[index])
      packet.stream, packet.pts, packet.dts = streams[index], 0, 0
      target.mux(packet)
    ours = _ready(packets, streams[video.index], settings)
    theirs = _moved(others, streams, shift)
    for _, packet in heapq.merge(ours, theirs, key=lambda item: item[0]):
      target.mux(packet)


def _attach(target, stream, cover):
  """Attaches a cover picture by the name that players of Matroska look for."""
  name, kind = (('cover.png', 'image/png') if _codec_name(stream) == 'png' else
                ('cover.jpg', 'image/jpeg'))
  target.add_attachment(stream.metadata.get('filename', name), kind, cover)


def _ready(packets, stream, settings) -> Iterator[tuple[float, Any]]:
  """Yields (seconds, PyAV packet) for each packet of the frames."""
  av = frames.import_av()
  time_base = fractions.Fraction(*settings.time_base)
  for pts, duration, is_key, data in packets:
    packet = av.Packet(data)
    packet.pts = packet.dts = pts
    packet.duration, packet.is_keyframe = duration, is_key
    packet.time_base, packet.stream = time_base, stream
    yield float(pts * time_base), packet


def _moved(packets, streams, shift) -> Iterator[tuple[float, Any]]:
  for packet in packets:
    ticks = round(shift / as_fraction(packet.time_base))
    if packet.dts is None:   # Matroska has no decoding times.
      packet.dts = packet.pts
    if ticks:
      packet.dts -= ticks
      packet.pts = None if packet.pts is None else packet.pts - ticks
    packet.stream = streams[packet.stream.index]
    yield float(packet.dts * as_fraction(packet.time_base)), packet


def _video_stream(target, settings, container):
  stream = target.add_stream(
      settings.encoder, rate=fractions.Fraction(*settings.rate))
  _configure(stream.codec_context, settings)
  if settings.matrix:
    stream.set_display_matrix(settings.matrix)
  if settings.encoder == 'libx265' and container.name in ('mp4', 'mov'):
    stream.codec_context.codec_tag = 'hvc1'   # needed by Apple's players
  stream.time_base = fractions.Fraction(*settings.time_base)
  return stream


def _configure(context, settings):
  context.width, context.height = settings.size
  context.pix_fmt = settings.pixels
  context.time_base = fractions.Fraction(*settings.time_base)
  context.framerate = fractions.Fraction(*settings.rate)
  if settings.aspect[0]:
    context.sample_aspect_ratio = fractions.Fraction(*settings.aspect)
  (context.color_range, context.colorspace, context.color_primaries,
   context.color_trc) = settings.colour
  if settings.location:
    context.chroma_sample_location = settings.location
  context.options = {
      **ENCODERS[settings.encoder].options, 'crf': str(settings.crf)}


def _options(container, rates, metadata):
  """Muxer options: times as fine as in the source, the index in front."""
  if container.name not in ('mp4', 'mov'):
    return {}
  finest = int(np.lcm.reduce(np.array(rates, object)))
  movflags = ['faststart']
  if any(key.startswith('com.') for key in metadata):
    movflags.append('use_metadata_tags')   # Apple's tags, such as the place
  return {
      'video_track_timescale': str(rates[0]),
      # The unit of the streams' start times; its default is 1/1000 s.
      'movie_timescale': str(finest if finest < 2**31 else rates[0]),
      'movflags': '+'.join(movflags)}


def _encoder(codec, frame, container):
  same = SAME.get(codec)
  odd = frame.width % 2 or frame.height % 2
  # x265 writes beyond its memory for odd sizes, and below its coding unit.
  if same == 'libx265' and (odd or min(frame.width, frame.height) < 64):
    same = None
  return same if same in container.encoders else container.encoders[0]


def _pixels(encoder, frame):
  """The encoder's pixel format that is closest to the frame's."""
  known = {one.name for one in
           frames.import_av().codec.Codec(encoder, 'w').video_formats}
  layout = {(2, 2): '444', (1, 2): '422'}.get(
      (frame.format.chroma_width(2), frame.format.chroma_height(2)), '420')
  if frame.format.is_rgb or len(frame.format.components) < 3:
    layout = '420'
  if encoder == 'libx264' and (frame.width % 2 or frame.height % 2):
    layout = '444'   # chroma of 2x2 pixels needs even sizes
  deep = '10le' if _bits(frame) > 8 else ''
  wanted = [f'yuv{layout}p{deep}', f'yuv420p{deep}', f'yuv{layout}p', 'yuv420p']
  return next(name for name in wanted if name in known)


def _colour(frame):
  if frame.format.is_rgb:
    return 1, 1, 1, frame.color_trc   # BT.709, limited range
  full = frame.format.name.startswith('yuvj')
  return (2 if full else int(frame.color_range), int(frame.colorspace),
          int(frame.color_primaries), int(frame.color_trc))


def _changes(codec, frame, settings, container):
  name = settings.encoder
  if SAME.get(codec) != name:
    yield f'{codec} became {next(c for c, e in SAME.items() if e == name)}'
  bits = 10 if settings.pixels.endswith('10le') else 8
  if _bits(frame) > bits:
    yield f'{_bits(frame)} bits a colour became {bits}'
  if frame.interlaced_frame:
    yield 'it is interlaced, and was restored with both fields as one picture'
  if settings.pixels.startswith('yuv444') and '444' not in frame.format.name:
    yield 'an odd size needs 4:4:4 pixels, which some players do not know'
  a, b, _, c, d, *_ = settings.matrix or (1, 0, 0, 0, 1)
  if a * d < b * c and container.name in ('matroska', 'webm'):
    yield f'{container.name} cannot store that it is mirrored'
  kinds = frames.import_av().sidedata.sidedata.Type
  if any(kind in frame.side_data for kind in (
      kinds.MASTERING_DISPLAY_METADATA, kinds.DOVI_METADATA)):
    yield 'the metadata of the mastering display are lost'


def _fits(container, stream) -> bool:
  """Whether a file with this stream alone can be begun."""
  av = frames.import_av()
  try:
    with av.open(io.BytesIO(), 'w', format=container.name) as trial:
      trial.add_stream_from_template(stream)
      trial.start_encoding()
  except (ValueError, av.FFmpegError):
    return False
  return True


def _codec_name(stream):
  context = stream.codec_context
  return context.name if context else 'unknown'


def _location(frame):
  # PyAV 18 has no such field: colours then move by a quarter of a sample.
  return int(getattr(frame, 'chroma_location', 0))


def _ways(*names):
  """Flags of a pixel conversion."""
  known = frames.import_av().video.reformatter.Interpolation
  return functools.reduce(operator.or_, (known[name] for name in names))


def _bits(frame):
  return max(part.bits for part in frame.format.components)


def _pair(ratio):
  return ratio.numerator, ratio.denominator


def rate(stream) -> fractions.Fraction:
  """The mean number of frames a second; 25 where it is unknown.

  A rate above one frame a tick of the stream's clock is not believed.
  """
  tick = as_fraction(stream.time_base)
  rates = (as_fraction(one) for one in (
      stream.average_rate, stream.guessed_rate) if one)
  return next((one for one in rates if one * tick <= 1), fractions.Fraction(25))


def as_fraction(ratio) -> fractions.Fraction:
  """Converts a ratio of PyAV, which has its own type since version 19."""
  return fractions.Fraction(ratio.numerator, ratio.denominator)


ENCODERS = {
    'libx264': Encoder(18, 51, {'preset': 'medium', 'bf': '0'}),
    'libx265': Encoder(20, 51, {
        'preset': 'medium', 'x265-params': 'bframes=0:log-level=error'}),
    'libvpx-vp9': Encoder(24, 63, {
        'b': '0', 'deadline': 'good', 'cpu-used': '4', 'row-mt': '1'}),
    'libsvtav1': Encoder(24, 63, {'preset': '8'}),
}
SAME = {'h264': 'libx264', 'hevc': 'libx265', 'vp9': 'libvpx-vp9',
        'av1': 'libsvtav1'}
_MP4 = Container(
    'mp4', ('libx264', 'libx265', 'libvpx-vp9', 'libsvtav1'), covers=True)
CONTAINERS = {
    '.mp4': _MP4, '.m4v': _MP4,
    '.mov': Container('mov', ('libx264', 'libx265')),
    '.mkv': Container(
        'matroska', ('libx264', 'libx265', 'libvpx-vp9', 'libsvtav1'),
        covers=True),
    '.webm': Container('webm', ('libvpx-vp9', 'libsvtav1')),
}
# Other metadata of a stream are written again, or are no longer true.
STREAM_METADATA = ('language', 'title', 'handler_name', 'creation_time',
                   'timecode')
