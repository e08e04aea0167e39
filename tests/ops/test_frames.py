"""Series of frames: their order, and messages about mistakes."""

import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from deblur_jax import errors
from deblur_jax.data import frames, make_blur, pair_writer


def save(path, value=0, size=(24, 16)):
  """A picture of one gray level."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', size, (value,) * 3).save(path)


def draw(sequence, wanted):
  """The frames of a range."""
  return [shot() for shot in frames.shots(sequence, wanted)]


def test_folders_and_numbers_in_order(tmp_path):
  for i in range(12):
    save(tmp_path / 'in' / f'{i}.png', i)
    save(tmp_path / 'in/deep/b' / f'frame{i:03}x.jpg', 9 * i)
  top, deep = frames.find(tmp_path / 'in')
  assert [top.name, deep.name] == ['in', 'deep-b']
  assert top.length == 12 and not top.is_video
  assert [f.mean() for f in draw(top, range(2, 12))] == list(range(2, 12))
  assert top.file(10) == '10.png'
  assert [f.mean() for f in draw(deep, range(1, 3))] == [9, 18]


def test_messages(tmp_path):
  def refuses(match):
    with pytest.raises(errors.UserError, match=match):
      frames.find(tmp_path / 'in')

  refuses('No folder')
  (tmp_path / 'in').mkdir()
  refuses('no pictures there')
  save(tmp_path / 'in/0.png')
  save(tmp_path / 'in/1.png', size=(24, 18))
  refuses('differ in size: .*0.png is 24x16, .*1.png is 24x18')
  save(tmp_path / 'in/1.png')
  save(tmp_path / 'in/a/b/0.png')
  save(tmp_path / 'in/a-b/0.png')
  refuses('a-b and .*a/b would have one name, a-b|a/b and .*a-b would')


def test_a_video_needs_pyav(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'av', None)
  (tmp_path / 'film.mp4').write_bytes(b'')
  with pytest.raises(errors.UserError, match=r'jax\[video\].*of its frames'):
    frames.find(tmp_path / 'film.mp4')


@pytest.fixture
def av():
  """PyAV, where it is installed."""
  return pytest.importorskip(
      'av', reason='the optional extra "video" is not installed')


def film(av, path, *, count=30, codec='mpeg4', size=(48, 32), **options):
  """A video, on its left half getting brighter by 8 a frame, mod 256."""
  with av.open(str(path), 'w', options=options) as container:
    stream = container.add_stream(codec, rate=25)
    stream.width, stream.height = size
    stream.pix_fmt, stream.bit_rate = 'yuv420p', 2_000_000
    for i in range(count):
      picture = np.zeros((size[1], size[0], 3), np.uint8)
      picture[:, :size[0] // 2] = 8 * i % 256
      frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return path


@pytest.mark.parametrize('suffix', ['mp4', 'mkv', 'avi'])
def test_a_video(av, tmp_path, suffix):
  [sequence] = frames.find(film(av, tmp_path / f'film.{suffix}'))
  assert (sequence.name, sequence.length) == ('film', 30)
  assert sequence.is_video and sequence.file(3) == f'film.{suffix}'
  shots = draw(sequence, range(4, 25))
  assert len(shots) == 21
  assert shots[0].shape == (32, 48, 3) and shots[0].dtype == np.uint8
  left = [shot[:, :20].mean() for shot in shots]
  np.testing.assert_allclose(left, 8 * np.arange(4, 25), atol=3)
  assert max(shot[:, 28:].mean() for shot in shots) < 3


def test_a_video_in_windows(av, tmp_path):
  path = film(av, tmp_path / 'film.mp4')
  plan = make_blur.from_frames(path, window=(7, 9), gamma=1.0, seed=1)
  assert len(plan.works) == 1     # it is decoded once
  pair_writer.write(plan, tmp_path / 'out')
  for name, source in plan.sources.items():
    sequence, number = name.split('/')
    folder = tmp_path / 'out/train' / sequence
    blur, sharp = (
        np.asarray(Image.open(folder / side / f'{number}.png'), np.float64)
        for side in ('blur', 'sharp'))
    [middle] = draw(frames.find(path)[0], range(
        source['sharp_frame'], source['sharp_frame'] + 1))
    np.testing.assert_array_equal(sharp, middle)
    # The grays rise evenly, so that their mean is the middle one.
    np.testing.assert_allclose(blur, sharp, atol=3)


def test_a_truncated_video(av, tmp_path):
  def refuses(match, path):
    with pytest.raises(errors.UserError, match=match) as caught:
      frames.find(path)
    assert '\n' not in str(caught.value)

  cut = tmp_path / 'cut'
  cut.mkdir()
  # An index at the end is lost; the length follows from one at the start.
  for name, options in (
      ('end.mp4', {}), ('start.mp4', dict(movflags='faststart')),
      ('time.mkv', {})):
    whole = film(av, tmp_path / name, count=60, **options).read_bytes()
    (cut / name).write_bytes(whole[:len(whole) * 6 // 10])
    refuses(f'{name} is damaged or breaks off: .*Copy it again', cut / name)
  (cut / 'text.mp4').write_text('not a video' * 99)
  refuses('text.mp4 is damaged or breaks off: Invalid data', cut / 'text.mp4')
  [sequence] = frames.find(tmp_path / 'end.mp4')
  with pytest.raises(errors.UserError, match='no frame 60 in it any more'):
    draw(sequence, range(50, 63))


def test_a_file_of_sound_is_no_video(av, tmp_path):
  path = tmp_path / 'sound.wav'
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('pcm_s16le', rate=8000, layout='mono')
    sound = av.AudioFrame.from_ndarray(
        np.zeros((1, 800), np.int16), format='s16', layout='mono')
    sound.sample_rate = 8000
    container.mux(stream.encode(sound))
    container.mux(stream.encode())
  with pytest.raises(errors.UserError, match='sound.wav holds no video'):
    frames.find(path)


def test_real_video(av, tmp_path, real_data):
  [sequence] = frames.find(pathlib.Path(real_data) / 'video/cockatoo.mp4')
  assert sequence.length == 280
  shots = draw(sequence, range(0, 2))
  assert shots[1].shape == (720, 1280, 3)
  difference = np.abs(shots[0].astype(int) - shots[1]).mean()
  assert 0 < difference < 30
