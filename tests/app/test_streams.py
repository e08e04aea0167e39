"""Printing: odd names, encodings, closed pipes, full disks."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from deblur_jax.app import streams


@pytest.mark.parametrize('text, shown', [
    ('photo 文字 é\u202f😀.jpg', 'photo 文字 é\u202f😀.jpg'),
    ('a\nb\x1b[31m.jpg', r'a\nb\x1b[31m.jpg'),
    ('gpj.\u202ea', r'gpj.\u202ea'), ('a\u2028b', r'a\u2028b'),
    ('\udcff.jpg', '\udcff.jpg'),
])
def test_control_characters_are_escaped(text, shown):
  assert streams.shown(text) == shown


def _deblur(*words, **options):
  return subprocess.run(
      [sys.executable, '-m', 'deblur_jax', *words], stderr=subprocess.PIPE,
      **options)


@pytest.mark.parametrize('encoding, printed', [
    ('utf-8', '文字_😀.png\n'.encode()),
    ('ascii', rb'\u6587\u5b57_\U0001f600.png' + b'\n')])
def test_names_that_the_encoding_lacks(encoding, printed, tmp_path):
  Image.new('RGB', (8, 8)).save(tmp_path / 'a.png')
  done = _deblur(
      'compare', 'a.png', 'a.png', '-o', '文字_😀.png', cwd=tmp_path,
      stdout=subprocess.PIPE,
      env=os.environ | {'PYTHONIOENCODING': encoding})
  assert (done.returncode, done.stdout) == (0, printed), done.stderr
  assert (tmp_path / '文字_😀.png').is_file()


def test_a_closed_pipe_and_a_full_disk():
  reader, writer = os.pipe()
  os.close(reader)
  done = _deblur('models', '--json', stdout=writer)
  os.close(writer)
  assert (done.returncode, done.stderr) == (0, b'')
  with open('/dev/full', 'wb') as full:
    done = _deblur('models', '--json', stdout=full)
  assert done.returncode == 1
  assert done.stderr.decode().splitlines() == [
      'error: The output could not be written: No space left on device.']
