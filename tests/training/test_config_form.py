"""Values of config.json that are out of bounds are refused with their key."""

import json

import helpers
import pytest

from deblur_jax import config as configs
from deblur_jax import errors, models
from deblur_jax.training import train, workdir


def written(folder, config, text=None):
  text = text or json.dumps({'format': workdir.FORMAT, **config})
  (folder / workdir.CONFIG).write_text(text, encoding='utf-8')
  return folder


@pytest.mark.parametrize('key, value, message', [
    ('nets', [], r'nets must be a dict, got \[\]'),
    ('nets.net', 3, r'nets\.net must be a dict, got 3'),
    ('optim.net', None, r'optim\.net must be a dict, got None'),
    ('data', 'gopro', "data must be a dict, got 'gopro'"),
    ('nets.net.scales', 10**400, r'nets\.net\.scales = 1000000.* is too large'),
    ('optim.net.lr', float('nan'), r'optim\.net\.lr = nan is not finite'),
    ('seed', [1] * 1000, 'seed has 1,000 entries, more than 200'),
    ('method.loss', 'l1' * 10_000, r'method\.loss has 20,000 characters'),
    ('augment', {str(i): i for i in range(20_000)}, 'more than 10,000 entries'),
])
def test_read(key, value, message, tmp_path):
  config = helpers.tiny(**{key: value})
  with pytest.raises(errors.UserError, match=message) as error:
    workdir.read_config(written(tmp_path, config))
  assert '\n' not in str(error.value) and len(str(error.value)) < 400
  assert str(tmp_path) in str(error.value)
  with pytest.raises(errors.UserError, match=message):
    train.check(config)


@pytest.mark.parametrize('levels, message', [
    (30, r'config\.json: seed\[0\].* has more than 20 levels'),
    (100_000, 'is not JSON: maximum recursion depth')])
def test_deep_nesting(levels, message, tmp_path):
  text = json.dumps({'format': workdir.FORMAT, **helpers.tiny()}).replace(
      '"seed": 0', f'"seed": {"[" * levels}{"]" * levels}')
  with pytest.raises(errors.UserError, match=message):
    workdir.read_config(written(tmp_path, {}, text))


@pytest.mark.parametrize('changes, message', [
    ({'total_steps': 10**12}, 'total_steps must be at most 2,147,483,647'),
    ({'data.train': 0.5}, r'data\.train must be a dict, got 0\.5'),
    ({'data.loader': []}, r'data\.loader must be a dict'),
])
def test_check(changes, message):
  with pytest.raises(errors.UserError, match=message):
    train.check(helpers.tiny(**changes))


@pytest.mark.parametrize('options, message', [
    (dict(scales=10**6), r'nets\.scales must be at most 4,096, got 1000000'),
    (dict(blocks=5000), r'nets\.blocks must be at most 4,096'),
    (dict(dtype=[['a']]), r"The dtype must be one of .*, got \[\['a'\]\]"),
    (dict(name=['a']), r"Unknown network \['a'\]; known: "),
    (dict(features=['x'] * 1000), r'nets\.features must be .*, \.\.\.\]\.'),
])
def test_networks(options, message):
  with pytest.raises(errors.UserError, match=message):
    models.build(**{'name': 'multiscale', **options})


def test_values_within_bounds():
  assert configs.check_values(helpers.tiny()) is None
