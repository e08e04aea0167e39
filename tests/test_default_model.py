"""The program that makes the shipped model, with a smaller network."""

import json

import pytest
from absl import flags

from configs import default_model as config_file
from deblur_jax import types, workdir, zoo
from experiments import default_model

ABOUT = {'summary': 'A test.', 'sources': [{'name': 'noise', 'terms': 'none'}]}
FLAGS = ('photos', 'about', 'workdir', 'out', 'steps', 'start')


def small(arg=None, get=config_file.get_config):
  """configs/default_model.py with a network that is quickly trained."""
  config = get(arg)
  config.batch_size, config.data.loader.crop = 2, 32
  config.nets.net.update(features=4, blocks=0, dtype='float32')
  config.validate = dict(pictures=1, crop=32)
  return config


@pytest.fixture
def make(tmp_path, picture_folder, monkeypatch):
  """Runs the program; returns its exit code."""
  about = tmp_path / 'about.json'
  about.write_text(json.dumps(ABOUT))
  monkeypatch.setattr(config_file, 'get_config', small)

  def run(**changes):
    given = dict(photos=picture_folder, about=str(about), steps=1,
                 workdir=str(tmp_path / 'run'), out=str(tmp_path / 'models'))
    args = [f'--{key}={value}' for key, value in (given | changes).items()]
    before = {name: flags.FLAGS[name].value for name in FLAGS}
    flags.FLAGS(['default_model', *args])
    try:
      return default_model.main([])
    finally:
      for name, value in before.items():
        flags.FLAGS[name].value = value

  return run


def test_from_photos_to_a_model(make, tmp_path):
  assert make() == 0
  folder = tmp_path / 'models'
  card = zoo.card('default', folder=folder)
  assert card['trained'] == {'configs/default_model.py': 1,
                             'configs/default_model.py:careful': 1}
  assert {*card['scores']} == {'test', 'builtin', 'sharp, JPEG 90'}
  assert card['scores']['builtin']['pictures'] == 9
  assert card['sources'] == ABOUT['sources']
  zoo.verify('default', folder=folder)
  # The second training began where the first had ended, with its own options.
  config = workdir.read_json(tmp_path / 'run' / 'careful' / workdir.CONFIG)
  assert config['method']['start'] == {'path': str(tmp_path / 'run' / 'run')}
  assert config['augment']['identity'] == 2 * small().augment.identity
  # Its sources are only those that were given.
  assert {*config['data']['train']['sources']} == {'scene', 'kernel'}


def test_mistakes(make, tmp_path):
  lone = tmp_path / 'lone.json'
  lone.write_text('{"summary": "A test."}')
  with pytest.raises(types.UserError, match='lone.json.sources is missing'):
    make(about=lone)
  with pytest.raises(types.UserError, match='No file .*nothing.safetensors'):
    make(start=tmp_path / 'nothing.safetensors')
  assert not (tmp_path / 'run').exists()     # found before hours of work
