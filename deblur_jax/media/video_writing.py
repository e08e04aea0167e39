"""What a video is written as: codec and pixels, and a copy of all else.

Frames are encoded without B-frames, so that a packet's time is its frame's,
also where their rate is not constant, and parts that were encoded one by one
make one stream.
"""

import collections
import fractions
import functools
import heapq
import io
import operator
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.data import frames
from deblur_jax.ops import bit_depth


class Encoder(NamedTuple):
  """How a codec is asked for quality: usual crf, largest crf, options."""

  crf: int
  worst: int
  options: dict[str, str]


class Container(NamedTuple):
  """A kind of file: FFmpeg's name, and encoders for it, the usual one first."""

  name: str
  encoders: tuple[str, ...]


class Settings(NamedTuple):
  """What an encoder is told: numbers and names only, to be kept as JSON."""

  encoder: str
  crf: int
  pixels: str
  size: tuple[int, int]        # width, height
  time_base: tuple[int, int]
  rate: tuple[int, int]
  aspect: tuple[int, int]      # of a pixel; (0, 1) where the file is silent
  colour: tuple[int, int, int, int]   # range, space, primaries, transfer
  location: int                # of chroma between the pixels
  matrix: tuple[int, ...]      # nine numbers, by which players turn it, or none


class Packet(NamedTuple):
  """An encoded frame, its times in units of the time base."""

  pts: int
  duration: int
  is_key: bool
  data: bytes


def choose(
    stream, frame, container: Container, crf: int | None,
) -> tuple[Settings, list[str]]:
  """Settings for the frames of a stream, like its own where that is possible.

  Args:
    stream: the source's.
    frame: its first.
    container: where it shall go.
    crf: quality, lower is better and larger; None for the codec's usual one.

  Returns:
    (settings, what could not be kept, a line each).

  Raises:
    UserError: a crf that the codec has not.
  """
  codec = stream.codec_context.codec.canonical_name
  encoder = _encoder(codec, frame, container)
  usual = ENCODERS[encoder]
  if crf is not None and not 0 <= crf <= usual.worst:
    raise errors.UserError(
        f'crf={crf} is not within 0 and {usual.worst}, which {encoder} knows; '
        f'{usual.crf} is usual.')
  pixels = _pixels(encoder, frame)
  settings = Settings(
      encoder=encoder, crf=usual.crf if crf is None else crf, pixels=pixels,
      size=(frame.width, frame.height), time_base=_pair(stream.time_base),
      rate=_pair(rate(stream)),
      aspect=_pair(stream.sample_aspect_ratio or 0),
      colour=_colour(frame),
      location=0 if frame.format.is_rgb else _location(frame),
      matrix=display_matrix(frame))
  return settings, list(_changes(codec, frame, settings, container))


def open_encoder(settings: Settings):
  """An encoder of frames, that `encode(None)` empties."""
  av = frames.import_av()
  # The only way to keep SVT-AV1 from talking on stderr.
  os.environ.setdefault('SVT_LOG', '1')
  context = av.CodecContext.create(settings.encoder, 'w')
  _configure(context, settings)
  context.flags |= av.codec.context.Flags.global_header
  return context


def to_frame(picture: np.ndarray, settings: Settings):
  """[h, w, 3] in [0, 1], as stored, -> a frame as the encoder wants it."""
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
  """A frame -> float32 [h, w, 3] in [0, 1], as stored, of all its bits."""
  kind = 'rgb48le' if _bits(frame) > 8 else 'rgb24'
  # The usual way is quick: of the luma of a photo 47 dB are left when it comes
  # back, by this one 70, and its RGB is 2.7 dB nearer to the photo's own.
  picture = frame.to_ndarray(format=kind, interpolation=_ways(
      'BICUBIC', 'FULL_CHR_H_INT', 'FULL_CHR_H_INP', 'ACCURATE_RND'))
  return bit_depth.to_float(picture)


def display_matrix(frame) -> tuple[int, ...]:
  """The nine numbers by which a player turns a frame; () where it need not."""
  side_data = frames.import_av().sidedata.sidedata.Type.DISPLAYMATRIX
  if side_data not in frame.side_data:
    return ()
  matrix = np.frombuffer(bytes(frame.side_data[side_data]), np.int32)
  return tuple(matrix.tolist())


def copied_streams(
    source, video, container: Container,
) -> tuple[list, list[str]]:
  """The streams beside the video that the container holds, and notes of others.

  Raises:
    UserError: it cannot hold the sound.
  """
  kept, others = [], collections.Counter()
  av = frames.import_av()
  with av.open(io.BytesIO(), 'w', format=container.name) as trial:
    for stream in source.streams:
      if stream is video:
        continue
      if stream.type in ('audio', 'subtitle') and _fits(trial, stream):
        kept.append(stream)
      elif stream.type == 'audio':
        raise errors.UserError(
            f'{container.name} cannot hold the sound of it '
            f'({_codec_name(stream)}); write to .mkv, which can.')
      else:
        others[f'{stream.type} ({_codec_name(stream)})'] += 1
  return kept, [f'left out: {count} x {what}' for what, count in others.items()]


