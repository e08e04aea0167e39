"""Configs that training refuses before it decodes pictures or initializes."""

import json
import os

import numpy as np
import pytest
import sample_pictures
from helpers import tiny
from PIL import Image

from deblur_jax import data, errors, methods
from deblur_jax.pretrained import zoo
from deblur_jax.training import checkpoint, train, workdir


@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
  """A set with intact headers and pictures that cannot be decoded."""
  root = tmp_path_factory.mktemp('pairs')
  random = np.random.default_rng(0)
  for side in ('blur', 'sharp'):
    (root / side).mkdir()
    for name in (1, 2):
      path = root / side / f'{name}.png'
      Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)).save(path)
      path.write_bytes(path.read_bytes()[:200])
      sample_pictures.save(
          root / 'sound' / side / path.name, sample_pictures.smooth(name)[side])
  (root / 'empty').mkdir()
  return root


def config_of(pairs, **changes):
  """A valid config with this set, and changes that make it invalid."""
  config = tiny(**{'nets.net.scales': 1, 'data.loader.backend': 'threads'})
  for part in ('train', 'test'):
    config['data'][part] = dict(
        name='folder_pairs', blur=str(pairs / 'blur'),
        sharp=str(pairs / 'sharp'))
  for path, value in changes.items():
    *folders, key = path.split('.')
    place = config
    for folder in folders:
      place = place[folder]
    place[key] = value(pairs) if callable(value) else value
  return config


def check_refused(config, folder, message, **options):
  with pytest.raises(errors.UserError, match=message) as caught:
    train.run(config, folder, **options)
  assert not isinstance(caught.value, data.BadPairs) or (
      caught.value.problems[0].kind != 'corrupt')
  assert '\n' not in str(caught.value)
  assert not folder.exists()


def test_data_sets_are_listed_before_anything_is_built(
    pairs, tmp_path, monkeypatch):
  def build(*args, **kwargs):
    raise AssertionError('built before data.test was looked at')
  monkeypatch.setattr(train.methods, 'build', build)
  monkeypatch.setattr(train.data, 'build', build)    # would import TensorFlow
  check_refused(config_of(pairs, **{'data.test.sharp': str(pairs / 'none')}),
                tmp_path / 'run', 'No folder .*none')


DISTILL = dict(name='distill', teacher=dict(path='runs/none'))


@pytest.mark.parametrize('key, value, message', [
    # The top level.
    ('sed', 0, "Unknown config key sed; .* Did you mean 'seed'"),
    ('seed', None, 'seed must be an integer, got None'),
    ('seed', True, 'seed must be an integer, got True'),
    ('total_steps', 0, 'total_steps must be at least 1, got 0'),
    ('total_steps', True, 'total_steps must be at least 1, got True'),
    ('log_every', 0.5, 'log_every must be at least 1, got 0.5'),
    ('save_every', 0, 'save_every must be at least 1, got 0'),
    ('split_state', 'all', "split_state must be True or False, got 'all'"),
    ('profile', (3, 3), r'profile = \(3, 3\) must be \(\) or two steps, 0 <= '),
    ('profile', [1, 9], r'profile = \[1, 9\] .* <= total_steps = 2; \(100, '),
    ('profile', 5, 'profile = 5 must be'),
    ('profile', (0.5, 1), 'profile = .0.5, 1. must be'),
    ('optim', 'adam', "optim must be a dict, got 'adam'"),
    ('batch_size', 3, '3 is not divisible by the 2 devices; .*batch_size=2'),
    # Networks, optimizers, methods, initial weights.
    ('nets', {'generator': dict(name='resnet')}, 'nets.net is missing'),
    ('nets.net.scales', 0, 'nets.net.scales must be at least 1, got 0'),
    ('nets.net.features', 0, 'nets.net.features must be at least 1, got 0'),
    ('nets.net.scals', 2, "Unknown key nets.*scals; .*Did you mean 'scales'"),
    ('nets.net.name', 'multiscales', "Unknown .*Did you mean 'multiscale'"),
    ('optim.net.lrr', 1.0, "Unknown key optim.net.lrr; .*Did you mean 'lr'"),
    ('optim.net.schedule', 'cos', "Unknown optim schedule 'cos'"),
    ('method.name', 'supervise', "Did you mean 'supervised'"),
    ('method.los', 'l1', "Unknown key method.los; .*Did you mean 'loss'"),
    ('method.loss', 'l3', "Unknown loss 'l3'"),
    ('method.accumulate', 0, 'method.accumulate must be at least 1, got 0'),
    ('method.init_from', 'maxim-1', 'method.init_from must be a dict'),
    ('method.init_from', dict(path='maxim-9'), "No model 'maxim-9'"),
    ('method.init_from', dict(path='runs/none'), 'No config.json in runs/none'),
    ('method', DISTILL, 'No config.json in runs/none'),
    # Data, and its preparation in the step.
    ('data.trin', {}, 'Unknown key data.trin'),
    ('data.train', {}, 'data.train.name is missing'),
    ('data.train.name', 'gropo', "Unknown source 'gropo'"),
    ('data.train.blur', 'none', 'No folder none: set --config.data.train.blur'),
    ('data.train', lambda pairs: dict(name='photos', root=str(pairs / 'sharp')),
     'sharp pictures only: set data.blur'),
    ('data.blur', 'line', 'data.blur must be a dict .*, got line'),
    ('augment.preset', 'flip', "Did you mean 'flips'"),
    ('augment.hflp', 0.5, 'Unknown key augment.hflp'),
    ('data.loader', {}, 'data.loader.crop is missing'),
    ('data.loader.backend', 'tfdata', "Did you mean 'tf_data'"),
    ('data.loader.prefech', 1, "Did you mean 'prefetch'"),
    ('data.loader', dict(backend='resident', crop=16, limit_gib=1e-9),
     'needs 0.00 GiB on every device'),
    ('data.loader.crop', 50, '64x48 is below crop 50'),
    ('data.loader.progressive', 1e308, '1e[+]308 is not a row of step, crop'),
    ('data.loader.progressive', [(1, 64, 4)], '64x48 is below crop 64'),
    ('data.loader.progressive', [(1, 32, 3)], '3 is not divisible by the 2'),
    # The test set.
    ('data.test', {}, 'data.test.name is missing'),
    ('data.test.sharp', lambda pairs: str(pairs / 'none'), 'No folder .*none'),
    ('data.test.sharp', lambda pairs: str(pairs / 'empty'),
     'no name has both pictures'),
    ('data.test', lambda pairs: dict(name='photos', root=str(pairs / 'sharp')),
     'no blur picture for each name, and evaluation needs pairs'),
    ('data.test', dict(name='gopro', root='none', subset='blur', split='test'),
     'No folder none: set --config.data.test.root'),
    ('data.test.window', 3, 'set data.test.window=1'),
    ('validate.pictures', 0, 'validate.pictures must be at least 1, got 0'),
    ('validate.size', 9, 'Unknown key validate.size; known: crop, pictures'),
    ('validate', {'pictures': 1}, 'validate.crop is missing'),
])
def test_faults_of_the_config(tmp_path, pairs, key, value, message):
  check_refused(config_of(pairs, **{key: value}), tmp_path / 'run', message)


