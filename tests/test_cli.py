"""`deblur` as people type it: files in, files out, one line about mistakes."""

import io
import json
import os
import subprocess
import sys

import films
import helpers
import jax
import numpy as np
import pytest
import run_folders
from PIL import Image

import deblur_jax
from deblur_jax import convert, errors, zoo
from deblur_jax.app import cli

PHOTO = np.asarray(Image.fromarray(np.random.default_rng(0).integers(
    0, 256, (9, 12, 3), np.uint8)).resize((72, 54), Image.BICUBIC))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a run whose network changes pictures, but not much."""
  folder = tmp_path_factory.mktemp('run')
  config = helpers.tiny(**{'nets.net': dict(
      name='multiscale', scales=1, blocks=0, features=4, residual=True)})
  run_folders.untrained(folder, config)
  return str(folder)


@pytest.fixture
def photo(tmp_path):
  path = tmp_path / 'photo.png'
  Image.fromarray(PHOTO).save(path)
  return path


def deblur(*argv):
  """The exit code of a command."""
  with pytest.raises(SystemExit) as end:
    cli.main(list(map(str, argv)))
  return end.value.code or 0


def test_a_photo_by_its_name_alone(run, photo, capsys):
  assert deblur(photo, '-m', run) == 0
  told = capsys.readouterr()
  target = photo.with_name('photo_deblurred.png')
  assert told.out.split() == [str(target)]
  restored = np.asarray(Image.open(target))
  assert restored.shape == PHOTO.shape and not np.array_equal(restored, PHOTO)
  # It is there now: not again unasked.
  assert deblur('restore', photo, '-m', run) == 2
  assert 'exists already' in capsys.readouterr().err
  for flag in ('--overwrite', '--skip-existing'):
    assert deblur('restore', photo, '-m', run, flag) == 0
  assert 'passed over' in capsys.readouterr().err


def test_a_folder_with_all_that_people_have(run, tmp_path, capsys):
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
  told = capsys.readouterr()
  rows = {os.path.relpath(row['source'], folder): row
          for row in json.loads(told.out)}
  assert {name for name, row in rows.items() if row['error']} == {
      'empty.jpg', 'text.png', 'cut.jpg'}
  for name, row in rows.items():
    assert '\n' not in (row['error'] or '') and 'Traceback' not in told.err
    assert (out / name).exists() == (not row['error'])
  assert Image.open(out / 'sub' / 'deep.png').size == (72, 54)
  assert len(list(out.rglob('*.*'))) == 5


def test_a_video_keeps_its_sound(run, tmp_path, capsys):
  av = pytest.importorskip('av', reason='the extra "video" is missing')
  films.film(tmp_path / 'film.mp4', sound='aac')
  assert deblur(tmp_path / 'film.mp4', '-m', run) == 0
  target = tmp_path / 'film_deblurred.mp4'
  assert capsys.readouterr().out.split() == [str(target)]
  sound = []
  for path in (tmp_path / 'film.mp4', target):
    with av.open(str(path)) as film:
      sound.append([bytes(packet) for packet in film.demux(audio=0)])
  assert sound[0] == sound[1] and len(sound[0]) > 2


def test_stdin_to_stdout(run, photo):
  done = subprocess.run(
      [sys.executable, '-c', 'from deblur_jax.app import cli; cli.main()', '-',
       '-m', run], input=photo.read_bytes(), capture_output=True, check=True,
      cwd=helpers.ROOT)
  found = np.asarray(Image.open(io.BytesIO(done.stdout)))
  np.testing.assert_allclose(
      found.astype(int), deblur_jax.restore(PHOTO, model=run), atol=1)


def test_one_call_gives_back_what_it_was_given(run, photo):
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


def test_help_needs_nothing_heavy():
  code = ('import sys\nfrom deblur_jax.app import cli\n'
          'try: cli.main(["restore", "--help"])\nexcept SystemExit: pass\n'
          'assert not {"jax", "numpy", "PIL"} & set(sys.modules)')
  done = subprocess.run([sys.executable, '-c', code], check=True,
                        cwd=helpers.ROOT, capture_output=True, text=True)
  assert '--skip-existing' in done.stdout


def test_weights_of_others_become_a_model(photo, tmp_path, capsys):
  theirs, model = tmp_path / 'theirs.safetensors', tmp_path / 'model'
  config = helpers.tiny(**{'nets.net.scales': 1})
  params = run_folders.untrained(tmp_path / 'run', config)
  convert.from_run(config, tmp_path / 'run', theirs)
  assert deblur('convert', theirs, '-o', model) == 0
  assert f'--model={model}/' in capsys.readouterr().out
  jax.tree.map(np.testing.assert_array_equal,
               zoo.load(model).state.params['net'], params)
  assert deblur('convert', photo, '-o', tmp_path / 'other') == 2
  told = capsys.readouterr().err
  assert str(photo) in told and told.count('\n') == 1
  assert not (tmp_path / 'other').exists()


def test_export(run, tmp_path, capsys):
  assert deblur('export', '-m', run, '-o', tmp_path, '--kind=stablehlo',
                '--size=24x16', '--json') == 0
  row, = json.loads(capsys.readouterr().out)
  assert row['errors'].keys() == {'24x16'} and row['errors']['24x16'] <= 1e-4
  assert os.path.getsize(row['path']) == row['bytes']
  assert deblur('export', '-m', run, '-o', tmp_path, '--size=24') == 2
  assert 'write --size=640x480' in capsys.readouterr().err


def test_compare(tmp_path, photo, capsys):
  other = tmp_path / 'restored' / 'photo.png'    # as `-o restored/` names it
  other.parent.mkdir()
  Image.fromarray(PHOTO[::-1]).save(other)
  assert deblur('compare', photo, other, '-o', tmp_path / 'sheet.png') == 0
  assert Image.open(tmp_path / 'sheet.png').width > 2 * 72
  Image.fromarray(PHOTO[1:]).save(other)
  assert deblur('compare', photo, other) == 2
  assert 'is 72x54, and' in capsys.readouterr().err


def test_doctor(capsys):
  code = deblur('doctor', '--json')
  findings = {row['name']: row for row in json.loads(capsys.readouterr().out)}
  assert findings['one forward']['fine'] and findings['jax']['fine']
  assert code == (0 if all(row['fine'] for row in findings.values()) else 1)


@pytest.mark.parametrize('argv, message', [
    (['nothing.jpg'], 'No file or folder nothing.jpg'),
    (['restore', '.', '--tile=x'], '--tile=x: write auto, 0, or pixels'),
    (['restore', '.', '--dtype=int4'], "Unknown --dtype 'int4'"),
    (['restore', '-', '--json'], '--json and - both want stdout'),
    (['models', 'nothing'], "No model 'nothing'"),
    (['prior', str(helpers.ROOT / 'Makefile'), '--task=denois'],
     "Did you mean 'denoise'"),
    (['prior', 'nothing.png', '--task=sr'], 'No file or folder nothing.png'),
    (['page', '--runs=nothing'], 'No folder nothing of runs'),
])
def test_mistakes_are_one_line_and_exit_code_2(argv, message, capsys):
  assert deblur(*argv) == 2
  told = capsys.readouterr().err
  assert message in told and told.count('\n') == 1


def test_what_is_no_picture_is_one_line_and_exit_code_1(run, capsys):
  assert deblur(helpers.ROOT / 'README.md', '-m', run) == 1
  told = capsys.readouterr().err
  assert 'is no picture' in told and told.count('\n') == 1


def test_a_model_that_is_not_there_fails_each_file_in_a_line(photo, capsys):
  assert deblur(photo, '-m', 'runs/nothing') == 1
  assert 'runs/nothing' in capsys.readouterr().err
