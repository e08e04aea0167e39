"""Made pairs: which, of what, the same after a kill, from threads and Beam."""

import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from deblur_jax import blur as blurs
from deblur_jax import data, errors
from deblur_jax.data import images, make_blur, pair_writer, verify

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOTION = dict(frames=5, shift=8.0)


def film(folder, count, *, seed=0, size=(40, 56), name='{}'):
  """A camera that moves to the right over a picture, two pixels a frame."""
  height, width = size
  rng = np.random.default_rng(seed)
  wide = rng.uniform(0, 255, (height, width + 2 * count, 3))
  for axis in (0, 1, 1):
    wide = (wide + np.roll(wide, 1, axis)) / 2
  folder.mkdir(parents=True, exist_ok=True)
  for i in range(count):
    frame = np.rint(wide[:, 2 * i:2 * i + width]).astype(np.uint8)
    Image.fromarray(frame).save(folder / f'{name.format(i)}.png')
  return folder


def contents(folder):
  """{path: bytes} of all files, hidden ones included."""
  return {path.relative_to(folder).as_posix(): path.read_bytes()
          for path in sorted(folder.rglob('*')) if path.is_file()}


def make(plan, out, **kwargs):
  """(number of pairs made, the manifest, the source of what is there)."""
  made = pair_writer.write(plan, out, **kwargs)
  manifest = json.loads((out / 'manifest.json').read_text())
  split = kwargs.get('split', 'train')
  return made, manifest['splits'][split], data.open_source(
      name='gopro', root=out, split=split, subset=plan.subset)


def program(*args, **kwargs):
  """python -m experiments.make_pairs with flags."""
  return subprocess.run(
      [sys.executable, '-m', 'experiments.make_pairs', *map(str, args)],
      cwd=ROOT, capture_output=True, text=True, **kwargs)


@pytest.mark.parametrize('gamma', [1.0, 2.2])
def test_frames_are_averaged_as_gopro_was(tmp_path, gamma):
  # '2' comes before '10', so that these 22 are in order of their numbers.
  film(tmp_path / 'in', 22)
  plan = make_blur.from_frames(tmp_path / 'in', gamma=gamma)
  made, manifest, source = make(plan, tmp_path / 'out')
  assert made == 3 == len(source.names) == manifest['count']
  assert plan.subset == {1.0: 'blur', 2.2: 'blur_gamma'}[gamma]
  for i, entry in enumerate(manifest['pairs'].values()):
    assert entry == {'first_frame': 7 * i, 'frames': 7,
                     'sharp_frame': 7 * i + 3, 'file': f'{7 * i + 3}.png'}
    shots = np.stack([images.read(tmp_path / f'in/{j}.png')
                      for j in range(7 * i, 7 * i + 7)])
    pair = source.read(i)
    np.testing.assert_array_equal(pair['sharp'], shots[3])
    golden = ((shots / 255) ** gamma).mean(0) ** (1 / gamma) * 255
    np.testing.assert_allclose(pair['blur'], golden, atol=0.501)


def test_random_windows_are_disjoint_and_repeat(tmp_path):
  for sequence in ('a', 'b'):
    film(tmp_path / 'in' / sequence, 60, size=(8, 8), name='{:05d}')
  plan = make_blur.from_frames(tmp_path / 'in', window=(3, 9), seed=4)
  again = make_blur.from_frames(tmp_path / 'in', window=(3, 9), seed=4)
  assert plan.sources == again.sources
  lengths = [s['frames'] for s in plan.sources.values()]
  assert set(lengths) == {3, 5, 7, 9}
  for sequence in ('a', 'b'):
    these = [s for n, s in plan.sources.items() if n.startswith(f'{sequence}/')]
    end = 0
    for source in these:
      assert source['first_frame'] == end
      end += source['frames']
    assert 57 < end <= 60
  other = make_blur.from_frames(tmp_path / 'in', window=(3, 9), seed=5)
  assert lengths != [s['frames'] for s in other.sources.values()]


