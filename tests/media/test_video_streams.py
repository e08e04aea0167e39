"""What a video has beside its frames and its sound is kept, or told."""

import io

import numpy as np
import pytest
from films import film, picture, with_more
from PIL import Image

from deblur_jax.media import videos

av = pytest.importorskip(
    'av', reason='the optional extra "video" is not installed')

DATA = 'bin_data', {0: b'place 1', 100: b'place 2', 200: b'place 3'}


def same(blur):
  return blur[..., :3]


def cover():
  file = io.BytesIO()
  Image.fromarray(picture(3, (16, 16))).save(file, 'JPEG')
  return file.getvalue()


def others(path):
  """[(type, seconds, bytes)] of the packets of all but the film itself."""
  with av.open(str(path)) as container:
    film_ = container.streams.video[0]
    return [(packet.stream.type,
             packet.pts and float(packet.pts * packet.time_base), bytes(packet))
            for packet in container.demux() if packet.size
            and packet.stream is not film_]


def times(path):
  with av.open(str(path)) as container:
    return [frame.time for frame in container.decode(video=0)]


@pytest.mark.parametrize('codec', ['mpeg4', 'libx264'])
@pytest.mark.parametrize('between', [0, 2])
def test_frames_of_an_avi_are_even(tmp_path, codec, between):
  source = film(tmp_path / 'in.avi', range(12), clock=25, codec=codec,
                tags={'max_b_frames': between})
  seen = []
  done = videos.restore(source, tmp_path / 'out.mkv', lambda blur: (
      seen.append(blur.mean()) or same(blur)), batch=1)
  assert done.frames == 12 and all('time' not in note for note in done.notes)
  np.testing.assert_allclose(
      times(tmp_path / 'out.mkv'), np.arange(12) / 25, atol=1e-3)
  assert (np.diff(seen) > 0).all()     # the order in which they are shown


def test_an_avi_that_repeats_frames_is_whole(tmp_path):
  source = film(tmp_path / 'in.avi', [0, 512, 1536, 2048], codec='mpeg4')
  done = videos.restore(source, tmp_path / 'out.mkv', same)
  assert done.notes == ('mpeg4 became h264',)
  np.testing.assert_allclose(
      times(tmp_path / 'out.mkv'), [0, 0.04, 0.12, 0.16], atol=1e-3)


@pytest.mark.parametrize('suffix, codec, pixels', [
    ('webm', 'libvpx-vp9', 'yuva420p'), ('mov', 'prores_ks', 'yuva444p10le')])
def test_lost_transparency_is_told(tmp_path, suffix, codec, pixels):
  source = film(tmp_path / f'in.{suffix}', range(0, 1024, 512), codec=codec,
                pixels=pixels, size=(64, 64))
  done = videos.restore(source, tmp_path / f'out.{suffix}', same)
  assert done.notes[-1] == 'transparency is lost'


@pytest.mark.parametrize('old, new, kept', [
    ('mp4', 'mp4', True), ('mp4', 'mkv', True), ('mkv', 'mkv', True),
    ('mkv', 'mp4', True), ('mp4', 'mov', False)])
def test_cover_pictures(tmp_path, old, new, kept):
  source = with_more(film(tmp_path / f'plain.{old}', sound='aac'),
                     tmp_path / f'in.{old}', cover=cover())
  sound = [row for row in others(source) if row[0] == 'audio']
  target = tmp_path / f'out.{new}'
  done = videos.restore(source, target, same)
  assert done.notes == (() if kept else (
      'left out: 1 x cover picture (mjpeg)',))
  found = others(target)
  assert [row[2] for row in found if row[0] == 'video'] == [cover()] * kept
  assert [row[2] for row in found if row[0] == 'audio'] == [
      row[2] for row in sound]
  with av.open(str(target)) as container:
    assert container.streams.video[0].codec_context.name == 'h264'


def test_attachments(tmp_path):
  source = with_more(film(tmp_path / 'plain.mkv'), tmp_path / 'in.mkv',
                     font=b'letters', cover=cover())
  for suffix, notes in (
      ('mkv', ()), ('webm', ('h264 became vp9',
                             'left out: 1 x attachment (unknown)',
                             'left out: 1 x cover picture (mjpeg)'))):
    done = videos.restore(source, tmp_path / f'out.{suffix}', same)
    assert done.notes == notes
  with av.open(str(tmp_path / 'out.mkv')) as container:
    assert [one.data for one in container.streams.attachments] == [b'letters']


@pytest.mark.parametrize('new', ['mp4', 'mov', 'mkv'])
def test_data_are_kept_or_told(tmp_path, new):
  source = with_more(
      film(tmp_path / 'plain.mp4'), tmp_path / 'in.mp4', data=DATA)
  assert [row[2] for row in others(source)] == list(DATA[1].values())
  done = videos.restore(source, tmp_path / f'out.{new}', same)
  if new == 'mkv':
    assert done.notes == ('left out: 1 x data (unknown)',)
  else:
    assert done.notes == ()
    assert others(tmp_path / f'out.{new}') == others(source)


def test_data_may_have_the_place(tmp_path):
  source = with_more(
      film(tmp_path / 'plain.mp4'), tmp_path / 'in.mp4', data=DATA)
  done = videos.restore(source, tmp_path / 'out.mp4', same, strip_gps=True)
  assert done.notes == ('left out: 1 x data (unknown)',)
  assert others(tmp_path / 'out.mp4') == []


@pytest.mark.parametrize('new', ['mov', 'mp4', 'mkv'])
def test_the_time_code_stays(tmp_path, new):
  source = film(tmp_path / 'in.mov', metadata={'timecode': '01:02:03:04'})
  done = videos.restore(source, tmp_path / f'out.{new}', same)
  assert done.notes == ()
  with av.open(str(tmp_path / f'out.{new}')) as container:
    about = {key.lower(): value
             for key, value in container.streams[0].metadata.items()}
    assert about['timecode'] == '01:02:03:04'
  if new != 'mkv':    # as a track: the number of its first frame
    assert others(tmp_path / f'out.{new}') == others(source)


@pytest.mark.parametrize('new', ['mp4', 'mov', 'mkv'])
def test_chapters_that_are_a_track(tmp_path, new):
  source = with_more(film(tmp_path / 'plain.mp4'), tmp_path / 'in.mp4',
                     chapters=('One', 'Two'))
  target = tmp_path / f'out.{new}'
  assert videos.restore(source, target, same).notes == ()
  with av.open(str(source)) as old, av.open(str(target)) as made:
    assert [[one['metadata'], float(one['start'] * one['time_base'])]
            for one in made.chapters()] == [
                [{'title': 'One'}, 0], [{'title': 'Two'}, 0.1]]
    assert len(old.streams) == 2
    assert len(made.streams) == (1 if new == 'mkv' else 2)
