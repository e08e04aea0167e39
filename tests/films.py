"""Small videos, made as they are needed."""

import fractions

import numpy as np

from deblur_jax.media import video_writing

STEADY = range(0, 12 * 512, 512)              # 25 frames a second of 1/12800 s


@video_writing.keep_scheduling()
def film(
    path, times=STEADY, *, size=(32, 18), codec='libx264', pixels='yuv420p',
    turn=None, sound=None, tags=(), options=(), metadata=()):
  """A video of gradients that drift; `sound` is a codec of its tone."""
  import av  # an optional extra

  with av.open(str(path), 'w', options=dict(options)) as container:
    stream = container.add_stream(codec, rate=25)
    stream.width, stream.height = size
    stream.pix_fmt, stream.bit_rate = pixels, 500_000
    stream.codec_context.time_base = fractions.Fraction(1, 12800)
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
      frame.pts, frame.time_base = time, fractions.Fraction(1, 12800)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
    if sound:
      for packet in tone(av, audio):
        container.mux(packet)
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