def test_photos(tmp_path, picture_folder):
  folder = pathlib.Path(picture_folder)
  (folder / 'more').mkdir()
  Image.new('RGB', (64, 48), (90, 50, 10)).save(folder / 'more/gray.png')
  plan = make_blur.from_photos(
      folder, kind='dynamic_scene', options=MOTION, per_photo=2)
  made, manifest, source = make(plan, tmp_path / 'out')
  assert made == 8 and plan.subset == 'blur_gamma'
  assert list(manifest['pairs'])[:2] == ['more/000000', 'more/000001']
  assert manifest['parameters']['options'] == {
      'frames': 5, 'shift': 8.0, 'rotation': 0.02, 'zoom': 0.01,
      'object_shift': 12.0, 'gamma': 2.2}
  for i, name in enumerate(source.names):
    made_of = manifest['pairs'][name]
    photo = images.read(f'{folder / made_of["photo"]}.png')
    pair = source.read(i)
    np.testing.assert_array_equal(pair['sharp'], photo)
    if 'gray' not in made_of['photo']:
      assert np.abs(pair['blur'].astype(int) - photo).max() > 20
  first, second = source.read(2)['blur'], source.read(3)['blur']
  assert np.abs(first.astype(int) - second).max() > 20
  linear = make_blur.from_photos(
      folder, kind='dynamic_scene', options={'gamma': 1})
  assert linear.subset == 'blur'
  mixed = [make_blur.from_photos(folder, kind='mixture', options={
      'parts': [dict(kind='disk', size=9, radius=(1, 4), gamma=gamma),
                dict(kind='line', size=9, length=(1, 9), gamma=1)]})
           for gamma in (1, 2.2)]
  assert [plan.subset for plan in mixed] == ['blur', 'blur_gamma']


@pytest.mark.parametrize('kind', sorted(blurs.BLURS))
def test_every_blur_is_planned_with_its_defaults(kind, picture_folder):
  """Which traces the blur of the smallest photo."""
  plan = make_blur.from_photos(picture_folder, kind=kind)
  assert len(plan.sources) == 3 and plan.subset == 'blur_gamma'


# One by a kernel, and one by a part of its own for each; `test_photos` has one
# of several frames.
@pytest.mark.parametrize('kind', ['line', 'mixture'])
def test_blurs_make_pairs(kind, tmp_path, picture_folder):
  count = 3
  if kind == 'line':
    # Of another size; it comes last.
    Image.new('RGB', (40, 32), (90, 50, 10)).save(f'{picture_folder}/under.png')
    count = 4
  plan = make_blur.from_photos(picture_folder, kind=kind)
  made, _, source = make(plan, tmp_path / 'out')
  assert made == count
  if kind == 'line':
    np.testing.assert_array_equal(
        source.read(3)['sharp'], np.tile(np.uint8([90, 50, 10]), (32, 40, 1)))
  pair = source.read(0)
  assert pair['blur'].shape == pair['sharp'].shape
  assert (pair['blur'] != pair['sharp']).any()


def test_the_number_of_threads_changes_nothing(tmp_path, picture_folder):
  plan = make_blur.from_photos(
      picture_folder, kind='dynamic_scene', options=MOTION)
  for workers in (1, 3):
    done = []
    pair_writer.write(plan, tmp_path / f'{workers}', workers=workers,
                      on_pair=done.append)
    assert done == [1, 2, 3]
  assert contents(tmp_path / '1') == contents(tmp_path / '3')


def test_pairs_without_a_manifest_are_not_taken_for_new_ones(tmp_path):
  film(tmp_path / 'in', 21)
  out = tmp_path / 'out'
  pair_writer.write(make_blur.from_frames(tmp_path / 'in'), out)
  (out / pair_writer.MANIFEST).unlink()
  other = make_blur.from_frames(tmp_path / 'in', window=(5, 5))
  with pytest.raises(errors.UserError,
                     match='train exists, but .* does not list it'):
    pair_writer.write(other, out)
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.UserError, match='Cannot make .*file: File exists'):
    pair_writer.write(other, tmp_path / 'file')