@pytest.mark.parametrize('changes, message', [
    ({'nets.net.scales': 2, 'data.loader.crop': 17},
     r'crop = 17 is not divisible by 2\^\(K-1\) = 2'),
    ({'nets.net.scales': 2, 'data.loader.progressive': [(1, 17, 4)]},
     'crop = 17 is not divisible'),
    ({'method.accumulate': 3, 'batch_size': 4},
     'not divisible by method.accumulate = 3'),
    ({'method.accumulate': 4, 'batch_size': 4,
      'data.loader.progressive': [(1, 16, 2)]}, '2 .*method.accumulate = 4'),
])
def test_faults_of_two_keys(tmp_path, pairs, changes, message):
  check_refused(config_of(pairs, **changes), tmp_path / 'run', message)


def test_then_pictures_are_decoded(tmp_path, pairs):
  """With a valid config training decodes a picture, which fails."""
  config = config_of(pairs)
  for _ in range(2):
    with pytest.raises(errors.UserError, match=r'/blur/1\.png'):
      train.run(config, tmp_path / 'run')
    config['data']['train'].update(
        blur=str(pairs / 'sound/blur'), sharp=str(pairs / 'sound/sharp'))
  assert not (tmp_path / 'run').exists()


def test_faults_of_the_folder(tmp_path, pairs, monkeypatch):
  config = config_of(pairs)
  (tmp_path / 'file').write_text('')
  check_refused(config, tmp_path / 'file' / 'run', 'file is not a folder that')
  with workdir.locked(tmp_path):
    with pytest.raises(errors.UserError, match='Another process trains in'):
      train.run(config, tmp_path)
  (tmp_path / workdir.LOCK).unlink()
  usage = checkpoint.shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
      checkpoint.shutil, 'disk_usage', lambda path: usage._replace(free=1000))
  check_refused(config, tmp_path / 'run', r'No checkpoint can be saved in .*: '
                r'no space left \(.* MB needed, 0.0 MB free\)')


def test_a_run_of_an_older_version_is_refused(tmp_path, pairs):
  """Its config has other keys, its checkpoints other parts."""
  config = config_of(pairs)
  old = json.loads(json.dumps(config))
  old['data']['loader']['loader'] = old['data']['loader'].pop('backend')
  old['method']['start'] = dict(path='maxim-1')
  workdir.write_json(tmp_path / workdir.CONFIG, old)
  workdir.write_json(tmp_path / workdir.ENVIRONMENT, {'commit': '0123abc'})
  (tmp_path / workdir.CHECKPOINTS / '2' / 'state').mkdir(parents=True)
  before = sorted(os.walk(tmp_path))
  config['method']['init_from'] = dict(path=str(tmp_path))
  for use in (lambda: train.run(config, tmp_path, allow_config_change=True),
              lambda: workdir.read_config(tmp_path),
              lambda: methods.build(config), lambda: zoo.load(tmp_path)):
    with pytest.raises(errors.UserError, match=(
        r'holds a run in format 1, which another version of deblur_jax made '
        r'\(commit 0123abc\); this version reads format 3\. Use that version '
        r'for it, or train again in another folder\.$')):
      use()
  assert sorted(os.walk(tmp_path)) == before
