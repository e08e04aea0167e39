"""Small videos, made as they are needed."""

import fractions
import io

import numpy as np

from deblur_jax.media import video_writing

STEADY = range(0, 12 * 512, 512)              # 25 frames a second of 1/12800 s


@video_writing.keep_scheduling()
def film(
    path, times=STEADY, *, size=(32, 18), codec='libx264', pixels='yuv420p',
    turn=None, sound=None, tags=(), options=(), metadata=(), clock=12800):
  """A video of gradients that drift.

  Args:
    sound: a codec of its tone.
    clock: ticks of the times in a second.
  """
  import av  # an optional extra

  with av.open(str(path), 'w', options=dict(options)) as container:
    stream = container.add_stream(codec, rate=25)
    stream.width, stream.height = size
    stream.pix_fmt, stream.bit_rate = pixels, 500_000
    stream.codec_context.time_base = fractions.Fraction(1, clock)
    for name, value in dict(tags).items():
      setattr(stream.codec_context, name, value)
    if turn is not None:
      stream.set_display_rotation(*turn)
    if sound:
      audio = container.add_stream(sound, rate=48000)
      audio.layout = 'mono'
    container.metadata.update(dict(metadata))
    container.start_encoding()
    for i, time in enumerate(times):
      frame = av.VideoFrame.from_ndarray(picture(i, size), format='rgb24')
      frame = frame.reformat(format=pixels)
      frame.pts, frame.time_base = time, fractions.Fraction(1, clock)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
    if sound:
      for packet in tone(av, audio):
        container.mux(packet)
  return path


@video_writing.keep_scheduling()
def with_more(source, path, *, cover=None, data=None, font=None,
              chapters=()):
  """Copies a film and adds to it.

  Args:
    source: the film.
    path: of the new one.
    cover: bytes of a JPEG.
    data: (name of a codec, {milliseconds: bytes}).
    font: bytes of an attachment; of Matroska.
    chapters: their titles, 0.1 s each.
  """
  import av

  with av.open(str(source)) as old, av.open(str(path), 'w') as new:
    streams = {one: new.add_stream_from_template(one) for one in old.streams}
    packets = []
    new.set_chapters([
        {'id': i, 'start': 100 * i, 'end': 100 * (i + 1),
         'metadata': {'title': title}, 'time_base': fractions.Fraction(1, 1000)}
        for i, title in enumerate(chapters)])
    if font:
      new.add_attachment('a.ttf', 'font/ttf', font)
    if cover and new.format.name == 'matroska':
      new.add_attachment('cover.jpg', 'image/jpeg', cover)
    elif cover:
      with av.open(io.BytesIO(cover)) as still:
        stream = new.add_stream_from_template(still.streams[0])
      stream.disposition = av.stream.Disposition.attached_pic
      packets.append((stream, 0, cover))
    if data:
      stream = new.add_data_stream(data[0])
      stream.time_base = fractions.Fraction(1, 1000)
      packets += [(stream, time, content) for time, content in data[1].items()]
    for stream, time, content in packets:
      packet = av.Packet(content)
      packet.pts, packet.dts, packet.duration = time, time, 50
      packet.time_base, packet.stream = fractions.Fraction(1, 1000), stream
      new.mux(packet)
    for packet in old.demux():
      if packet.size:
        packet.stream = streams[packet.stream]
        new.mux(packet)
  return path


def picture(i, size):
  """uint8 [h, w, 3]: greener to the right, redder to the bottom and with i."""
  rows, columns = np.mgrid[0:size[1], 0:size[0]]
  channels = [rows * 120 // size[1] + 8 * i, columns * 200 // size[0],
              np.full_like(rows, 16 * i)]
  return np.stack(channels, -1).astype(np.uint8)


def tone(av, stream):
  wave = (np.sin(np.arange(48000) / 20) * 9000).astype(np.int16)
  resampler = av.AudioResampler(
      format=stream.codec_context.format, layout='mono', rate=48000,
      frame_size=stream.codec_context.frame_size or 1024)
  frame = av.AudioFrame.from_ndarray(wave[None, :], format='s16', layout='mono')
  frame.sample_rate, frame.pts = 48000, 0
  for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
    yield from stream.encode(piece)