def test_finished_pairs_are_checked_and_kept(tmp_path):
  film(tmp_path / 'in', 21)
  plan = make_blur.from_frames(tmp_path / 'in')
  out = tmp_path / 'out'
  assert pair_writer.write(plan, out) == 3
  whole = contents(out)
  assert pair_writer.write(plan, out) == 0
  blur = out / 'train/in/blur_gamma'
  damaged = bytearray((blur / '000001.png').read_bytes())
  damaged[len(damaged) // 2] ^= 1
  (blur / '000001.png').write_bytes(damaged)
  (out / 'train/in/sharp/000002.png').unlink()
  assert pair_writer.write(plan, out) == 2
  assert contents(out) == whole


KILLED = '''
import os, signal
from deblur_jax.data import make_blur, pair_writer
plan = make_blur.{plan}
pair_writer.write(plan, {undisturbed!r})
from deblur_jax.ops import atomic_files
write = atomic_files.write
def dying(path, content, **options):
  if path.name == '000003.png':
    path.with_name('.' + path.name + '.part').write_bytes(content[:99])
    os.kill(os.getpid(), signal.SIGKILL)
  write(path, content, **options)
atomic_files.write = dying
pair_writer.write(plan, {out!r}, workers=1)
'''


def test_goes_on_after_kill_9(tmp_path, picture_folder):
  flags = [f'--photos={picture_folder}', '--kind=gaussian_process',
           '--option=size=9', '--per_photo=2']
  plan = (f'from_photos({picture_folder!r}, kind="gaussian_process", '
          'options=dict(size=9), per_photo=2)')
  out, undisturbed = tmp_path / 'out', tmp_path / 'undisturbed'
  code = KILLED.format(plan=plan, out=str(out), undisturbed=str(undisturbed))
  killed = subprocess.run(
      [sys.executable, '-c', code], cwd=ROOT, capture_output=True)
  assert killed.returncode == -signal.SIGKILL, killed.stderr
  left = json.loads((out / 'manifest.json').read_text())
  assert not left['splits']['train']['finished']
  assert len(list(out.rglob('00000*.png'))) == 6    # three pairs, and
  assert len(list(out.rglob('.000003.png.part'))) == 1

  done = program(*flags, f'--out={out}')
  assert done.returncode == 0, done.stderr
  assert f'({left["splits"]["train"]["count"] - 3} of them' in done.stdout
  again = contents(out)
  assert again == contents(undisturbed)
  assert json.loads(again['manifest.json'])['splits']['train']['finished']


def test_a_set_whose_manifest_has_a_margin_of_0_is_that_without(
    tmp_path, picture_folder):
  """It was recorded while it was an option of one blur."""
  out = tmp_path / 'out'
  plan = lambda **more: make_blur.from_photos(
      picture_folder, kind='line', options={'size': 9, 'length': (1, 9)} | more)
  pair_writer.write(plan(), out)
  manifest = json.loads((out / 'manifest.json').read_text())
  manifest['splits']['train']['parameters']['options']['margin'] = 0
  (out / 'manifest.json').write_text(json.dumps(manifest))
  pair_writer.write(plan(), out)
  with pytest.raises(errors.UserError, match='margin is None there, 4 now'):
    pair_writer.write(plan(margin=4), out)


def test_another_command_is_refused_with_the_difference(tmp_path):
  film(tmp_path / 'in', 14)
  out = tmp_path / 'out'
  plan = lambda **kwargs: make_blur.from_frames(tmp_path / 'in', **kwargs)
  pair_writer.write(plan(), out)
  whole = contents(out)
  for kwargs, words in [
      (dict(gamma=1.0), 'gamma is 2.2 there, 1.0 now'),
      (dict(window=(7, 9)), r'window is \[7, 7\] there, \[7, 9\] now'),
      (dict(seed=1), 'seed is 0 there, 1 now')]:
    with pytest.raises(errors.UserError, match=words):
      pair_writer.write(plan(**kwargs), out)
  film(tmp_path / 'in', 21)
  with pytest.raises(errors.UserError, match='2 pairs there, 3 now'):
    pair_writer.write(plan(), out)
  assert contents(out) == whole
  # Another split is another set.
  made, manifest, _ = make(plan(gamma=1.0), out, split='test')
  assert made == 3 and manifest['parameters']['gamma'] == 1.0
  assert contents(out).items() >= {
      name: file for name, file in whole.items() if 'train/' in name}.items()


def test_a_response_curve(tmp_path):
  film(tmp_path / 'in', 7)
  levels = np.linspace(0, 1, 256)
  bgr = np.stack([levels, levels ** 2.2, levels ** 3], axis=-1)[:, None]
  np.save(tmp_path / 'crf.npy', bgr.astype(np.float32))
  plan = make_blur.from_frames(
      tmp_path / 'in', response=tmp_path / 'crf.npy')
  _, manifest, source = make(plan, tmp_path / 'out')
  assert manifest['parameters']['response'] == 'crf.npy'
  assert plan.subset == 'blur_gamma'
  shots = np.stack(
      [images.read(tmp_path / f'in/{i}.png') for i in range(7)]) / 255
  blur = source.read(0)['blur']
  for channel, gamma in enumerate([3, 2.2, 1]):
    golden = (shots[..., channel] ** gamma).mean(0) ** (1 / gamma) * 255
    np.testing.assert_allclose(blur[..., channel], golden, atol=0.51)


def test_real_film(tmp_path, real_data):
  plan = make_blur.from_frames(real_data / 'video/davis_soapbox')
  wanted = dict(list(plan.sources.items())[::7])
  plan = plan._replace(sources=wanted, works=plan.works[::7])
  made, _, source = make(plan, tmp_path)
  assert made == 2 and len(make_blur.from_frames(
      real_data / 'video/davis_soapbox').sources) == 14
  report = verify.full(source, crop=256)
  assert report.problems == [] and report.slope > 0.25
  np.testing.assert_array_equal(
      source.read(1)['sharp'],
      images.read(real_data / 'video/davis_soapbox/00052.jpg'))


def save(tmp_path, curve):
  """A curve as a file."""
  np.save(tmp_path / 'crf.npy', curve)
  return tmp_path / 'crf.npy'


def test_messages(tmp_path, picture_folder):
  def refuses(match, call, *args, **kwargs):
    with pytest.raises(errors.UserError, match=match):
      call(*args, **kwargs)

  frames, photos = make_blur.from_frames, make_blur.from_photos
  folder = film(tmp_path / 'in', 10)
  refuses('No folder', frames, tmp_path / 'none')
  refuses('Sequence in: A window of 11 frames is longer than .* of 10;',
          frames, folder, window=(11, 11))
  refuses('odd number of frames .* got 8 to 8', frames, folder, window=(8, 8))
  refuses('gamma must be a number above 0, got 0', frames, folder, gamma=0.0)
  refuses('Cannot read a response curve from .*crf.npy: ',
          frames, folder, response=tmp_path / 'crf.npy')
  refuses(r'crf.npy: A response curve is a table .* got \[255, 3\]', frames,
          folder, response=save(tmp_path, np.ones((255, 3))))
  refuses('crf.npy: A response curve must rise', frames, folder,
          response=save(tmp_path, np.ones(256)))
  refuses('is inside of', pair_writer.write, frames(folder), folder / 'out')
  refuses("Unknown split 'val'", pair_writer.write, frames(folder),
          tmp_path / 'out', split='val')
  refuses("Unknown blur 'dynamic'", photos, picture_folder, kind='dynamic')
  refuses('frames must be odd', photos, picture_folder, kind='dynamic_scene',
          options=dict(frames=4))
  refuses("shift must be a number, got 'far'", photos, picture_folder,
          kind='dynamic_scene', options=dict(shift='far'))
  refuses('per_photo must be 1 or more, got 0', photos, picture_folder,
          kind='dynamic_scene', per_photo=0)
  (tmp_path / 'nothing').mkdir()
  for make_plan in (frames, lambda root: photos(root, kind='dynamic_scene')):
    refuses('no pictures there', make_plan, tmp_path / 'nothing')
  assert not (tmp_path / 'out').exists()
  (tmp_path / 'out').mkdir()
  for text, match in (('{', 'is not JSON'), ('[]', 'of version 1')):
    (tmp_path / 'out/manifest.json').write_text(text)
    refuses(match, pair_writer.write, frames(folder), tmp_path / 'out')


FLAGS = [
    ([], 'Give either --photos or --frames'),
    (['--frames=a', '--photos=b'], 'Give either --photos or --frames'),
    (['--photos=a'], '--kind is missing'),
    (['--photos=a', '--gamma=1'], '--gamma does not work with --photos'),
    (['--frames=a', '--kind=x'], '--kind does not work with --frames'),
    (['--frames=a', '--window=7,x'], 'write --window=7 or --window=7,13'),
    (['--frames=a', '--gamma=1', '--response=b'], '--gamma or --response'),
    (['--frames=a', '--straight_above=250'],
     '--straight_above needs --response'),
    (['--photos=a', '--kind=b', '--option=c'], 'write --option=key=value'),
]


def test_flags():
  # In a process of its own: programs may not share the names of their flags.
  code = f'''
from absl import flags
from absl.testing import flagsaver
from deblur_jax import errors
from experiments import make_pairs
for words in {[words for words, _ in FLAGS]!r}:
  with flagsaver.flagsaver():
    flags.FLAGS(['make_pairs', '--out=o', *words])
    try:
      make_pairs.main([])
    except errors.UserError as error:
      print(error)
print(make_pairs._window(['7']), make_pairs._window(['7', '13']))
'''
  done = subprocess.run(
      [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
  *lines, windows = done.stdout.splitlines()
  assert len(lines) == len(FLAGS), done.stderr
  assert windows == '(7, 7) (7, 13)'
  for line, (_, message) in zip(lines, FLAGS, strict=True):
    assert message in line


def test_beam_makes_the_same_files(tmp_path, picture_folder):
  pytest.importorskip(
      'apache_beam', reason='the optional extra "beam" is not installed')
  film(tmp_path / 'in', 30)
  for i, plan in enumerate([
      make_blur.from_frames(tmp_path / 'in', window=(7, 13)),
      make_blur.from_photos(
          picture_folder, kind='dynamic_scene', options=MOTION)]):
    pair_writer.write(plan, tmp_path / f'threads{i}')
    pair_writer.write_with_beam(
        plan, tmp_path / f'beam{i}', options=['--runner=DirectRunner'])
    assert contents(tmp_path / f'beam{i}') == contents(tmp_path / f'threads{i}')
  with pytest.raises(errors.UserError, match='Beam does not take .*Nope'):
    pair_writer.write_with_beam(
        plan, tmp_path / 'no', options=['--runner=Nope'])


def test_without_beam(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  plan = make_blur.from_frames(film(tmp_path / 'in', 7))
  with pytest.raises(errors.UserError, match='deblur-jax.beam'):
    pair_writer.write_with_beam(plan, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_command(tmp_path):
  film(tmp_path / 'in/a', 21)
  film(tmp_path / 'in/b', 7, seed=1)
  done = program(f'--frames={tmp_path / "in"}', '--gamma=1',
                 f'--out={tmp_path / "out"}')
  assert (done.returncode, done.stdout) == (0, (
      f'4 pairs (4 of them new) are in {tmp_path / "out"}: '
      '--source=gopro --split=train --subset=blur\n')), done.stderr
