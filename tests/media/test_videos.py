"""Videos: times, sound, rotation and size are kept; restoring resumes."""

import fractions
import itertools
import os
import pathlib
import subprocess
import sys
import weakref

import numpy as np
import pytest
from films import STEADY, film, picture

from deblur_jax import errors
from deblur_jax.media import video_reading, video_resume, video_writing, videos

av = pytest.importorskip(
    'av', reason='the optional extra "video" is not installed')

UNSTEADY = (0, 512, 600, 1500, 1540, 3000, 6000, 6512, 6600, 6700, 9000, 9040)


def same(blur):
  return blur[..., :3]


def packets(path, kind):
  """[(pts, time base, bytes)] of a kind of stream."""
  with av.open(str(path)) as container:
    stream = container.streams.get({kind: 0})[0]
    return [(packet.pts, float(packet.time_base), bytes(packet))
            for packet in container.demux(stream) if packet.size]


def decoded(path):
  """[(seconds, uint8 [h, w, 3])], as they are stored."""
  with av.open(str(path)) as container:
    return [(frame.time, frame.to_ndarray(format='rgb24'))
            for frame in container.decode(video=0)]


def times(path):
  return [time for time, _ in decoded(path)]


def error_of(path, others):
  """The mean difference of the frames of a file and of some pictures."""
  return np.mean([np.abs(ours.astype(int) - other).mean() for (_, ours), other
                  in zip(decoded(path), others, strict=True)])


@pytest.mark.parametrize(
    'clock', [STEADY, UNSTEADY], ids=['steady', 'unsteady'])
@pytest.mark.parametrize('suffix, sound', [
    ('mp4', 'aac'), ('mov', 'pcm_s16le'), ('mkv', 'pcm_s16le')])
def test_it_comes_out_whole(tmp_path, clock, suffix, sound):
  source = film(tmp_path / f'-rf;$(x).{suffix}', clock, sound=sound,
                options={'bf': '2' if clock is STEADY else '0'})
  target = tmp_path / 'out' / f'%03d;`y`.{suffix}'
  seen = []
  done = videos.restore(source, target, lambda x: 1 - x, batch=5,
                        on_frame=lambda *state: seen.append(state))
  assert done == (12, 0, ())
  assert [count for count, _ in seen] == [5, 10, 12]
  if suffix != 'mkv':   # It does not say.
    assert seen[-1] == (12, 12)
  assert times(target) == times(source)
  assert packets(target, 'audio') == packets(source, 'audio')
  assert len(packets(target, 'audio')) > 20
  assert error_of(target, [255 - x for _, x in decoded(source)]) < 3
  with av.open(str(source)) as old, av.open(str(target)) as new:
    assert abs(new.duration - old.duration) <= 1000     # Matroska's ms.
    for a, b in zip(old.streams, new.streams, strict=True):
      assert a.time_base == b.time_base and a.duration == b.duration
      assert a.codec_context.name == b.codec_context.name
  assert {path.name for path in tmp_path.iterdir()} == {source.name, 'out'}
  assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize('encoder', video_writing.ENCODERS)
def test_each_encoder_keeps_times_and_looks(tmp_path, encoder):
  source = film(tmp_path / 'in.mkv', UNSTEADY, codec=encoder, size=(96, 66))
  done = videos.restore(source, tmp_path / 'out.mkv', same, batch=4, part=4)
  assert done == (12, 0, ())
  assert times(tmp_path / 'out.mkv') == times(source)
  assert error_of(tmp_path / 'out.mkv', [x for _, x in decoded(source)]) < 3
  if hasattr(os, 'sched_getscheduler'):    # SVT-AV1 makes real-time threads
    assert {os.sched_getscheduler(int(thread))
            for thread in os.listdir('/proc/self/task')} == {os.SCHED_OTHER}


@pytest.mark.parametrize('suffix, codec, becomes', [
    ('mp4', 'ffv1', 'h264'), ('mp4', 'libx264', 'h264'),
    ('webm', 'ffv1', 'vp9'), ('mkv', 'libvpx-vp9', 'vp9')])
