"""Results have good names, and files are whole, old or new, never half."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from PIL import Image

from deblur_jax import errors
from deblur_jax.media import output_files

RNG = np.random.default_rng(0)


@pytest.fixture
def here(tmp_path, monkeypatch):
  """An empty folder that is the current one: names in tests are short."""
  monkeypatch.chdir(tmp_path)
  return tmp_path


def make(*names):
  for name in names:
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'x')


def planned(*inputs, **options):
  """The plan as a dict of strings."""
  return {str(job.source): str(job.target)
          for job in output_files.plan(inputs, **options).jobs}


@pytest.mark.parametrize('name, options, result', [
    ('a.jpg', {}, 'a_deblurred.jpg'),
    ('a.JPG', {}, 'a_deblurred.JPG'),
    ('sub/a.b.png', {}, 'sub/a.b_deblurred.png'),
    ('a.gif', {}, 'a_deblurred.png'),
    ('a', {}, 'a_deblurred'),
    ('a.jpg', {'ext': 'png'}, 'a_deblurred.png'),
    ('a.jpg', {'ext': '.TIFF'}, 'a_deblurred.tiff'),
    ('a.jpg', {'suffix': '-sharp'}, 'a-sharp.jpg'),
    ('a.jpg', {'suffix': '', 'ext': 'png'}, 'a.png'),
    ('a.jpg', {'out': 'b.png'}, 'b.png'),
    ('a.jpg', {'out': 'new'}, 'new/a.jpg'),
    ('a.jpg', {'out': 'new.d/'}, 'new.d/a.jpg'),
    ('a.jpg', {'out': 'new', 'suffix': '_1', 'ext': 'webp'}, 'new/a_1.webp'),
    ('a.jpg', {'out': '-'}, '-'),
    ('-rf.jpg', {}, '-rf_deblurred.jpg'),
    ('$(x);`y`.jpg', {}, '$(x);`y`_deblurred.jpg'),
    ('日本 é.png', {'out': 'new'}, 'new/日本 é.png'),
    ('a.avi', {'others': {'.avi': '.mp4'}, 'ext': 'png'}, 'a_deblurred.mp4'),
    ('a.avi', {'others': {'.avi': '.mp4'}, 'out': 'b.mp4'}, 'b.mp4')])
def test_names_of_one_result(name, options, result, here):
  make(name)
  assert planned(name, **options) == {name: result}


def test_streams(here):
  assert planned('-') == {'-': '-'}
  assert planned('-', out='b.png') == {'-': 'b.png'}
  make('a.jpg')
  for inputs, out, words in (
      (['-', 'a.jpg'], None, '- is stdin, and must be the only input'),
      (['.'], '-', '- is stdout, and takes the result of one file'),
      (['-'], 'new', 'result of stdin needs a name, and new is a folder')):
    with pytest.raises(errors.UserError, match=words):
      planned(*inputs, out=out)


def test_folders_are_mirrored(here):
  make('in/a.jpg', 'in/sub/b.PNG', 'in/sub/deep/c.gif', 'in/notes.txt',
       'in/.hidden.jpg', 'in/.git/d.jpg', 'in/__MACOSX/e.jpg',
       'in/a_deblurred.jpg', 'in/sub.jpg/f.webp')
  os.symlink('..', 'in/sub/loop')
  os.symlink('gone.jpg', 'in/dangling.jpg')
  os.mkfifo('in/pipe.jpg')
  assert planned('in', out='out') == {
      'in/a.jpg': 'out/a.jpg', 'in/sub/b.PNG': 'out/sub/b.PNG',
      'in/sub/deep/c.gif': 'out/sub/deep/c.png',
      'in/sub.jpg/f.webp': 'out/sub.jpg/f.webp'}
  assert planned('in/sub') == {
      'in/sub/b.PNG': 'in/sub/b_deblurred.PNG',
      'in/sub/deep/c.gif': 'in/sub/deep/c_deblurred.png'}
  assert list(planned('in', out='out', recursive=False)) == ['in/a.jpg']


def test_a_name_that_ends_in_the_suffix_is_no_result_yet(here):
  make('in/a1.jpg', 'in/a2.jpg', 'in/b.jpg', 'in/b2.png')
  assert planned('in', suffix='2', out='out') == {
      'in/a1.jpg': 'out/a12.jpg', 'in/a2.jpg': 'out/a22.jpg',
      'in/b.jpg': 'out/b2.jpg'}


def test_many_inputs(here):
  make('one/a.jpg', 'two/a.jpg', 'b.png')
  assert planned('one', 'two', 'b.png', out='out') == {
      'one/a.jpg': 'out/one/a.jpg', 'two/a.jpg': 'out/two/a.jpg',
      'b.png': 'out/b.png'}
  assert planned('one', 'one/a.jpg', './one') == {
      'one/a.jpg': 'one/a_deblurred.jpg'}


def test_a_folder_with_the_name_of_a_picture(here):
  make('a.jpg', 'b.jpg')
  targets = {'a.jpg': 'x.png/a.jpg', 'b.jpg': 'x.png/b.jpg'}
  assert planned('a.jpg', 'b.jpg', out='x.png/') == targets
  os.mkdir('x.png')
  assert planned('a.jpg', 'b.jpg', out='x.png') == targets
  os.rmdir('x.png')
  with pytest.raises(errors.UserError, match='x.png is the name of one file'):
    output_files.roots(['a.jpg', 'b.jpg'], out='x.png')


def test_results_within_the_input_are_not_inputs(here):
  make('in/a.jpg', 'in/out/a.jpg')
  assert planned('in', out='in/out', overwrite=True) == {
      'in/a.jpg': 'in/out/a.jpg'}


def test_done_before(here):
  make('in/a.jpg', 'in/b.jpg', 'in/c.jpg', 'out/a.jpg', 'out/b.jpg')
  with pytest.raises(errors.UserError,
                     match='out/a.jpg and 1 more exist already; take --over'):
    planned('in', out='out')
  plan = output_files.plan(['in'], out='out', skip_existing=True)
  assert [str(job.target) for job in plan.jobs] == ['out/c.jpg']
  assert [str(job.source) for job in plan.skipped] == ['in/a.jpg', 'in/b.jpg']
  assert len(planned('in', out='out', overwrite=True)) == 3
  with pytest.raises(errors.UserError, match='not both'):
    planned('in', skip_existing=True, overwrite=True)


@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize(
    'out', ['a.jpg', '../in/a.jpg', 'link.jpg', 'hard.jpg', '.'])
def test_inputs_are_never_results(out, overwrite, here):
  make('in/a.jpg', 'in/b.jpg')
  os.chdir('in')
  os.symlink('a.jpg', 'link.jpg')
  os.link('a.jpg', 'hard.jpg')
  inputs = ['a.jpg', 'b.jpg'] if out == '.' else ['a.jpg']
  with pytest.raises(
      errors.UserError, match='is an input itself; take another'):
    planned(*inputs, out=out, overwrite=overwrite)


@pytest.mark.parametrize('inputs, options, words', [
    ([], {}, 'No input'),
    (['gone.jpg'], {}, 'No file or folder gone.jpg'),
    (['empty'], {}, 'empty: no pictures there'),
    (['a.jpg'], {'out': 'b.pgn'}, 'cannot be written as .pgn; take .png, or'),
    (['a.jpg'], {'out': 'b.png', 'ext': 'jpg'}, 'does not end in .jpg'),
    (['a.jpg'], {'ext': 'gif'},
     '^--ext=gif: results are not written as .gif; take png, or one of avif,'),
    (['a.jpg', 'a.png'], {'out': 'x.png'},
     'x.png is the name of one file, and the results need a folder; take -o x'),
    (['sub'], {'out': 'x.JPG'}, 'x.JPG is the name of one file'),
    (['a.jpg', 'a.png'], {'out': 'x.mp4', 'others': {'.mp4': '.mp4'}},
     'x.mp4 is the name of one file'),
    (['a.jpg'], {'out': 'b.mp4', 'others': {'.mp4': '.mp4'}},
     'a.jpg cannot become b.mp4'),
    (['a.jpg'], {'suffix': '/../x'}, 'no part of a file'),
    (['a.jpg', 'sub/a.jpg'], {'out': 'out'}, 'both become out/a.jpg')])
def test_plans_that_cannot_be(inputs, options, words, here):
  make('a.jpg', 'a.png', 'sub/a.jpg')
  os.mkdir('empty')
  with pytest.raises(errors.UserError, match=words) as caught:
    planned(*inputs, **options)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('ext, targets', [
    (None, ['out/a.gif.png', 'out/a.png', 'out/z.jpg']),
    ('webp', ['out/a.webp', 'out/a.png.webp', 'out/z.webp'])])
def test_two_results_of_one_name(ext, targets, here):
  make('in/a.gif', 'in/a.png', 'in/z.jpg')
  plan = output_files.plan(['in'], out='out', ext=ext)
  assert [str(job.target) for job in plan.jobs] == targets
  renamed, = [job for job in plan.jobs if job.notes]
  assert 'is that of a.' in renamed.notes[0]
  for job in output_files.plan(['in'], ext=ext).jobs:
    make(job.target)
  again = output_files.plan(['in'], ext=ext, skip_existing=True)
  assert not again.jobs and len(again.skipped) == 3


@pytest.mark.parametrize(
    'stem', ['A' * 247, '文' * 80, '😀' * 60], ids=['letters', 'three', 'four'])
def test_a_long_name_is_shortened(stem, here):
  make(f'in/{stem}.jpg', 'in/0.jpg')
  short, long = output_files.plan(['in']).jobs
  assert len(os.fsencode(long.target.name)) <= output_files.NAME_BYTES
  assert long.target.name.endswith('.jpg') and long.target.name[:9] == stem[:9]
  assert 'is shortened' in long.notes[0] and not short.notes
  for job in (long, short):
    output_files.write(job.target, b'x')
  assert len(output_files.plan(['in'], skip_existing=True).skipped) == 2


def test_a_folder_in_the_way_of_one_result(here):
  make('in/a.jpg', 'in/b.jpg', 'in/a_deblurred.jpg/x.txt')
  plan = output_files.plan(['in'])
  assert [job.source.name for job in plan.jobs] == ['b.jpg']
  assert 'a_deblurred.jpg is a folder' in plan.refused[0].reason


def test_every_file_of_a_folder_is_counted(here):
  make('in/a.jfif', 'in/b.jpe', 'in/c.psd', 'in/notes.txt', 'in/noise')
  Image.new('RGB', (4, 4)).save('in/photo', 'JPEG')
  plan = output_files.plan(['in'])
  assert [job.target.name for job in plan.jobs] == [
      'a_deblurred.jfif', 'b_deblurred.jpe', 'photo_deblurred.jpg']
  assert [one.source.name for one in plan.refused] == ['c.psd']
  assert 'is a file of Photoshop, which is not read' in plan.refused[0].reason
  assert [path.name for path in plan.passed] == ['noise', 'notes.txt']
  with pytest.raises(errors.UserError, match='Photoshop'):
    output_files.plan(['in/c.psd'])


@pytest.mark.parametrize('out', [None, 'out'])
def test_results_of_any_tree_are_apart(out, here):
  parts = ['a', 'B', '-x', '$(y)', '日', 'a b', '.h', 'c_deblurred']
  for _ in range(60):
    depth = RNG.integers(0, 3)
    parents = [str(name) for name in RNG.choice(parts, depth)]
    make('/'.join(['in', *(f'{name}.d' for name in parents),
                   f'{RNG.choice(parts)}{RNG.choice([".jpg", ".png"])}']))
  plan = planned('in', out=out)
  assert len(set(plan.values())) == len(plan) > 10
  assert not set(plan) & set(plan.values())
  for source, target in plan.items():
    source, target = pathlib.Path(source), pathlib.Path(target)
    assert source.suffix == target.suffix
    mirror = target.relative_to(out or 'in').parent
    assert mirror == source.relative_to('in').parent
    assert not any(part[0] == '.' for part in source.parts)


def test_written_whole_or_not(here):
  output_files.write('new/a.png', b'first')
  with pytest.raises(
      errors.UserError, match='exists already; take --overwrite'):
    output_files.write('new/a.png', b'second')
  assert pathlib.Path('new/a.png').read_bytes() == b'first'
  os.chmod('new/a.png', 0o640)
  output_files.write('new/a.png', b'second', overwrite=True)
  assert pathlib.Path('new/a.png').read_bytes() == b'second'
  assert os.stat('new/a.png').st_mode & 0o777 == 0o640
  with pytest.raises(RuntimeError, match='in the middle'):
    with output_files.replacing('new/a.png', overwrite=True) as new:
      assert new.suffix == '.png' and new.name[0] == '.'
      new.write_bytes(b'half')
      raise RuntimeError('in the middle')
  assert pathlib.Path('new/a.png').read_bytes() == b'second'
  assert os.listdir('new') == ['a.png']


def test_what_comes_up_meanwhile_is_not_written_over(here):
  with pytest.raises(errors.UserError, match='exists already'):
    with output_files.replacing('a.png') as new:
      new.write_bytes(b'mine')
      make('a.png')
  assert os.listdir() == ['a.png']


def test_a_link_is_followed(here):
  make('real/a.png')
  os.symlink('real/a.png', 'link.png')
  output_files.write('link.png', b'new', overwrite=True)
  assert pathlib.Path('real/a.png').read_bytes() == b'new'
  assert os.path.islink('link.png') and os.listdir('real') == ['a.png']


def test_targets_that_cannot_be(here):
  os.mkdir('folder.png')
  with pytest.raises(errors.UserError, match='folder.png is a folder'):
    output_files.write('folder.png', b'x', overwrite=True)
  os.mkfifo('pipe.png')
  with pytest.raises(errors.UserError, match='no regular file'):
    output_files.write('pipe.png', b'x', overwrite=True)
  make('file')
  with pytest.raises(errors.UserError, match='Cannot make .*file/sub'):
    output_files.write('file/sub/a.png', b'x')
  with pytest.raises(errors.UserError, match='Cannot write .*No space left'):
    with output_files.replacing('a.png') as new, open('/dev/full',
                                                      'wb') as full:
      new.write_bytes(b'half')
      full.write(b'x')
      full.flush()
  assert not os.path.exists('a.png')


def test_a_folder_that_is_closed():
  user = os.geteuid()
  with tempfile.TemporaryDirectory() as folder, (
      tempfile.TemporaryDirectory()) as out:
    os.chmod(out, 0o777)
    os.makedirs(f'{folder}/secret')
    os.chmod(f'{folder}/secret', 0)
    make(f'{folder}/a.jpg')
    os.chmod(folder, 0o555)
    os.seteuid(65534 if user == 0 else user)
    try:
      with pytest.raises(errors.UserError, match='denied; take another -o'):
        output_files.write(f'{folder}/b.jpg', b'x')
      plan = output_files.plan([folder], out=f'{out}/none/')
      assert [job.source.name for job in plan.jobs] == ['a.jpg']
      assert [one.reason for one in plan.refused] == [
          f'Cannot look into {folder}/secret: Permission denied.']
      with pytest.raises(errors.UserError, match='denied; take another -o'):
        output_files.plan([f'{folder}/a.jpg'])
    finally:
      os.seteuid(user)
      os.chmod(folder, 0o755)
      os.chmod(f'{folder}/secret', 0o755)


def test_killed_while_writing(here):
  pathlib.Path('old.png').write_bytes(b'old')
  code = ('import time\n'
          'from deblur_jax.media import output_files\n'
          'with (output_files.replacing("old.png", overwrite=True) as one,\n'
          '      output_files.replacing("new.png") as two):\n'
          '  one.write_bytes(b"half")\n'
          '  two.write_bytes(b"half")\n'
          '  print("written", flush=True)\n'
          '  time.sleep(60)\n')
  root = pathlib.Path(__file__).resolve().parents[2]
  with subprocess.Popen(
      [sys.executable, '-c', code], stdout=subprocess.PIPE,
      env={**os.environ, 'PYTHONPATH': str(root)}) as process:
    assert process.stdout.readline() == b'written\n'
    process.kill()
  assert pathlib.Path('old.png').read_bytes() == b'old'
  assert not os.path.exists('new.png')
  assert planned('.') == {'old.png': 'old_deblurred.png'}
