"""The program that makes the shipped model, with a smaller network."""

import json
import subprocess
import sys

import helpers
import pytest

from deblur_jax import workdir, zoo

ABOUT = {'summary': 'A test.', 'sources': [{'name': 'noise', 'terms': 'none'}]}
# The program, but for the size of what it trains.
PROGRAM = '''
from configs import default_model as config_file
get_config = config_file.get_config
def small(arg=None):
  config = get_config(arg)
  config.batch_size, config.data.loader.crop = 2, 32
  config.nets.net.update(features=4, blocks=0, dtype='float32')
  config.validate = dict(pictures=1, crop=32)
  return config
config_file.get_config = small
from experiments import common, default_model
common.run(default_model.main)
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


def test_from_photos_to_a_model(make, tmp_path):
  done = make()
  assert done.returncode == 0, done.stderr
  folder = tmp_path / 'models'
  card = zoo.card('default', folder=folder)
  assert card['trained'] == {'configs/default_model.py': 1,
                             'configs/default_model.py:careful': 1}
  assert {*card['scores']} == {'test', 'builtin', 'sharp, JPEG 90'}
  assert card['scores']['builtin']['pictures'] == 9
  assert card['sources'] == ABOUT['sources']
  zoo.verify('default', folder=folder)
  # The second training began where the first had ended, with its own options.
  first, second = (
      workdir.read_json(tmp_path / 'run' / name / workdir.CONFIG)
      for name in ('run', 'careful'))
  assert second['method']['start'] == {'path': str(tmp_path / 'run' / 'run')}
  assert second['augment']['identity'] == 2 * first['augment']['identity'] > 0
  # Its sources are only those that were given.
  assert {*second['data']['train']['sources']} == {'scene', 'kernel'}


@pytest.mark.parametrize('name, content, message', [
    ('about', '{"summary": "A test."}', 'given.json.sources is missing'),
    ('start', '{"net": {}}', 'start.json.trained is missing'),
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
