"""--config.KEY=VALUE: any option of a signature, by name and by type."""

import helpers
import jax
import numpy as np
import pytest
from absl import flags

from deblur_jax import data, errors
from deblur_jax.training import train
from experiments import config_flag


@pytest.fixture
def config():
  return config_flag.load(f'{helpers.ROOT}/configs/multiscale_gopro.py:debug')


def _changed(config, *words):
  """The config after these words of a command line."""
  assert config_flag.take(['train', '--workdir=x', *words]) == [
      'train', '--workdir=x']
  config_flag.change(config, config_flag._SETTINGS)
  return config


def test_options_that_the_file_does_not_list_reach_their_functions(
    config, tmp_path):
  np.savez(tmp_path / 'vgg.npz', block1_conv1__bias=np.zeros(64, np.float32),
           block1_conv1__kernel=np.ones((3, 3, 3, 64), np.float32))
  config = _changed(config, *(f'--config.{word}' for word in (
      'nets.net.attention=se', 'nets.net.blocks=1', 'nets.net.scales=1',
      'optim.net.name=adamw', 'optim.net.weight_decay=0.01',
      f'method.features.path={tmp_path}/vgg.npz',
      'method.features.layer=relu1_1', 'method.loss=l1 + 0.1*perceptual',
      'data.loader.backend=threads', 'data.loader.workers=1',
      'augment.jpeg=1', 'augment.quality=(10, 20)')))
  state = train.setup(config.to_dict()).abstract_state
  assert state.frozen['features'].keys() == {'block1_conv1'}
  assert 'attention' in str(jax.tree.structure(state.params['net'])).lower()


def test_a_source_takes_frames_around_each(config):
  config = _changed(config, '--config.data.train.window=3')
  assert data.open_source(**config.data.train).keys == (
      'blur', 'sharp', 'before_1', 'after_1')


@pytest.mark.parametrize(('word', 'key', 'value'), [
    ('--config.total_steps=1e3', 'total_steps', 1000),
    ('--config.optim.net.lr=1', 'optim.net.lr', 1.0),
    ('--config.tensorboard=true', 'tensorboard', True),
    ('--noconfig.tensorboard', 'tensorboard', False),
    ('--config.nets.net.blocks=None', 'nets.net.blocks', None),
    ('--config.optim.net.boundaries=(0.5, 1)', 'optim.net.boundaries',
     (0.5, 1)),
    ('--config.method.features={path: a b.npz, layer: conv3_3}',
     'method.features', {'path': 'a b.npz', 'layer': 'conv3_3'}),
    ("--config.data.blur=dict(kind='disk', radius=(1.0, 2.5))", 'data.blur',
     {'kind': 'disk', 'radius': (1.0, 2.5)}),
    ("--config.data.sources=dict(a=dict(name='gopro', weight=-1))",
     'data.sources', {'a': {'name': 'gopro', 'weight': -1}}),
    ('--config.data.train.root=dict(a=b)', 'data.train.root', 'dict(a=b)'),
    ('--config.data.train.root=2024', 'data.train.root', '2024'),
    ('--config.restorer.scales=2', 'nets.net.scales', 2),
    ('--config.method.loss=l1 + 0.1*tv', 'method.loss', 'l1 + 0.1*tv'),
])
def test_values(config, word, key, value):
  if key.startswith('data.'):
    config.data.train = dict(name='gopro', root='data', split='train')
  found = _changed(config, word).to_dict()
  for name in key.split('.'):
    found = found[name]
  assert found == value and type(found) is type(value)


def test_a_value_may_be_the_next_word(config):
  assert _changed(config, '--config.seed', '7').seed == 7
  with pytest.raises(errors.UserError, match='has no value: give'):
    config_flag.take(['train', '--config.seed', '--workdir=x'])


def test_keys_that_share_a_value_change_together():
  config = config_flag.load(
      f'{helpers.ROOT}/configs/multiscale_gopro.py',
      {'data.train.root': 'elsewhere', 'method.pyramid': 'nearest'})
  assert config.data.test.root == 'elsewhere'
  assert config.nets.net.pyramid == 'nearest'


@pytest.mark.parametrize(('word', 'message'), [
    ('sed=1', "no key sed. Did you mean 'seed'"),
    ('nets.generator.scales=1', "no key nets.generator.scales. Did you mean "
                                "'nets.net.scales'"),
    ('optim.net.lr.x=1', 'no key optim.net.lr.x: optim.net.lr is 0.0001'),
    ('optim.net.weight_deca=1', "Unknown key optim.net.weight_deca; known: .*"
                                "Did you mean 'weight_decay'"),
    ('optim.net.lr=fast', "optim.net.lr must be a number, got 'fast'"),
    ('optim.net.lr=nan', "optim.net.lr must be a number, got 'nan'"),
    ('optim.net.lr=1e999', 'optim.net.lr = inf is not finite'),
    ('nets.net.scales=2.5', 'nets.net.scales must be an integer, got 2.5'),
    ('nets.net.scales=None', 'nets.net.scales must be an integer, got None'),
    ('nets.net.residual=1', 'nets.net.residual must be True or False, got 1'),
    ('method.ema=high', "method.ema must be a number, got 'high'"),
    ('method.features=vgg.npz', 'method.features must be a dict such as '),
    ('augment.jpg=1', "Unknown key augment.jpg; .*Did you mean 'jpeg'"),
    ('augment.jpeg=often', "augment.jpeg must be a number, got 'often'"),
    ('augment.quality=3', 'augment.quality must be a list of 2, each a number'),
    ('data.train.windw=3', "Unknown key data.*windw"),
    ('data.train.scale=half', "data.train.scale must be a number, got 'half'"),
    ('data.loader.workers=all', "workers must be an integer or None, got 'al"),
    ('validate.crop=x', "validate.crop must be an integer, got 'x'"),
])
def test_faults_take_one_line(config, word, message):
  with pytest.raises(errors.UserError, match=message) as caught:
    train.setup(_changed(config, f'--config.{word}').to_dict())
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name, message', [
    ('multiscale_gpro.py:debug',
     r"configs/multiscale_gpro\.py\. Did you mean 'multiscale_gopro'\?$"),
    ('zzz.py', r'No config file .*configs/zzz\.py\.$')])
def test_a_file_that_does_not_exist(name, message):
  with pytest.raises(errors.UserError, match=message):
    config_flag.load(f'{helpers.ROOT}/configs/{name}')


def test_settings_need_a_config(monkeypatch):
  values = flags.FlagValues()
  flags.DEFINE_string('config', None, '', flag_values=values)
  values(['train'])
  monkeypatch.setattr(config_flag.flags, 'FLAGS', values)
  config_flag.take(['train', '--config.seed=1'])
  with pytest.raises(errors.UserError, match='seed changes a config: give'):
    config_flag.value()
