"""The command `deblur`: files, options, and one line for each mistake."""

import importlib.metadata
import io
import json
import os
import runpy
import shutil
import subprocess
import sys

import films
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import odd_pictures
import pytest
import run_folders
from PIL import Image
from skimage import measure

import deblur_jax
from deblur_jax import data, errors
from deblur_jax.app import cli, pace, prior_fit, restoring, sharpness
from deblur_jax.inference import tiling
from deblur_jax.media import exif, pictures
from deblur_jax.ops import precision
from deblur_jax.pretrained import convert, zoo
from deblur_jax.training import workdir

PHOTO = np.asarray(Image.fromarray(np.random.default_rng(0).integers(
    0, 256, (9, 12, 3), np.uint8)).resize((72, 54), Image.BICUBIC))


CONFIG = helpers.tiny(**{'nets.net': dict(
    name='multiscale', scales=1, blocks=0, features=4, residual=True)})


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a run whose network changes pictures slightly."""
  folder = tmp_path_factory.mktemp('run')
  run_folders.untrained(folder, CONFIG)
  return str(folder)


@pytest.fixture(scope='module')
def wild(tmp_path_factory):
  """The folder of a run whose results are rejected."""
  folder = tmp_path_factory.mktemp('wild')
  run_folders.untrained(folder, CONFIG, scale=30.0)
  return str(folder)


@pytest.fixture
def photo(tmp_path):
  path = tmp_path / 'photo.png'
  Image.fromarray(PHOTO).save(path)
  return path


def deblur(*argv):
  """Runs a command and returns its exit code."""
  with pytest.raises(SystemExit) as end:
    cli.main(list(map(str, argv)))
  return end.value.code or 0


def test_restore_is_the_default_command(run, photo, capsys):
  assert deblur(photo, '-m', run) == 0
  printed = capsys.readouterr()
  target = photo.with_name('photo_deblurred.png')
  assert printed.out.split() == [str(target)]
  assert f'{run} computes in float32.' in printed.err
  restored = np.asarray(Image.open(target))
  assert restored.shape == PHOTO.shape and not np.array_equal(restored, PHOTO)
  # The result exists now and is not replaced.
  assert deblur('restore', photo, '-m', run) == 2
  assert 'exists already' in capsys.readouterr().err
  for flag in ('--overwrite', '--skip-existing'):
    assert deblur('restore', photo, '-m', run, flag) == 0
  assert 'skipped' in capsys.readouterr().err


def test_a_folder_with_unusual_files(run, tmp_path, capsys):
  folder = tmp_path / 'in'
  (folder / 'sub').mkdir(parents=True)
  image = Image.fromarray(PHOTO)
  for name in ('good.jpg', '日本.png', '-rf.png', '$(x).png', 'sub/deep.png'):
    image.save(folder / name)
  good = (folder / 'good.jpg').read_bytes()
  (folder / 'empty.jpg').write_bytes(b'')
  (folder / 'text.png').write_text('no picture')
  (folder / 'cut.jpg').write_bytes(good[:len(good) // 2])
  (folder / 'sub' / 'loop').symlink_to(folder)
  out = tmp_path / 'out'
  assert deblur('restore', folder, '-o', out, '-m', run, '--json') == 1
  printed = capsys.readouterr()
  rows = {os.path.relpath(row['source'], folder): row
          for row in json.loads(printed.out)}
  assert {name for name, row in rows.items() if row['error']} == {
      'empty.jpg', 'text.png', 'cut.jpg'}
  for name, row in rows.items():
    assert '\n' not in (row['error'] or '') and 'Traceback' not in printed.err
    assert (out / name).exists() == (not row['error'])
  assert Image.open(out / 'sub' / 'deep.png').size == (72, 54)
  assert len(list(out.rglob('*.*'))) == 5
  (folder / 'notes.txt').write_text('is counted with those passed over')
  assert deblur(
      'restore', folder, '-o', out, '-m', run, '--skip-existing') == 1
  assert '3 of 8 files failed.' in capsys.readouterr().err


def test_a_video_of_five_seconds_keeps_its_sound(run, tmp_path, capsys):
  av = pytest.importorskip('av', reason='the extra "video" is missing')
  films.film(tmp_path / 'film.mp4', range(0, 125 * 512, 512), sound='aac')
  assert deblur('-m', run, tmp_path / 'film.mp4') == 0    # options first
  target = tmp_path / 'film_deblurred.mp4'
  assert capsys.readouterr().out.split() == [str(target)]
  sound = []
  for path in (tmp_path / 'film.mp4', target):
    with av.open(str(path)) as film:
      sound.append([bytes(packet) for packet in film.demux(audio=0)])
    with av.open(str(path)) as film:
      assert sum(1 for _ in film.decode(video=0)) == 125
  assert sound[0] == sound[1] and len(sound[0]) > 2


def test_stdin_to_stdout(run, photo):
  done = subprocess.run(
      [sys.executable, '-c', 'from deblur_jax.app import cli; cli.main()', '-',
       '-m', run], input=photo.read_bytes(), capture_output=True, check=True,
      cwd=helpers.ROOT)
  found = np.asarray(Image.open(io.BytesIO(done.stdout)))
  np.testing.assert_allclose(
      found.astype(int), deblur_jax.restore(PHOTO, model=run), atol=1)


def test_the_function_returns_the_form_of_its_input(run, photo):
  restored = deblur_jax.restore(PHOTO, model=run)
  assert restored.dtype == np.uint8 and restored.shape == PHOTO.shape
  as_float = deblur_jax.restore(PHOTO / np.float32(255), model=run)
  np.testing.assert_allclose(255 * as_float, restored, atol=0.51)
  image = deblur_jax.restore(Image.fromarray(PHOTO), model=run)
  np.testing.assert_array_equal(np.asarray(image), restored)
  path = deblur_jax.restore(photo, model=run)
  np.testing.assert_array_equal(np.asarray(Image.open(path)), restored)
  with pytest.raises(errors.UserError, match='are for paths'):
    deblur_jax.restore(PHOTO, model=run, out='x.png')
  with pytest.raises(
      errors.UserError, match='take overwrite=True or another out'):
    deblur_jax.restore(photo, model=run)


def _memory_map(folder):
  np.save(folder / 'photo.npy', PHOTO)
  return np.load(folder / 'photo.npy', mmap_mode='r')


@pytest.mark.parametrize('make, kind', [
    (_memory_map, np.ndarray), (lambda folder: jnp.asarray(PHOTO), jax.Array),
    (lambda folder: np.ma.masked_less(PHOTO, 9), np.ma.MaskedArray),
    (lambda folder: np.asmatrix(PHOTO[..., 0]), np.matrix),
    (lambda folder: (PHOTO / 255).astype(jnp.bfloat16), np.ndarray)])
def test_other_arrays(run, tmp_path, make, kind):
  x = make(tmp_path)
  before = np.array(x)
  restored = deblur_jax.restore(x, model=run)
  assert isinstance(restored, kind) and restored.dtype == x.dtype
  assert restored.shape == x.shape
  np.testing.assert_array_equal(np.asarray(x), before)
  same = deblur_jax.restore(before, model=run)
  np.testing.assert_array_equal(np.asarray(restored), np.asarray(same))
  if kind is np.ma.MaskedArray:
    np.testing.assert_array_equal(restored.mask, x.mask)


@pytest.mark.parametrize('x, message', [
    (np.zeros((3, 8, 9), np.uint8), r'channels last: x.transpose\(1, 2, 0\)'),
    (np.zeros((2, 8, 9, 3), np.uint8), 'give one picture after another'),
    (np.full((8, 9, 3), np.nan), 'this one has NaN or infinity'),
    (np.zeros((8, 9, 3), int), 'make it uint8, uint16 or floats'),
    ('https://example.org/a.jpg', 'is an address: save the picture first')])
def test_arrays_that_are_refused(x, message):
  with pytest.raises(errors.UserError, match=message) as caught:
    deblur_jax.restore(x)
  assert '\n' not in str(caught.value)


def test_convert(photo, tmp_path, capsys):
  theirs, model = tmp_path / 'theirs.safetensors', tmp_path / 'model'
  config = helpers.tiny(**{'nets.net.scales': 1})
  params = run_folders.untrained(tmp_path / 'run', config)
  convert.from_run(config, tmp_path / 'run', theirs)
  assert deblur('convert', theirs, '-o', model) == 0
  assert f'--model={model}/' in capsys.readouterr().out
  jax.tree.map(np.testing.assert_array_equal,
               zoo.load(model).state.params['net'], params)
  assert deblur('convert', photo, '-o', tmp_path / 'other') == 2
  printed = capsys.readouterr().err
  assert str(photo) in printed and printed.count('\n') == 1
  assert not (tmp_path / 'other').exists()


def test_export(run, tmp_path, capsys):
  assert deblur('export', '-m', run, '-o', tmp_path, '--kind=stablehlo',
                '--size=24x16', '--json') == 0
  constants = []
  row, = json.loads(capsys.readouterr().out, parse_constant=constants.append)
  assert not constants and (row['psnr'] is None or row['psnr'] > 80)
  assert row['errors'].keys() == {'24x16'} and row['errors']['24x16'] <= 1e-4
  assert os.path.getsize(row['path']) == row['bytes']
  mine = tmp_path / 'mine' / 'deblur.stablehlo' / 'notes.txt'
  mine.parent.mkdir(parents=True)
  mine.write_text('mine')
  assert deblur('export', '-m', run, '-o', tmp_path / 'mine', '--overwrite',
                '--kind=stablehlo', '--size=24x16') == 2
  assert 'is a folder, but no SavedModel' in capsys.readouterr().err
  assert mine.read_text() == 'mine'
  (tmp_path / 'deblur.onnx').write_text('mine')
  assert deblur('export', '-m', run, '-o', tmp_path) == 2
  assert 'take --overwrite or another -o.' in capsys.readouterr().err
  assert deblur('export', '-m', run, '-o', tmp_path, '--size=24') == 2
  assert 'write --size=640x480' in capsys.readouterr().err


@pytest.mark.parametrize('name, form', [
    ('sheet.png', 'PNG'), ('sheet.jpg', 'JPEG'), ('sheet.webp', 'WEBP')])
def test_the_suffix_decides_the_format_of_a_sheet(name, form, photo, tmp_path):
  Image.fromarray(np.dstack([PHOTO, 0 * PHOTO[..., 0]])).save(
      tmp_path / 'clear.png')
  assert deblur('compare', photo, tmp_path / 'clear.png', '-o',
                tmp_path / name) == 0
  sheet = Image.open(tmp_path / name)
  assert sheet.format == form
  # Transparent pixels are white.
  assert np.asarray(sheet)[60:200, 400:600].min() >= 250


def test_a_sheet_replaces_no_file_by_default(photo, tmp_path, capsys):
  other, there = tmp_path / 'other.png', tmp_path / 'there.png'
  shutil.copy(photo, other)
  there.write_bytes(b'mine')
  before = photo.read_bytes()
  for options, message in (
      (('-o', photo, '--overwrite'), 'photo.png is an input itself'),
      (('-o', there), 'exists already; take --overwrite'),
      (('-o', tmp_path / 'h.foo'), 'cannot be written as .foo'),
      (('-o', tmp_path / 'x.png', '--max-pixels=9'), '9 are refused')):
    assert deblur('compare', photo, other, *options) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count('\n') == 1
  assert photo.read_bytes() == before and there.read_bytes() == b'mine'
  assert deblur('compare', photo, other, '-o', there, '--overwrite') == 0
  assert Image.open(there).format == 'PNG'


def test_compare(tmp_path, photo, capsys):
  other = tmp_path / 'restored' / 'photo.png'    # as `-o restored/` names it
  other.parent.mkdir()
  Image.fromarray(PHOTO[::-1]).save(other)
  assert deblur('compare', photo, other, '-o', tmp_path / 'sheet.png') == 0
  assert Image.open(tmp_path / 'sheet.png').width > 2 * 72
  for shape in ((1, 1), (3, 4096), (4096, 3)):
    Image.fromarray(np.resize(PHOTO, (*shape, 3))).save(tmp_path / 'thin.png')
    assert deblur('compare', tmp_path / 'thin.png', tmp_path / 'thin.png',
                  '-o', tmp_path / 'sheet.png', '--overwrite') == 0
  Image.fromarray(PHOTO[1:]).save(other)
  assert deblur('compare', photo, other) == 2
  assert 'is 72x54, and' in capsys.readouterr().err


def test_colour_is_found_in_each_frame():
  rng = np.random.default_rng(0)
  gray = np.repeat(rng.random((4, 5, 3, 1)), 3, axis=-1).reshape(4, 5, 9)
  assert not restoring._has_colour(gray)
  gray[1, 2, 4] += 0.1
  assert restoring._has_colour(gray)


def test_doctor_finds_a_damaged_model(shipped, tmp_path, capsys, monkeypatch):
  """The other models are listed, too."""
  folder = tmp_path / 'models'
  shutil.copytree(shipped, folder)
  for suffix in ('json', 'safetensors'):
    shutil.copyfile(
        folder / f'{zoo.DEFAULT}.{suffix}', folder / f'bad.{suffix}')
  (folder / 'bad.json').write_text('{')
  _ship(folder, monkeypatch)
  assert deblur('models') == 2
  printed = capsys.readouterr()
  assert zoo.DEFAULT in printed.out and 'bad.json' in printed.err
  assert deblur('doctor', '--json') == 1
  findings = {row['name']: row for row in json.loads(capsys.readouterr().out)}
  assert not findings['model bad']['fine'] and findings['one forward']['fine']


def test_doctor(capsys):
  code = deblur('doctor', '--json')
  findings = {row['name']: row for row in json.loads(capsys.readouterr().out)}
  assert findings['one forward']['fine'] and findings['jax']['fine']
  assert findings[f'model {zoo.DEFAULT}']['fine']
  assert code == (0 if all(row['fine'] for row in findings.values()) else 1)


@pytest.mark.parametrize('argv, message', [
    (['nothing.jpg'], 'No file or folder nothing.jpg'),
    (['restore', ''], 'An input is empty'),
    (['/dev/null'], 'is a pipe or a device: pipe it to -'),
    (['-', '-o', 'x.mp4'], 'stdin is read as a picture; give a video by the'),
    (['--', '-x.jpg'], 'No file or folder -x.jpg'),
    (['README.md', '-o', 'x.png', '--suffix=y'], 'leave --suffix away'),
    (['restore', 'README.md', '-o', ''], '-o is empty'),
    (['rstore', 'x.jpg'],
     "No command and no file 'rstore'. Did you mean 'restore'?"),
    (['restore', '.', '--tile=x'], '--tile=x: write auto, 0, or pixels'),
    (['restore', '.', '--dtype=int4'], "Unknown --dtype 'int4'"),
    (['restore', '-', '--json'], '--json and - both use stdout'),
    (['models', 'nothing'], "No model 'nothing'"),
    (['prior', str(helpers.ROOT / 'Makefile'), '--task=denois'],
     "Did you mean 'denoise'"),
    (['prior', 'nothing.png', '--task=sr'], 'No file or folder nothing.png'),
    (['page', '--runs=nothing'], 'No folder nothing of runs'),
])
def test_mistakes_are_one_line_and_exit_code_2(argv, message, capsys):
  assert deblur(*argv) == 2
  printed = capsys.readouterr().err
  assert message in printed and printed.count('\n') == 1


def test_the_version(capsys, monkeypatch):
  monkeypatch.setattr(
      importlib.metadata, 'version', {'deblur-jax': '1.2.3'}.__getitem__)
  assert deblur('--version') == 0
  assert capsys.readouterr().out == 'deblur 1.2.3\n'

  def missing(name):
    raise importlib.metadata.PackageNotFoundError

  monkeypatch.setattr(importlib.metadata, 'version', missing)
  assert deblur('--version') == 2
  assert 'error: deblur-jax is not installed' in capsys.readouterr().err


def test_help_says_what_options_do(capsys):
  for argv, words in (
      ((), ('Makes blurred photos and videos sharp', '--version')),
      (('restore', '--help'), ('from EXIF, with all XMP, IPTC and comments',)),
      (('prior', '--help'), ('rounded up to a multiple of 10',))):
    deblur(*argv)
    printed = capsys.readouterr()
    text = ' '.join((printed.out + printed.err).split())
    assert all(one in text for one in words), text


def test_python_m(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['deblur_jax', 'nothing.jpg'])
  with pytest.raises(SystemExit) as end:
    runpy.run_module('deblur_jax', run_name='__main__')
  assert end.value.code == 2
  assert 'No file or folder nothing.jpg' in capsys.readouterr().err


def test_a_broken_picture_is_one_line_and_exit_code_1(run, capsys):
  assert deblur(helpers.ROOT / 'README.md', '-m', run) == 1
  precision, message = capsys.readouterr().err.splitlines()
  assert 'computes in float32' in precision and 'is no picture' in message


@pytest.mark.parametrize('options, message', [
    (('--region=0,0,60,90',), 'The region 0,0,60,90 crosses the border'),
    (('--ext=jpg',), 'The picture is partly transparent, which JPEG')])
def test_the_line_of_a_failure_names_its_file(
    run, tmp_path, options, message, capsys):
  for name in ('a.png', 'b.png'):
    Image.fromarray(np.dstack([PHOTO, PHOTO[..., 0]])).save(tmp_path / name)
  assert deblur(tmp_path, '-m', run, *options) == 1
  lines = capsys.readouterr().err.splitlines()
  for name in ('a.png', 'b.png'):
    assert any(line.startswith(f'error: {tmp_path / name}: {message}')
               for line in lines)


def test_the_line_of_a_failure_of_stdin(run, monkeypatch, capsys):
  monkeypatch.setattr(restoring, '_stdin', lambda: b'no picture')
  assert deblur('-', '-m', run) == 1
  assert 'error: stdin: the picture is no picture' in capsys.readouterr().err


@pytest.mark.parametrize('made, message', [
    (None, 'No config.json in'),
    ('weights.pth', "is no model: a model is a folder, or MAXIM's"),
    ({}, 'config.json is not the config of a run: it has no method'),
    ([], 'config.json is not the config of a run: it has no method'),
    (CONFIG | {'nets': {'net': {}}}, 'it has no nets.net.name'),
    (CONFIG, 'No checkpoint in')])
def test_the_model_is_checked_before_any_file(
    made, message, tmp_path, capsys):
  model, broken = tmp_path / 'model', tmp_path / 'broken.png'
  broken.write_bytes(b'never read')
  if made == 'weights.pth':
    model.write_bytes(b'x')
  elif made is not None:
    model.mkdir()
    workdir.write_json(
        model / workdir.CONFIG, made and {'format': workdir.FORMAT, **made})
  assert deblur(broken, '-m', model) == 2
  printed = capsys.readouterr()
  assert message in printed.err and printed.err.count('\n') == 1
  assert not printed.out


@pytest.mark.parametrize('options, message', [
    (('--tile=32',), 'tile must be 0, or at least 128'),
    (('--overlap=-1',), 'overlap must be at least 0'),
    (('-o', '/dev/null'), '/dev/null is there and is no folder'),
    (('-o', '/proc/nothing/'), 'Cannot write /proc/nothing: ')])
def test_options_are_checked_before_any_file(
    run, options, message, tmp_path, capsys):
  (tmp_path / 'broken.png').write_bytes(b'never read')
  model = run if options[0] != '-o' else 'runs/never_read'
  assert deblur(tmp_path, '-m', model, *options) == 2
  printed = capsys.readouterr().err
  assert message in printed and printed.count('\n') == 1


def test_the_time_is_estimated_before(
    run, photo, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv('DEBLUR_CACHE', str(tmp_path / 'cache'))
  pace.record(pace.key(run, 'auto'), 1e6, 1e6 / 30 * 72 * 54 / 1e6)
  assert deblur(photo, '-m', run) == 0
  precision = f'{run} computes in float32.\n'
  assert capsys.readouterr().err == (
      f'{precision}0.00389 megapixels take about 30 s.\n')
  assert deblur(photo, '-m', run, '--overwrite', '--strength=0') == 0
  assert capsys.readouterr().err == precision


def test_ctrl_c_lists_finished_files(
    run, photo, tmp_path, capsys, monkeypatch):
  shutil.copy(photo, tmp_path / 'second.png')
  read = pictures.read

  def interrupted(source, **options):
    if 'second' in str(source):
      raise KeyboardInterrupt    # as Ctrl-C does
    return read(source, **options)

  monkeypatch.setattr(pictures, 'read', interrupted)
  for number, flags in enumerate(((), ('--json',))):
    out = tmp_path / f'out{number}'
    assert deblur('restore', tmp_path, '-o', out, '-m', run, *flags) == 130
    printed = capsys.readouterr()
    assert printed.err.endswith('\nStopped; finished files are kept.\n')
    if flags:
      row, = json.loads(printed.out)
      assert row['target'] == str(out / 'photo.png')
    else:
      assert printed.out.split() == [str(out / 'photo.png')]
    assert (out / 'photo.png').exists()


def test_an_animated_picture_is_restored_frame_by_frame(run, tmp_path, capsys):
  frames = [Image.fromarray(PHOTO[::step]).resize((72, 54))
            for step in (1, -1)]
  frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:],
                 duration=[40, 90], loop=2, comment='by hand')
  assert deblur(tmp_path / 'a.gif', '-m', run) == 0
  assert 'animated, 2 frames as PNG' in capsys.readouterr().err
  with Image.open(tmp_path / 'a_deblurred.png') as image:
    assert (image.n_frames, image.info['loop']) == (2, 2)
    assert image.text == {'Comment': 'by hand'}
    for number, duration in enumerate((40, 90)):
      image.seek(number)
      assert image.info['duration'] == duration
      own, other = (
          np.abs(np.asarray(image.convert('RGB')).astype(int)
                 - np.asarray(frame)).mean()
          for frame in (frames[number], frames[1 - number]))
      assert own < other / 2
  assert deblur(tmp_path / 'a.gif', '-m', run, '--ext=webp') == 0
  assert 'its comment cannot be kept in WEBP' in capsys.readouterr().err
  assert deblur(tmp_path / 'a.gif', '-m', run, '--first-frame',
                '--overwrite') == 0
  assert 'only the first of 2 is taken' in capsys.readouterr().err
  with Image.open(tmp_path / 'a_deblurred.png') as image:
    assert image.n_frames == 1


@pytest.mark.parametrize('option, code, message', [
    ('--local=32', 1, 'no layer of this network averages over the image'),
    ('--crf=20', 2, '--crf is for videos, and no input is one')])
def test_options_without_effect_are_refused(
    run, photo, option, code, message, capsys):
  assert deblur(photo, '-m', run, option) == code
  assert message in capsys.readouterr().err
  assert [path.name for path in photo.parent.iterdir()] == [photo.name]


def test_options_have_an_effect_on_the_picture(run, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  Image.fromarray(PHOTO).save(
      '-rf.jpg', exif=odd_pictures.exif(orientation=1), quality=95)
  found = {}
  for name, options in {
      'plain': (), 'ensemble': ('--ensemble',), 'half': ('--dtype=bf16',)
  }.items():
    assert deblur('-rf.jpg', '-m', run, '--ext=png', f'--suffix=_{name}',
                  '--tile=64', '--overlap=16', '--strip-gps', *options) == 0
    image = Image.open(f'-rf_{name}.png')
    assert b'SECRET' not in image.info['exif']
    assert exif.orientation(image.info['exif']) == 1
    found[name] = np.asarray(image).astype(int)
  for name in ('ensemble', 'half'):
    difference = np.abs(found[name] - found['plain'])
    assert difference.max() > 0 and difference.mean() < 8


def test_pictures_with_little_content(run, tmp_path):
  """Their sizes and means are kept."""
  images = {
      'thin': PHOTO.reshape(3, -1, 3)[:, [0] * 4096],
      'one': PHOTO[:1, :1],
      'noise': np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8),
      **{name: np.broadcast_to(np.uint8(colour), (40, 40, 3)) for name, colour
         in {'brown': (33, 25, 23), 'black': 0, 'white': 255}.items()}}
  for name, image in images.items():
    Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / f'{name}.png')
  assert deblur('restore', tmp_path, '-m', run, '--tile=128',
                '--overlap=16') == 0
  for name, image in images.items():
    restored = np.asarray(Image.open(tmp_path / f'{name}_deblurred.png'))
    assert restored.shape == image.shape
    assert min(image.shape[:2]) < tiling.MEAN_WINDOW or tiling.agrees(
        restored / np.float32(255), image / np.float32(255),
        trust=tiling.MAX_MEAN_SHIFT + 1 / 255)


def test_too_many_pixels(run, photo, capsys):
  assert deblur(photo, '-m', run, f'--max-pixels={72 * 54 - 1}') == 1
  assert '`deblur restore --max-pixels` take more' in capsys.readouterr().err
  assert deblur(photo, '-m', run, f'--max-pixels={72 * 54}') == 0


def test_rejected_tiles_are_reported(wild, photo, tmp_path, capsys):
  assert deblur(photo, '-m', wild) == 0
  words = '1 of 1 tiles are left as they were'
  assert f'{photo}: {words}' in capsys.readouterr().err
  for x in (PHOTO, Image.fromarray(PHOTO), str(photo)):
    with pytest.warns(UserWarning, match=words) as warned:
      deblur_jax.restore(x, model=wild, **(
          {'out': tmp_path / 'new.png'} if isinstance(x, str) else {}))
    assert warned[0].filename == __file__


def test_a_sharp_photo_is_not_changed(run, photo, capsys):
  x = PHOTO / np.float32(255)
  effect = sharpness.blur_effect(x)
  assert 0 < effect < 1
  found = deblur_jax.restore(x, model=run, blur_threshold=effect - 0.01)
  assert np.abs(found - x).max() > 1e-3
  with pytest.warns(UserWarning, match='looks sharp .*; blur_threshold=0 rest'):
    found = deblur_jax.restore(x, model=run, blur_threshold=effect + 0.01)
  np.testing.assert_array_equal(found, x)
  assert deblur(photo, '-m', run, '--blur-threshold=1') == 0
  assert f'{photo}: left as it was' in capsys.readouterr().err
  np.testing.assert_array_equal(
      np.asarray(Image.open(photo.with_name('photo_deblurred.png'))), PHOTO)


def test_the_blur_effect_is_that_of_scikit_image():
  random = np.random.default_rng(0)
  photo = data.open_source(name='builtin', split='test').read(0)
  values = {}
  for side in ('sharp', 'blur'):
    image = photo[side] / np.float32(255)
    half = image[:image.shape[0] // 2 * 2, :image.shape[1] // 2 * 2]
    half = half.reshape(half.shape[0] // 2, 2, -1, 2, 3).mean((1, 3))
    expected = max(measure.blur_effect(one, channel_axis=-1)
                   for one in (image, half))
    values[side] = sharpness.blur_effect(image)
    np.testing.assert_allclose(values[side], expected, atol=1e-4)
  assert values['sharp'] < values['blur']
  assert sharpness.blur_effect(random.random((9, 40, 3), np.float32)) == 1


@pytest.mark.parametrize('name', ['photo.jpg', 'photo.png'])
def test_an_unchanged_photo_keeps_its_bytes(name, run, tmp_path):
  source = tmp_path / name
  Image.fromarray(PHOTO).save(source, quality=60)
  out = tmp_path / 'out'
  assert deblur(source, '-m', run, '--blur-threshold=1', '-o', out) == 0
  assert (out / name).read_bytes() == source.read_bytes()
  # Options of the file are applied also without restoration.
  assert deblur(source, '-m', run, '--blur-threshold=1', '-o', out,
                '--overwrite', '--strip-gps') == 0
  assert (out / name).read_bytes() != source.read_bytes()


def test_an_unchanged_gif_becomes_a_png(run, tmp_path):
  Image.fromarray(PHOTO).save(tmp_path / 'photo.gif')
  out = tmp_path / 'out'
  assert deblur(tmp_path / 'photo.gif', '-m', run, '--blur-threshold=1', '-o',
                out) == 0
  with Image.open(out / 'photo.png') as image:
    assert image.format == 'PNG'


def test_a_picture_without_colour_stays_without(run):
  gray = np.repeat(PHOTO[..., :1], 3, axis=-1)
  found = deblur_jax.restore(gray / np.float32(255), model=run)
  assert np.ptp(found, axis=-1).max() == 0
  assert np.abs(found - gray / 255).max() > 1e-3


def test_rejected_tiles_of_a_video_are_reported(wild, tmp_path, capsys):
  pytest.importorskip('av', reason='the extra "video" is missing')
  films.film(tmp_path / 'film.mkv')
  sizes = []
  for crf in (5, 50):
    target = tmp_path / f'{crf}.mkv'
    assert deblur(tmp_path / 'film.mkv', '-m', wild, '-o', target,
                  f'--crf={crf}') == 0
    assert '12 of 12 tiles are left as they were' in capsys.readouterr().err
    sizes.append(target.stat().st_size)
  assert sizes[0] > 1.2 * sizes[1]


def test_a_run_that_was_trained_further_is_another_model(
    run, wild, tmp_path):
  identities = []
  for source in (run, wild, wild):
    shutil.rmtree(tmp_path / 'run', ignore_errors=True)
    shutil.copytree(source, tmp_path / 'run')
    restoring._loaded.cache_clear()
    network = restoring.Network(str(tmp_path / 'run'))
    identities.append(restoring._made_by(network))
  assert identities[0] != identities[1] == identities[2]


def test_arrays_of_jax(run):
  found = deblur_jax.restore(jnp.asarray(PHOTO), model=run)
  assert isinstance(found, jax.Array) and found.dtype == jnp.uint8
  np.testing.assert_array_equal(found, deblur_jax.restore(PHOTO, model=run))


@pytest.mark.parametrize('x, message', [
    (b'x', 'x is a bytes; restore takes a path, a Pillow image, or an array'),
    ([[1]], 'x is a list'), (None, 'x is a NoneType')])
def test_inputs_that_are_not_restored(x, message, tmp_path):
  with pytest.raises(errors.UserError, match=message):
    deblur_jax.restore(x)
  with pytest.raises(errors.UserError, match='is a folder: give one file'):
    deblur_jax.restore(tmp_path)


@pytest.fixture(scope='module')
def shipped(run, tmp_path_factory):
  """A folder of models."""
  folder = tmp_path_factory.mktemp('models')
  zoo.write(run, zoo.DEFAULT, folder=folder, about={
      'summary': 'A test.', 'licence': 'MIT',
      'trained': {'configs/x.py': 2000}, 'seconds_720p': 1.5,
      'timed_on': '2 cores', 'blur_threshold': 1,
      'sources': [{'name': 'nothing', 'terms': 'none'}],
      'scores': {'some': {
          'pictures': 2, 'input': {'psnr_uint8': 20.0, 'ssim_matlab3d': 0.5},
          'mean': {'psnr_uint8': 21.5, 'ssim_matlab3d': 0.75}}}})
  return folder


def _ship(folder, monkeypatch):
  """Replaces the folder of the bundled models."""
  monkeypatch.setattr(zoo.names, '__defaults__', (folder,))
  for fn in (zoo.card, zoo.verify, zoo.load):
    monkeypatch.setitem(fn.__kwdefaults__, 'folder', folder)


@pytest.mark.parametrize('error, words', [
    (OSError(28, 'No space left on device'),
     'a.png: No space left on device (OSError).'),
    (ValueError('bad\ncodec'), 'a.png: bad codec (ValueError).'),
    (MemoryError(), 'a.png is too large for the memory.')])
def test_any_failure_of_a_file_is_its_own(
    run, tmp_path, monkeypatch, capsys, error, words):
  for name in ('a.png', 'b.png'):
    Image.fromarray(PHOTO).save(tmp_path / name)
  write = restoring.write

  def fail_once(target, *args, **options):
    if target.name.startswith('a'):
      raise error
    write(target, *args, **options)

  monkeypatch.setattr(restoring, 'write', fail_once)
  with pytest.raises(SystemExit) as ended:
    cli.main(['restore', str(tmp_path), '-m', run])
  assert ended.value.code == 1
  assert f'error: {tmp_path}/{words}' in capsys.readouterr().err.splitlines()
  assert (tmp_path / 'b_deblurred.png').is_file()


def test_models(shipped, tmp_path, capsys, monkeypatch):
  _ship(shipped, monkeypatch)
  assert deblur('models') == 0
  assert capsys.readouterr().out == (
      f'{zoo.DEFAULT} (the default): A test. 607 parameters, 1.5 s for '
      '1280x720.\n')
  assert deblur('models', zoo.DEFAULT, '--verify') == 0
  printed = capsys.readouterr().out
  for words in ('1.5 s for 1280x720, verified.', 'licence: MIT',
                'trained on nothing (licence: none)',
                'some, 2 pictures: PSNR 20 -> 21.5 dB, SSIM 0.5 -> 0.75',
                '1.5 s for 1280x720 (2 cores)',
                'radius of the receptive field: 4 pixels', '--overlap=16',
                'SHA-256',
                'a blur effect below 1 look sharp and are not changed',
                'trained by configs/x.py, 2,000 steps'):
    assert words in printed
  assert deblur('models', '--json') == 0
  listed = json.loads(capsys.readouterr().out)
  assert listed[zoo.DEFAULT]['receptive_field'] == 4
  Image.fromarray(PHOTO).save(tmp_path / 'photo.png')
  for flag, leaves in (('--overwrite', True), ('--blur-threshold=0', False)):
    assert deblur(tmp_path / 'photo.png', '--overwrite', flag) == 0
    result = np.asarray(Image.open(tmp_path / 'photo_deblurred.png'))
    assert np.array_equal(result, PHOTO) == leaves
  capsys.readouterr()
  damaged = shutil.copytree(shipped, tmp_path / 'models')
  (damaged / f'{zoo.DEFAULT}.safetensors').write_bytes(b'x')
  _ship(damaged, monkeypatch)
  assert deblur('models', '--verify') == 2
  assert 'another file, or damaged' in capsys.readouterr().err
  _ship(tmp_path / 'none', monkeypatch)
  assert deblur('models') == 0
  printed = capsys.readouterr()
  assert not printed.out
  assert printed.err.startswith('No model is bundled; give -m')
  assert deblur(tmp_path / 'photo.png', '-m', 'x', '--overwrite') == 2
  assert 'none is bundled, so give -m' in capsys.readouterr().err


def test_a_prior_checks_first(photo, tmp_path, capsys):
  alpha = tmp_path / 'alpha.png'
  Image.fromarray(np.dstack([PHOTO, PHOTO[..., 0]])).save(alpha)
  (tmp_path / 'photo_larger.png').write_bytes(b'mine')
  for argv, message in (
      ((tmp_path, '--task=sr'), 'is a folder; a prior is fitted to one photo'),
      ((photo, '--task=sr'),
       'photo_larger.png exists already; take --overwrite or another -o.'),
      ((photo, '--task=sr', '-o', photo), 'an input itself; take another -o.'),
      ((photo, '--task=sr', '--factor=99', '-o', tmp_path / 'x.png'),
       'take a smaller factor than 99, or a larger side'),
      ((photo, '--task=denoise', '--factor=3'),
       'The task denoise has no option factor; it is for sr.'),
      ((photo, '--task=sr', '-o', '/proc/nothing/'), 'Cannot write /proc'),
      ((photo, '--task=sr', '-o', tmp_path / 'x.foo'), 'cannot be written as'),
      ((alpha, '--task=sr', '-o', tmp_path / 'x.jpg'), 'partly transparent'),
      ((photo, '--task=denoise', '--max-pixels=9'), '--max-pixels` take more'),
      (('-', '--task=sr', '--json'), '--json and - both use stdout')):
    assert deblur('prior', *argv) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count('\n') == 1


def test_a_prior_without_memory_says_what_to_do(photo, monkeypatch, capsys):
  def run(config, one):
    raise MemoryError
    yield

  monkeypatch.setattr(prior_fit, 'fit', run)
  assert deblur('prior', photo, '--task=sr', '--side=64') == 2
  printed = capsys.readouterr().err
  assert 'for a fit of 64 pixels; give a smaller --side' in printed


def test_half_precision_sets_the_flags_once(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_dump_to=x')
  monkeypatch.setattr(precision, 'has_bfloat16', lambda: True)
  precision.ask_for_onednn()
  precision.ask_for_onednn()
  assert os.environ['XLA_FLAGS'] == f'--xla_dump_to=x {precision.ONEDNN}'
  assert precision.fastest() == 'bfloat16'
  monkeypatch.setattr(precision, 'has_bfloat16', lambda: False)
  assert precision.fastest() == 'float32'
  monkeypatch.delenv('XLA_FLAGS')
  precision.ask_for_onednn()
  assert 'XLA_FLAGS' not in os.environ


def test_half_precision_in_a_process_of_its_own(tmp_path):
  """XLA aborts on unknown flags. Names of files need not be valid text."""
  photo = os.fsdecode(os.fsencode(tmp_path) + b'/\xe9.png')
  Image.new('RGB', (16, 16), (90, 60, 30)).save(photo)
  code = (
      'import os, sys\nfrom deblur_jax.app import cli\ntry:\n  cli.main()\n'
      'except SystemExit as end:\n  assert not end.code\n'
      'from deblur_jax.ops import precision\n'
      'assert not precision.has_bfloat16() or (\n'
      '    precision.ONEDNN in os.environ.get("XLA_FLAGS", "")), "no flags"')
  done = subprocess.run(
      [sys.executable, '-c', code, photo, '--dtype=bf16', '--model=small',
       '--blur-threshold=0'],
      cwd=helpers.ROOT,
      capture_output=True,
      env=os.environ | {
          'PYTHONIOENCODING': 'utf-8:strict',
          'JAX_ENABLE_COMPILATION_CACHE': '0'})   # it cannot keep oneDNN's
  assert (done.returncode, done.stderr) == (0, b'')
  target = os.fsencode(tmp_path) + b'/\xe9_deblurred.png'
  assert done.stdout == target + b'\n' and os.path.exists(target)
