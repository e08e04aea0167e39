"""Each kind of config is traced; a few are trained and evaluated."""

import os
import subprocess
import sys

import helpers
import numpy as np
import pytest

from deblur_jax import errors, methods, models
from deblur_jax.evaluation import test_sets
from deblur_jax.priors import solve
from deblur_jax.training import train, workdir

# It has a frozen network. Tracing, and the steps of tests/methods, cover the
# others.
TRAINED = 'distill'


@pytest.fixture(scope='module')
def eight_devices(tmp_path_factory):
  """The folder of eight_devices.py."""
  folder = tmp_path_factory.mktemp('eight')
  path = os.pathsep.join(map(str, (helpers.ROOT, helpers.ROOT / 'tests')))
  done = subprocess.run(
      [sys.executable, '-m', 'eight_devices', folder, TRAINED],
      env=os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': path},
      capture_output=True, text=True)
  assert not done.returncode, done.stderr
  return folder


@pytest.mark.parametrize('name', helpers.KINDS)
def test_debug_form_is_traced_on_eight_devices(name, eight_devices):
  traced = workdir.read_json(eight_devices / 'traced.json')
  assert traced[name] == 16


def test_debug_run(eight_devices):
  folder = eight_devices / TRAINED
  config = helpers.get_config(TRAINED).to_dict()
  assert config['batch_size'] is None
  # Here are two devices: the batch of the run stays.
  stored, parts = train.prepare(config, folder)
  assert stored['batch_size'] == parts.batch_size == 16
  assert workdir.read_config(folder)['batch_size'] == 16
  result = test_sets.run(stored, folder, limit=1, pictures=1)
  assert len(result['rows']) == 1
  for title in ('input', 'mean'):
    assert np.isfinite(list(result[title].values())).all()
  assert workdir.read_json(folder / 'eval.json') == result
  assert len(list((folder / 'eval_pictures').iterdir())) == 3


@pytest.mark.parametrize('changes, batch_size', [
    ({}, 4), ({'method.accumulate': 3}, 12), ({'nets.net.remat': True}, 4)])
def test_batch_follows_devices_and_parts(changes, batch_size, tmp_path):
  config = helpers.changed('multiscale_gopro', **changes)
  resolved, _ = train.prepare(config, tmp_path / 'run')
  assert resolved['batch_size'] == batch_size


@pytest.mark.parametrize('name, arg', [
    *((name, None) for name in helpers.CONFIGS),
    ('cycle_physics', 'small'), ('cycle_unpaired', 'perceptual'),
    ('deblurgan_gopro', 'small'), ('deblurgan_gopro', 'small_l1'),
    ('distill', 'small'), ('finetune', 'side_by_side'),
    ('mimo_unet', 'cbam'), ('mimo_unet', 'small'),
    ('multiscale_photos', 'small'), ('prune', 'int8'), ('prune', 'int8_small'),
    ('prune', 'small'), ('small', 'groups'), ('small', 'widths_truth')])
def test_full_form_builds(name, arg):
  config = helpers.get_config(name, arg).to_dict()
  train.check(config)
  methods.check(config)
  nets = config['nets']
  if any('name' not in kwargs for kwargs in nets.values()):
    nets = methods.complete(config)['nets']    # has those of bundled models
  for kwargs in nets.values():
    models.build(**kwargs)


@pytest.mark.parametrize('name', helpers.CONFIGS)
def test_docstring_has_its_command(name):
  text = (helpers.ROOT / 'configs' / f'{name}.py').read_text()
  assert f'--config=configs/{name}.py' in text.split('"""')[1]


@pytest.mark.parametrize('name', helpers.PRIORS)
def test_full_form_of_a_prior_builds(name):
  config = helpers.get_config(name, None).to_dict()
  solve.check(config)
  assert methods.build(config).per_image
  text = (helpers.ROOT / 'configs' / f'{name}.py').read_text()
  assert f'--task={name.removeprefix("prior_")} ' in text.split('"""')[1]
  with pytest.raises(errors.UserError, match='experiments.prior'):
    train.check(config)


def test_mimo_unet_is_the_published_network():
  """With its number of parameters; attention is an argument."""
  net = lambda arg: models.build(
      **helpers.get_config('mimo_unet', arg).nets.net.to_dict())
  count = lambda arg: models.count_parameters(models.shapes(net(arg)))
  assert count(None) == 6_807_171 < count('cbam')
  assert net('small').attention == net(None).attention == 'none'


def test_root_and_subset_are_one_value():
  config = helpers.get_config('multiscale_gopro', None)
  with config.unlocked():
    config.data.train.root = 'elsewhere'
    config.data.test.subset = 'blur'
  assert config.data.test.root == 'elsewhere'
  assert config.data.train.subset == 'blur'