def test_odd_sizes(tmp_path, suffix, codec, becomes):
  pixels = 'yuv444p' if codec == 'libx264' else 'yuv420p'
  source = film(tmp_path / 'in.mkv', size=(33, 19), codec=codec, pixels=pixels)
  target = tmp_path / f'out.{suffix}'
  done = videos.restore(source, target, same, batch=4)
  with av.open(str(target)) as container:
    context = container.streams.video[0].codec_context
    assert (context.width, context.height) == (33, 19)
    assert context.codec.canonical_name == becomes
  assert error_of(target, [x for _, x in decoded(source)]) < 3
  notes = ' '.join(done.notes)
  assert ('ffv1 became' in notes) == (codec == 'ffv1')
  assert ('4:4:4' in notes) == (becomes == 'h264' and codec != 'libx264')


@pytest.mark.parametrize('suffix, turn', [
    ('mkv', (90,)), ('mkv', (180,)), ('mkv', (270,)), ('mov', (90,)),
    ('mp4', (90,)), ('mp4', (180,)), ('mp4', (270,)), ('mp4', (0, True)),
    ('mp4', (0, False, True)), ('mp4', (90, True)), ('mp4', (270, True))])
def test_turned_films(tmp_path, suffix, turn):
  source = film(tmp_path / f'in.{suffix}', turn=turn)
  with av.open(str(source)) as container:
    frame = next(container.decode(video=0))
  matrix = video_writing.display_matrix(frame)
  upright = np.rot90(picture(0, (32, 18)), turn[0] // 90)
  seen = []

  def brighter(blur):
    seen.append(blur)
    return blur / 2 + 0.5

  videos.restore(source, tmp_path / f'out.{suffix}', brighter, batch=1)
  if len(turn) == 1:
    assert np.abs(seen[0][0] * 255 - upright).mean() < 6
  if turn[0] in (90, 270):
    assert seen[0].shape == (1, 32, 18, 3)
  with av.open(str(tmp_path / f'out.{suffix}')) as container:
    frame = next(container.decode(video=0))
    assert video_writing.display_matrix(frame) == matrix and any(matrix)
  expected = [x / 2 + 127 for _, x in decoded(source)]
  assert error_of(tmp_path / f'out.{suffix}', expected) < 2


def test_matroska_knows_no_mirrors(tmp_path):
  source = film(tmp_path / 'in.mp4', turn=(0, True))
  done = videos.restore(source, tmp_path / 'out.mkv', same)
  assert done.notes == ('matroska cannot store that it is mirrored',)


def test_mirrors_are_those_of_players():
  x = np.arange(6).reshape(2, 3, 1)
  one = 1 << 16
  for matrix, expected in [
      ((-one, 0, 0, 0, one, 0, 0, 0, 1), x[:, ::-1]),
      ((one, 0, 0, 0, -one, 0, 0, 0, 1), x[::-1]),
      ((0, one, 0, one, 0, 0, 0, 0, 1), x.swapaxes(0, 1)),
      # Turned right by 90 degrees: (x, y) goes to (-y, x).
      ((0, one, 0, -one, 0, 0, 0, 0, 1), np.rot90(x, -1)),
      ((one, one, 0, -one, one, 0, 0, 0, 1), x)]:
    turned = video_reading.upright(x, matrix)
    np.testing.assert_array_equal(turned, expected)
    np.testing.assert_array_equal(video_reading.stored(turned, matrix), x)


@pytest.mark.parametrize('name', ['bt709', 'bt601', 'full', 'ten bits'])
def test_colours_and_their_tags(tmp_path, name):
  space, full, pixels = {
      'bt709': (1, 1, 'yuv420p'), 'bt601': (5, 1, 'yuv420p'),
      'full': (1, 2, 'yuv420p'), 'ten bits': (9, 1, 'yuv420p10le')}[name]
  tags = {'colorspace': space, 'color_range': full, 'color_trc': 1,
          'color_primaries': 9}
  source = film(tmp_path / 'in.mp4', pixels=pixels, tags=tags)
  done = videos.restore(source, tmp_path / 'out.mp4', same)
  assert done.notes == ()
  with av.open(str(source)) as old, av.open(str(tmp_path / 'out.mp4')) as new:
    a, b = (c.streams.video[0].codec_context for c in (old, new))
    assert {key: getattr(b, key) for key in tags} == tags
    assert a.pix_fmt == b.pix_fmt
    assert ('10' in a.pix_fmt) == ('10' in pixels)
  assert error_of(tmp_path / 'out.mp4', [x for _, x in decoded(source)]) < 3


def test_what_hevc_tells_of_its_display(tmp_path):
  source = film(
      tmp_path / 'in.mp4', codec='libx265', size=(64, 64), pixels='yuv420p10le',
      tags={'color_trc': 16, 'color_primaries': 9, 'colorspace': 9},
      options={'x265-params': 'log-level=error:hdr10=1:master-display=G(13250,'
               '34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)'})
  done = videos.restore(source, tmp_path / 'out.mp4', same)
  assert done.notes == (
      'the metadata of the mastering display are lost',)
  with av.open(str(tmp_path / 'out.mp4')) as container:
    context = container.streams.video[0].codec_context
    assert context.codec_tag == 'hvc1' and context.color_trc == 16
    assert context.pix_fmt == 'yuv420p10le'


@pytest.mark.parametrize('pixels', ['yuv420p', 'yuv420p10le', 'yuv444p'])
def test_frames_survive_the_way_to_pictures_and_back(tmp_path, pixels):
  source = film(tmp_path / 'in.mkv', size=(64, 48), pixels=pixels)
  with av.open(str(source)) as container:
    stream = container.streams.video[0]
    *_, frame = itertools.islice(container.decode(stream), 8)   # Not as dark.
    settings, _ = video_writing.choose(
        stream, frame, video_writing.CONTAINERS['.mkv'], None)
    back = video_writing.to_frame(video_writing.to_picture(frame), settings)
  levels = np.uint16 if '10' in pixels else np.uint8
  for ours, theirs in zip(back.planes, frame.planes, strict=True):
    ours, theirs = (
        np.frombuffer(plane, levels).reshape(plane.height, -1)[:, :plane.width]
        for plane in (ours, theirs))
    # PyAV 18 hides where the samples of colours lie.
    limit = 0.5 if hasattr(frame, 'chroma_location') else 3
    assert np.abs(ours.astype(int) - theirs).mean() < limit


@pytest.mark.parametrize('pixels, note', [
    ('gray', ''), ('rgb24', ''), ('rgba', 'transparency is lost'),
    ('rgb48be', '16 bits a colour became 10')])
def test_pixels_that_are_no_yuv(tmp_path, pixels, note):
  source = film(tmp_path / 'in.mov', codec='png', pixels=pixels)
  done = videos.restore(source, tmp_path / 'out.mp4', same)
  assert done.notes[0] == 'png became h264'
  assert list(done.notes[1:]) == ([note] if note else [])
  assert error_of(tmp_path / 'out.mp4', [x for _, x in decoded(source)]) < 4


def test_a_window_has_the_neighbours(tmp_path):
  source = film(tmp_path / 'in.mp4', range(0, 6 * 512, 512))
  seen = []

  def last(blur):
    seen.extend(blur.reshape(*blur.shape[:3], 5, 3)[..., 2].mean((1, 2)))
    return blur[..., 6:9]

  done = videos.restore(source, tmp_path / 'out.mp4', last, window=5, batch=4)
  assert done.frames == 6 and len(seen) == 8       # Two to fill the batch.
  levels = np.array(seen[:6])[:, 2]
  assert (np.diff(levels) > 0.04).all()
  for i in range(6):
    around = np.clip(np.arange(i - 2, i + 3), 0, 5)
    np.testing.assert_array_equal(seen[i], levels[around])
  np.testing.assert_array_equal(seen[7], seen[5])


def test_a_part_of_the_time(tmp_path):
  source = film(tmp_path / 'in.mp4', sound='aac')
  videos.restore(source, tmp_path / 'out.mp4', same, start=0.1, end=0.3)
  whole = times(source)
  assert times(tmp_path / 'out.mp4') == pytest.approx(
      [time - 0.1 for time in whole if 0.1 <= time < 0.3], abs=1e-4)
  theirs = packets(source, 'audio')
  ours = packets(tmp_path / 'out.mp4', 'audio')
  wanted = [row for row in theirs if 4800 <= row[0] < 14400]
  assert [row[2] for row in ours] == [row[2] for row in wanted]
  assert [row[0] + 4800 for row in ours] == [row[0] for row in wanted]
  with pytest.raises(errors.UserError, match='no frame there that can be'):
    videos.restore(source, tmp_path / 'no.mp4', same, start=8)


def test_what_else_is_in_the_file(tmp_path):
  place = {'title': 'Sea', 'location': '+48.1000+011.5000/',
           'creation_time': '2026-01-02T03:04:05.000000Z'}
  source = film(tmp_path / 'in.mp4', metadata=place, sound='aac')
  videos.restore(source, tmp_path / 'a.mp4', same)
  videos.restore(source, tmp_path / 'b.mp4', same, strip_gps=True)
  with av.open(str(tmp_path / 'a.mp4')) as container:
    assert place.items() <= container.metadata.items()
  with av.open(str(tmp_path / 'b.mp4')) as container:
    assert not [key for key in container.metadata if 'location' in key]
    assert container.metadata['title'] == 'Sea'


def test_subtitles_and_chapters(tmp_path):
  plain = film(tmp_path / 'plain.mkv', sound='aac')
  (tmp_path / 'a.srt').write_text(
      '1\n00:00:00,100 --> 00:00:00,300\nThe sea, the sea!\n')
  source = tmp_path / 'in.mkv'
  chapter = {'id': 1, 'start': 0, 'end': 200, 'metadata': {'title': 'One'},
             'time_base': fractions.Fraction(1, 1000)}
  with av.open(str(plain)) as one, av.open(str(tmp_path / 'a.srt')) as two, \
      av.open(str(source), 'w') as out:
    streams = {stream: out.add_stream_from_template(stream, opaque=True)
               for stream in (*one.streams, two.streams.subtitles[0])}
    streams[two.streams[0]].metadata['language'] = 'eng'
    out.set_chapters([chapter])
    for packet in [*one.demux(), *two.demux()]:
      if packet.size:
        packet.stream = streams[packet.stream]
        out.mux(packet)
  done = videos.restore(source, tmp_path / 'out.mkv', same)
  assert done.notes == ()
  assert packets(tmp_path / 'out.mkv', 'subtitles') == packets(
      source, 'subtitles') != []
  with av.open(str(tmp_path / 'out.mkv')) as container:
    assert container.chapters()[0]['metadata'] == {'title': 'One'}
    assert container.streams.subtitles[0].language == 'eng'
  done = videos.restore(source, tmp_path / 'out.mp4', same)
  assert [note for note in done.notes if 'subtitle (' in note]
  assert packets(tmp_path / 'out.mp4', 'audio')[0][2] == packets(
      source, 'audio')[0][2]


def test_a_tail_that_breaks_off(tmp_path):
  source = film(tmp_path / 'in.mkv', range(0, 40 * 512, 512), sound='pcm_s16le')
  whole = source.read_bytes()
  source.write_bytes(whole[:len(whole) * 6 // 10])
  done = videos.restore(source, tmp_path / 'out.mkv', same)
  assert 5 < done.frames < 40
  assert 'of 1.6 s' in ' '.join(done.notes)
  assert len(times(tmp_path / 'out.mkv')) == done.frames


def test_a_damaged_middle(tmp_path):
  source = film(tmp_path / 'in.mp4', range(0, 40 * 512, 512), codec='libx264',
                options={'movflags': 'faststart', 'g': '5'})
  data = bytearray(source.read_bytes())
  at = data.index(b'mdat') + (len(data) - data.index(b'mdat')) // 2
  data[at:at + 400] = b'\xff' * 400
  source.write_bytes(data)
  done = videos.restore(source, tmp_path / 'out.mp4', same)
  assert 20 < done.frames <= 40 and done.notes
  assert len(times(tmp_path / 'out.mp4')) == done.frames


def are_alike(path, other):
  """Whether two results differ only in what x264 does not repeat to the bit."""
  assert times(path) == times(other)
  assert packets(path, 'audio') == packets(other, 'audio')
  return error_of(path, [x for _, x in decoded(other)]) < 0.5


def interrupted_after(batches):
  """A function of frames that is interrupted, as by control-C."""
  left = [batches]

  def fn(blur):
    left[0] -= 1
    if left[0] < 0:
      raise KeyboardInterrupt
    return same(blur)

  return fn


def test_interrupted_work_goes_on(tmp_path):
  source = film(tmp_path / 'in.mp4', UNSTEADY, sound='aac')
  options = {'batch': 2, 'part': 4, 'window': 3}
  seen = []

  def middle(blur):
    seen.append(blur)
    return 1 - blur[..., 3:6]

  videos.restore(source, tmp_path / 'straight.mp4', middle, **options)
  straight = seen[:]
  seen.clear()
  stop = interrupted_after(5)
  target = tmp_path / 'out.mp4'
  with pytest.raises(KeyboardInterrupt):
    videos.restore(source, target, lambda x: stop(middle(x)), **options)
  assert not target.exists() and len(seen) == 6
  parts = tmp_path / '.out.mp4.unfinished'
  assert video_resume.finished(parts) == [4, 4]
  done = videos.restore(source, target, middle, **options)
  assert done.resumed == 8 and done.frames == 12 and not parts.exists()
  assert are_alike(target, tmp_path / 'straight.mp4')
  # What was done is not done again; what follows sees what it would have seen.
  np.testing.assert_array_equal(seen[:4] + seen[6:], straight)


@pytest.mark.parametrize('change', ['source', 'made_by', 'resume', 'broken'])
def test_other_work_begins_anew(tmp_path, change):
  source, target = film(tmp_path / 'in.mp4'), tmp_path / 'out.mp4'
  options = {'batch': 2, 'part': 4, 'made_by': 'one'}
  with pytest.raises(KeyboardInterrupt):
    videos.restore(source, target, interrupted_after(5), **options)
  expected = 0
  if change == 'source':
    film(source, UNSTEADY)
  elif change == 'broken':
    part = tmp_path / '.out.mp4.unfinished' / '000001.part'
    part.write_bytes(part.read_bytes()[:-1])
    expected = 4
  else:
    options |= {change: {'made_by': 'two', 'resume': False}[change]}
  done = videos.restore(source, target, same, **options)
  assert (done.resumed, done.frames) == (expected, 12)
  assert times(target) == times(source)


def test_nothing_is_left_of_work_without_a_part(tmp_path):
  source = film(tmp_path / 'in.mp4')
  with pytest.raises(KeyboardInterrupt):
    videos.restore(source, tmp_path / 'out.mp4', interrupted_after(1))
  assert [path.name for path in tmp_path.iterdir()] == ['in.mp4']


def test_killed_work_goes_on(tmp_path):
  source = film(tmp_path / 'in.mp4', sound='aac')
  target = tmp_path / 'out.mp4'
  code = '''
import os, signal, sys
from deblur_jax.media import videos
def fn(blur, calls=[]):
  calls.append(1)
  if len(calls) == 5: os.kill(os.getpid(), signal.SIGKILL)
  return blur
videos.restore(sys.argv[1], sys.argv[2], fn, batch=2, part=4)
'''
  process = subprocess.run([sys.executable, '-c', code, source, target],
                           cwd=pathlib.Path(__file__).parents[2])
  assert process.returncode == -9 and not target.exists()
  done = videos.restore(source, target, same, batch=2, part=4)
  assert done.resumed == 8
  videos.restore(source, tmp_path / 'straight.mp4', same, batch=2, part=4)
  assert are_alike(target, tmp_path / 'straight.mp4')


def test_memory_does_not_grow_with_the_length(tmp_path, monkeypatch):
  source = film(tmp_path / 'in.mp4', range(0, 60 * 512, 512))
  alive, most = set(), [0]
  convert = video_writing.to_picture

  def counted(frame):
    x = convert(frame)
    weakref.finalize(x, alive.discard, id(x))
    alive.add(id(x))
    most[0] = max(most[0], len(alive))
    return x

  monkeypatch.setattr(video_writing, 'to_picture', counted)
  middle = lambda blur: blur[..., 3:6]
  done = videos.restore(
      source, tmp_path / 'out.mp4', middle, batch=4, window=3)
  assert done.frames == 60 and 4 <= most[0] <= 4 + 3 and len(alive) <= 1


def test_two_at_once_are_refused(tmp_path):
  source, target = film(tmp_path / 'in.mp4'), tmp_path / 'out.mp4'

  def again(blur):
    with pytest.raises(errors.UserError, match='Another process is writing'):
      videos.restore(source, target, same)
    return blur

  assert videos.restore(source, target, again, batch=12).frames == 12


def test_messages(tmp_path):
  source = film(tmp_path / 'in.mp4', range(0, 1024, 512), sound='aac')
  (tmp_path / 'text.mp4').write_text('not a film')
  (tmp_path / 'list.mp4').write_text(
      '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nin.mp4\n')
  film(tmp_path / 'there.mp4', [0])
  (tmp_path / 'folder.mp4').mkdir()
  (tmp_path / 'link.mp4').symlink_to(source)
  before = sorted(tmp_path.iterdir())

  def refuses(match, first='in.mp4', second='new.mp4', **options):
    with pytest.raises(errors.UserError, match=match) as error:
      videos.restore(tmp_path / first, tmp_path / second, same, **options)
    assert '\n' not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before

  refuses('No file .*no.mp4', first='no.mp4')
  refuses('text.mp4 is no video that can be read', first='text.mp4')
  refuses('list.mp4 is no video that can be read', first='list.mp4')
  refuses('new.avi; end it in .mp4, .m4v', second='new.avi')
  refuses('is the video itself', second='in.mp4', overwrite=True)
  refuses('is the video itself', second='link.mp4', overwrite=True)
  refuses('there.mp4 exists already', second='there.mp4')
  refuses('folder.mp4 is a folder', second='folder.mp4', overwrite=True)
  refuses('webm cannot hold the sound of the source .aac.*.mkv',
          second='new.webm')
  refuses('Cannot make .*in.mp4/deep', second='in.mp4/deep/new.mp4')
  refuses('batch=4, window=2', window=2)
  refuses('crf=70 is not in 0 to 51', crf=70)
  refuses('From 2 s to 1 s there is nothing', start=2, end=1)
  refuses('32x18 pixels; more than 9 are refused', max_pixels=9)
  # What a link points to is written.
  (tmp_path / 'other.mp4').symlink_to(tmp_path / 'there.mp4')
  videos.restore(source, tmp_path / 'other.mp4', same, overwrite=True)
  assert (tmp_path / 'other.mp4').is_symlink()
  assert len(times(tmp_path / 'there.mp4')) == 2


def test_what_comes_up_meanwhile_is_not_written_over(tmp_path):
  source, target = film(tmp_path / 'in.mp4', [0, 512]), tmp_path / 'new.mp4'

  def slow(batch):
    target.write_text('mine')
    return batch

  with pytest.raises(errors.UserError, match='new.mp4 exists already'):
    videos.restore(source, target, slow)
  assert target.read_text() == 'mine'


def test_a_folder_that_cannot_be_written(tmp_path):
  if not pathlib.Path('/proc/self').is_dir():
    pytest.skip('no folder that even root may not write to')
  source = film(tmp_path / 'in.mp4', [0])
  with pytest.raises(errors.UserError, match=r'Cannot make /proc/\d+/.out.mp4'):
    videos.restore(source, '/proc/self/out.mp4', same)


def test_no_room(tmp_path):
  resource = pytest.importorskip('resource')
  source = film(tmp_path / 'in.mp4', sound='aac')
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    with pytest.raises(errors.UserError, match='Cannot write .*File'):
      videos.restore(source, tmp_path / 'out.mp4', same)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert not (tmp_path / 'out.mp4').exists()
  assert videos.restore(source, tmp_path / 'out.mp4', same).resumed == 12


def test_a_function_of_another_shape(tmp_path):
  source = film(tmp_path / 'in.mp4', [0])
  with pytest.raises(ValueError, match=r'shape \(4, 18, 32, 3\), got \(4, 9'):
    videos.restore(source, tmp_path / 'out.mp4', lambda x: x[:, ::2])


def test_names():
  assert videos.is_video('a/B.MP4') and not videos.is_video('a.png')
  assert videos.target_suffix('a.MOV') == '.mov'
  assert videos.target_suffix('a.avi') == '.mkv'
