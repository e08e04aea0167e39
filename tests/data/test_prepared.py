"""A prepared set is the same pictures, also after being killed."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import sample_pictures as pictures

from deblur_jax import data, errors
from deblur_jax.data import prepared, sources, verify

SIZES = ((40, 56), (32, 32), (48, 40))


def make_source(count=30, **kwargs):
  """Pictures of three sizes, made from their numbers."""
  def read(i):
    return pictures.smooth(i, *SIZES[i % 3])
  return sources.Source([f'p{i}' for i in range(count)], read, 'a test set',
                       **kwargs)


def assert_same(first, second):
  """Equal names and pixels."""
  assert first.names == second.names and first.keys == second.keys
  for i in range(len(first.names)):
    a, b = first.read(i), second.read(i)
    for key in first.keys:
      np.testing.assert_array_equal(a[key], b[key])


def test_round_trip(tmp_path):
  done = []
  prepared.write(make_source(), tmp_path, on_pair=done.append)
  again = data.open_source(name='prepared', root=tmp_path)
  assert_same(again, make_source())
  assert again.sizes(1) == {'blur': (32, 32), 'sharp': (32, 32)}
  assert done == list(range(31))
  assert prepared.check(tmp_path) == []


def test_two_at_a_time_are_refused(tmp_path):
  """The second one, whenever it comes; the first writes a whole set."""
  refused = []

  def on_pair(done):
    with pytest.raises(errors.UserError, match='Another process prepares'):
      prepared.write(make_source(), tmp_path)
    refused.append(done)

  prepared.write(make_source(5), tmp_path, on_pair=on_pair)
  assert refused == list(range(6)) and prepared.check(tmp_path) == []


def test_sharp_pictures_only(tmp_path):
  one = make_source(3)._replace(
      keys=('sharp',), read=lambda i: {'sharp': make_source().read(i)['sharp']})
  prepared.write(one, tmp_path)
  assert_same(data.open_source(name='prepared', root=tmp_path), one)


def test_check_names_damage(tmp_path):
  prepared.write(make_source(), tmp_path)
  with open(tmp_path / 'pixels.bin', 'r+b') as file:
    file.seek(40 * 56 * 6 + 9)
    byte = file.read(1)[0]
    file.seek(-1, 1)
    file.write(bytes([byte ^ 1]))
  assert prepared.check(tmp_path) == ['p1']
  # Training on it, on a part of it, or on a mixture with it, is refused.
  whole = dict(name='prepared', root=str(tmp_path))
  for options in (whole, whole | dict(scale=0.5, part=(0.5, 1)),
                  whole | dict(halves=True),
                  dict(name='mixture', sources=dict(a=whole, b=whole))):
    with pytest.raises(errors.UserError, match=(
        r'The bytes of 1 pairs in \S+ have changed .* such as p1: delete')):
      verify.checksums(data.open_source(**options))
  assert verify.checksums(make_source()) is None


def run_python(code, **kwargs):
  """A child process with the tests' folder on its path."""
  return subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, **kwargs)


CHILD = '''
import os, resource, signal, sys
sys.path[:0] = 'tests', 'tests/data'
import test_prepared
from deblur_jax.data import prepared
made = test_prepared.make_source()
'''


def test_goes_on_after_kill_9(tmp_path, request):
  killed = run_python(CHILD + f'''
def read(i):
  if i == 21:
    os.kill(os.getpid(), signal.SIGKILL)
  return made.read(i)
prepared.write(made._replace(read=read), {str(tmp_path)!r}, workers=1)
''', cwd=request.config.rootpath)
  assert killed.returncode == -signal.SIGKILL
  index = json.loads((tmp_path / 'index.json').read_text())
  assert 8 <= len(index['pairs']) <= 21
  with pytest.raises(errors.UserError, match='of 30 pairs; run the same'):
    data.open_source(name='prepared', root=tmp_path)

  begun = []
  made = make_source()
  prepared.write(
      made._replace(read=lambda i: begun.append(i) or made.read(i)), tmp_path)
  assert min(begun) == len(index['pairs'])
  assert_same(data.open_source(name='prepared', root=tmp_path), made)
  assert prepared.check(tmp_path) == []


