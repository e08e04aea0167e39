"""The program that makes the shipped model, with a smaller network."""

import json
import subprocess
import sys

import helpers
import numpy as np
import pytest
import run_folders
import sample_pictures
from PIL import Image

from deblur_jax import workdir, zoo

ABOUT = {'summary': 'A test.', 'licence': 'MIT',
         'sources': [{'name': 'noise', 'terms': 'none'}]}
# The program, but for the size of what it trains.
PROGRAM = '''
from configs import small as config_file
get_config = config_file.get_config
def smaller(arg=None):
  config = get_config(arg)
  config.batch_size, config.data.loader.crop = 2, 32
  config.nets.net.update(features=4, blocks=0, dtype='float32')
  config.validate = dict(pictures=1, crop=32)
  return config
config_file.get_config = smaller
from experiments import common, small_model
common.run(small_model.main)
'''


@pytest.fixture
def make(tmp_path, picture_folder):
  """Runs the program in a process of its own, for its flags are others' too."""
  about = tmp_path / 'about.json'
  about.write_text(json.dumps(ABOUT))

  def run(**changes):
    given = dict(photos=picture_folder, about=about, steps=1,
                 workdir=tmp_path / 'run', out=tmp_path / 'models')
    return subprocess.run(
        [sys.executable, '-c', PROGRAM,
         *(f'--{key}={value}' for key, value in (given | changes).items())],
        cwd=helpers.ROOT, capture_output=True, text=True)

  return run


def test_learns_from_truth_and_from_a_teacher(make, tmp_path):
  """It begins with a model, learns from others' pairs, and from blurred photos.
  """
  config = helpers.tiny(**{'nets.net': dict(
      helpers.get_config('small').to_dict()['nets']['net'])})
  run_folders.untrained(tmp_path / 'untrained', config)
  start = zoo.write(
      tmp_path / 'untrained', 'first', folder=tmp_path / 'models',
      about=ABOUT | {'trained': {'configs/small.py': 20}})
  random = np.random.default_rng(0)
  for number in range(10):
    sample_pictures.save(tmp_path / 'pairs' / f'{number}.png',
                         random.integers(0, 256, (48, 96, 3), np.uint8))
  sample_pictures.save(tmp_path / 'blurred' / 'one.png',
                       random.integers(0, 256, (40, 48, 3), np.uint8))
  options = dict(
      photos='', pairs=tmp_path / 'pairs', blurred=tmp_path / 'blurred',
      teacher=f'{tmp_path / "untrained"}',
      start=start.with_suffix('.safetensors'))
  done = make(**options)
  assert done.returncode == 0, done.stderr
  folder = tmp_path / 'models'
  card = zoo.card('small', folder=folder)
  assert card['trained'] == {'configs/small.py': 21}
  pictures = {name: scores['pictures']
              for name, scores in card['scores'].items()}
  assert pictures == {'test': 9, 'builtin': 9, 'sharp, JPEG 90': 9, 'pairs': 1}
  assert card['sources'] == ABOUT['sources']
  zoo.verify('small', folder=folder)
  config = workdir.read_json(tmp_path / 'run' / 'run' / workdir.CONFIG)
  # From its own copy: --out may replace what was given.
  assert config['method']['start'] == {
      'path': str(tmp_path / 'run' / 'start.safetensors')}
  # Its sources are only those that were given.
  assert {*config['data']['train']['sources']} == {'pairs', 'taught_0'}
  taught = tmp_path / 'run' / 'taught_0' / 'sharp' / 'one.png'
  assert np.asarray(Image.open(taught)).shape == (40, 48, 3)


@pytest.mark.parametrize('name, content, message', [
    ('about', '{"summary": "A test."}', 'given.json.sources is missing'),
    ('start', '{"net": {}}', 'given.json.trained is missing'),
    ('start', None, 'No file '),
])
def test_mistakes(name, content, message, make, tmp_path):
  path = tmp_path / 'given.json'
  if content:
    path.write_text(content)
    path.with_suffix('.safetensors').write_bytes(b'')
  done = make(**{name: path.with_suffix(
      '.json' if name == 'about' else '.safetensors')})
  assert done.returncode == 2 and message in done.stderr
  assert done.stderr.count('\n') == 1
  assert not (tmp_path / 'run' / 'pixels').exists()  # before hours of work