def write(
    path: str, container: Container, settings: Settings, source, video,
    copied: Iterable, packets: Iterable[Packet], others: Iterable,
    *, shift: fractions.Fraction, metadata: dict[str, str], chapters: bool,
) -> None:
  """Writes the file: encoded frames, and packets of other streams as they are.

  Args:
    path: where to.
    container, settings: what.
    source, video, copied: the source's container and streams.
    packets: of the frames, in order.
    others: packets of the copied streams, in order; they are used up.
    shift: seconds that others' times are moved down by.
    metadata: of the whole.
    chapters: whether to copy them.
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
    ours = _ready(packets, streams[video.index], settings)
    theirs = _moved(others, streams, shift)
    for _, packet in heapq.merge(ours, theirs, key=lambda item: item[0]):
      target.mux(packet)


def _ready(packets, stream, settings) -> Iterator[tuple[float, Any]]:
  """(seconds, PyAV's packet) of frames."""
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
    if packet.dts is None:   # Matroska has no such times.
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
    stream.codec_context.codec_tag = 'hvc1'   # Apple's players want this one.
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
  """Of the muxer: times as fine as the source's, the index in front."""
  if container.name not in ('mp4', 'mov'):
    return {}
  finest = int(np.lcm.reduce(np.array(rates, object)))
  movflags = ['faststart']
  if any(key.startswith('com.') for key in metadata):
    movflags.append('use_metadata_tags')   # Apple's own, such as the place.
  return {
      'video_track_timescale': str(rates[0]),
      # Where streams begin is counted in this; else it were rounded to 1/1000.
      'movie_timescale': str(finest if finest < 2**31 else rates[0]),
      'movflags': '+'.join(movflags)}


def _encoder(codec, frame, container):
  same = SAME.get(codec)
  odd = frame.width % 2 or frame.height % 2
  # Below its coding unit, and with odd sizes, x265 writes beyond its memory.
  if same == 'libx265' and (odd or min(frame.width, frame.height) < 64):
    same = None
  return same if same in container.encoders else container.encoders[0]


def _pixels(encoder, frame):
  """The format nearest to the frame's that the encoder knows."""
  known = {one.name for one in
           frames.import_av().codec.Codec(encoder, 'w').video_formats}
  layout = {(2, 2): '444', (1, 2): '422'}.get(
      (frame.format.chroma_width(2), frame.format.chroma_height(2)), '420')
  if frame.format.is_rgb or len(frame.format.components) < 3:
    layout = '420'
  if encoder == 'libx264' and (frame.width % 2 or frame.height % 2):
    layout = '444'   # It has whole squares of chroma only.
  deep = '10le' if _bits(frame) > 8 else ''
  wanted = [f'yuv{layout}p{deep}', f'yuv420p{deep}', f'yuv{layout}p', 'yuv420p']
  return next(name for name in wanted if name in known)


def _colour(frame):
  if frame.format.is_rgb:
    return 1, 1, 1, frame.color_trc   # BT.709, as video has it.
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
  if any(part.is_alpha for part in frame.format.components):
    yield 'transparency is lost'
  if frame.interlaced_frame:
    yield 'it is interlaced, and was restored with both fields as one picture'
  if settings.pixels.startswith('yuv444') and '444' not in frame.format.name:
    yield 'an odd size needs 4:4:4 pixels, which some players do not know'
  a, b, _, c, d, *_ = settings.matrix or (1, 0, 0, 0, 1)
  if a * d < b * c and container.name in ('matroska', 'webm'):
    yield f'{container.name} cannot tell players that it is mirrored'
  kinds = frames.import_av().sidedata.sidedata.Type
  if any(kind in frame.side_data for kind in (
      kinds.MASTERING_DISPLAY_METADATA, kinds.DOVI_METADATA)):
    yield 'what the file told of the display that it was graded on is lost'


def _fits(trial, stream):
  try:
    trial.add_stream_from_template(stream)
  except (ValueError, frames.import_av().FFmpegError):
    return False
  return True


def _codec_name(stream):
  context = stream.codec_context
  return context.name if context else 'unknown'


def _location(frame):
  # PyAV 18 does not tell: then colours move by a quarter of their samples.
  return int(getattr(frame, 'chroma_location', 0))


def _ways(*names):
  """Flags for a conversion of pixels."""
  known = frames.import_av().video.reformatter.Interpolation
  return functools.reduce(operator.or_, (known[name] for name in names))


def _bits(frame):
  return max(part.bits for part in frame.format.components)


def _pair(ratio):
  return ratio.numerator, ratio.denominator


def rate(stream) -> fractions.Fraction:
  """Frames a second, on average; 25 where the file does not say."""
  return as_fraction(
      stream.average_rate or stream.guessed_rate or fractions.Fraction(25))


def as_fraction(ratio) -> fractions.Fraction:
  """A ratio of PyAV, whose type is its own since version 19."""
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
_MP4 = Container('mp4', ('libx264', 'libx265', 'libvpx-vp9', 'libsvtav1'))
CONTAINERS = {
    '.mp4': _MP4, '.m4v': _MP4,
    '.mov': Container('mov', ('libx264', 'libx265')),
    '.mkv': Container(
        'matroska', ('libx264', 'libx265', 'libvpx-vp9', 'libsvtav1')),
    '.webm': Container('webm', ('libvpx-vp9', 'libsvtav1')),
}
# The rest of what files tell of a stream is told anew, or no longer true.
STREAM_METADATA = ('language', 'title', 'handler_name', 'creation_time',
                   'timecode')