def test_full_disk_is_one_line_and_loses_nothing(tmp_path, request):
  # A limit on the file's size fails in write() as a full disk does.
  full = run_python(CHILD + f'''
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
prepared.write(made, {str(tmp_path)!r})
''', cwd=request.config.rootpath)
  assert 'UserError: No space left for ' in full.stderr
  assert ' of 30 pairs are there' in full.stderr
  done = len(json.loads((tmp_path / 'index.json').read_text())['pairs'])
  assert done == 9    # that fit into 100 kB
  prepared.write(make_source(), tmp_path)
  assert_same(data.open_source(name='prepared', root=tmp_path), make_source())


def test_too_little_space_is_seen_at_once(tmp_path):
  huge = make_source(sizes=lambda i: {'blur': (2 ** 24, 2 ** 24)})
  with pytest.raises(errors.UserError, match=r'GiB free, and a test set needs'):
    prepared.write(huge, tmp_path)
  assert not (tmp_path / 'pixels.bin').exists()


def test_a_broken_picture_keeps_what_is_done(tmp_path):
  made = make_source()
  def read(i):
    if i == 5:
      raise errors.UserError('Cannot read the picture p5.')
    return made.read(i)
  with pytest.raises(errors.UserError, match='Cannot read the picture p5'):
    prepared.write(made._replace(read=read), tmp_path)
  assert len(json.loads((tmp_path / 'index.json').read_text())['pairs']) == 5
  prepared.write(made, tmp_path)
  assert_same(data.open_source(name='prepared', root=tmp_path), made)


def test_lost_pixels_are_made_again(tmp_path):
  prepared.write(make_source(), tmp_path)
  size = (tmp_path / 'pixels.bin').stat().st_size
  for left in (0, size // 2):
    with (tmp_path / 'pixels.bin').open('r+b') as file:
      file.truncate(left)
    prepared.write(make_source(), tmp_path)
    assert not prepared.check(tmp_path)
    assert_same(data.open_source(name='prepared', root=tmp_path), make_source())


def test_a_prepared_set_remembers_its_subset(tmp_path):
  prepared.write(make_source(3, options={'subset': 'blur_gamma'}), tmp_path)
  source = data.open_source(name='prepared', root=tmp_path)
  assert source.subset == 'blur_gamma'


def test_messages(tmp_path):
  def reading(match):
    with pytest.raises(errors.UserError, match=match):
      data.open_source(name='prepared', root=tmp_path)

  reading('No prepared set in .*prepare_data')
  prepared.write(make_source(3, options={'subset': 'blur'}), tmp_path)
  with pytest.raises(errors.UserError, match=r'holds another set \(a test set'):
    prepared.write(make_source(3, options={'subset': 'gamma'}), tmp_path)
  (tmp_path / 'pixels.bin').write_bytes(b'123')
  reading('has 3 bytes, not the')
  (tmp_path / 'index.json').write_text('{')
  reading('is not JSON')
  (tmp_path / 'index.json').write_text('{"version": 0}')
  reading('is not the index of a prepared set of version 1')


def test_command(tmp_path, request):
  pictures.gopro(tmp_path / 'in')
  command = [sys.executable, '-m', 'experiments.prepare_data',
             f'--out={tmp_path / "out"}']
  done = subprocess.run(
      [*command, '--source=gopro', f'--root={tmp_path / "in"}',
       '--split=train', '--subset=blur', '--option=layout=official'],
      cwd=request.config.rootpath, capture_output=True, text=True)
  assert (done.returncode, done.stdout[:8]) == (0, '5 pairs '), done.stderr
  assert_same(
      data.open_source(name='prepared', root=tmp_path / 'out'),
      data.open_source(name='gopro', root=tmp_path / 'in', subset='blur'))
