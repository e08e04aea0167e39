"""Pipes, devices and endless input: refused in one line by every path."""

import os
import pathlib
import signal
import types

import numpy as np
import pytest
from PIL import Image

from deblur_jax import errors
from deblur_jax.app import cli, restoring
from deblur_jax.ops import array_files
from deblur_jax.training import workdir

PIPES = {'pipe': lambda folder: _pipe(folder / 'pipe.png'),
         'device': lambda folder: pathlib.Path('/dev/zero')}


def _pipe(path):
  os.mkfifo(path)
  return path


@pytest.fixture(params=PIPES)
def pipe(request, tmp_path):
  return PIPES[request.param](tmp_path)


@pytest.fixture(autouse=True)
def seconds():
  """What waits for a pipe fails."""
  def late(*_):
    raise TimeoutError('it waits')

  before = signal.signal(signal.SIGALRM, late)
  signal.alarm(30)
  yield
  signal.alarm(0)
  signal.signal(signal.SIGALRM, before)


@pytest.fixture
def photo(tmp_path):
  path = tmp_path / 'photo.png'
  Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)
  return path


@pytest.mark.parametrize('command', [
    'restore {pipe}', 'restore {photo} -m {pipe}',
    'restore {photo} -o {pipe} --overwrite', 'compare {pipe} {photo} -o {out}',
    'compare {photo} {pipe} -o {out}', 'prior {pipe} --task denoise',
    'prior {photo} --task inpaint --mask {pipe}', 'convert {pipe} -o {folder}',
    'export -m {pipe} -o {folder}', 'page -m {pipe}',
])
def test_commands(command, pipe, photo, tmp_path, capsys):
  words = command.format(
      pipe=pipe, photo=photo, out=tmp_path / 'out.png', folder=tmp_path / 'new')
  with pytest.raises(SystemExit) as ended:
    cli.main(words.split())
  printed = capsys.readouterr()
  assert ended.value.code in (1, 2)
  line, = filter(None, (printed.err or printed.out).splitlines())
  assert 'Traceback' not in line and str(pipe) in line
  assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors', '.pth', '.pt'])
def test_weights(suffix, tmp_path):
  path = _pipe(tmp_path / f'x{suffix}')
  for words in (['convert', str(path), '-o', str(tmp_path / 'new')],
                ['restore', str(path), '-m', str(path)]):
    with pytest.raises(SystemExit) as ended:
      cli.main(words)
    assert ended.value.code == 2


def test_files_of_a_run(tmp_path):
  _pipe(tmp_path / workdir.CONFIG)
  for read in (workdir.read_config, lambda folder: array_files.load(
      folder / workdir.CONFIG)):
    with pytest.raises(errors.UserError, match=r'config.json is a pipe or a '):
      read(tmp_path)
  with pytest.raises(SystemExit):
    cli.main(['export', '-m', str(tmp_path), '-o', str(tmp_path / 'new')])


def test_stdin_without_an_end(monkeypatch):
  monkeypatch.setattr(restoring, 'MAX_STREAM', 2**20)
  with open('/dev/zero', 'rb') as endless:
    monkeypatch.setattr('sys.stdin', types.SimpleNamespace(buffer=endless))
    with pytest.raises(errors.UserError, match='stdin has more than 1 MiB'):
      restoring.read('-')
