"""Bundled models: written, distinguished, verified, loaded."""

import helpers
import jax
import numpy as np
import pytest
import run_folders

from deblur_jax import data, errors, methods, models
from deblur_jax.inference import tiling
from deblur_jax.ops import bit_depth, weight_files
from deblur_jax.pretrained import zoo
from deblur_jax.training import workdir

ABOUT = {'summary': 'A test.', 'licence': 'MIT', 'trained': {}, 'sources': [
    {'name': 'nothing', 'terms': 'none'}]}
BLUR = np.random.default_rng(0).random((1, 16, 20, 3), np.float32)


@pytest.fixture(scope='module')
def shipped(tmp_path_factory):
  """(folder of models, the run from which they were made)."""
  root = tmp_path_factory.mktemp('zoo')
  config = helpers.tiny(**{'nets.net': dict(
      name='multiscale', scales=1, blocks=0, features=4, dtype='bfloat16')})
  run_folders.untrained(root / 'run', config)
  for name in ('other', zoo.DEFAULT):
    zoo.write(root / 'run', name, about=ABOUT, folder=root / 'models')
  return root / 'models', root / 'run'


def restored(model, method):
  return np.asarray(jax.jit(method.restore)(model.state, BLUR))


@pytest.mark.parametrize('name', ['kernel_estimation', 'blur_classification'])
def test_a_run_that_estimates_blur_does_not_restore(name, tmp_path):
  workdir.write_config(tmp_path, helpers.get_config(name).to_dict())
  with pytest.raises(errors.UserError, match='does not restore'):
    zoo.load(tmp_path)


def test_a_model_is_the_network_of_its_run(shipped):
  folder, run = shipped
  assert zoo.names(folder) == [zoo.DEFAULT, 'other']   # the default first
  card = zoo.card('other', folder=folder)
  assert card['parameters'] == 607 and card['net']['dtype'] == 'float32'
  model, theirs = zoo.load('other', folder=folder), zoo.load(run)
  assert model.exact is None and theirs.exact is not None
  assert (model.dtype, theirs.dtype) == ('float32', 'bfloat16')
  np.testing.assert_allclose(
      restored(model, model.method), restored(theirs, theirs.exact), atol=1e-6)
  half = zoo.load('other', dtype='bfloat16', folder=folder)
  assert half.dtype == 'bfloat16'
  error = np.abs(restored(half, half.method) - restored(model, model.method))
  assert 0 < error.max() < 0.05
  np.testing.assert_array_equal(
      restored(half, half.exact), restored(model, model.method))


def test_the_mean_of_two(shipped, tmp_path):
  folder, run = shipped
  other = tmp_path / 'other'
  config = workdir.read_config(run)
  theirs = run_folders.untrained(other, config, scale=0.5)
  zoo.write(run, 'mean', about=ABOUT, folder=tmp_path,
            mean_with=(str(other), 0.25))
  found = zoo.load('mean', folder=tmp_path).state.params['net']
  ours = zoo.load('other', folder=folder).state.params['net']
  jax.tree.map(lambda a, b, c: np.testing.assert_allclose(
      a, 0.75 * b + 0.25 * c, atol=1e-6), found, ours, theirs)


def test_a_run_may_begin_where_a_model_ended(shipped, tmp_path):
  folder, _ = shipped
  path = folder / 'other.safetensors'
  net = zoo.card('other', folder=folder)['net']
  begin = lambda **changes: methods.build(helpers.tiny(**{
      'nets.net': dict(net), 'method.init_from': {'path': str(path)}}
                                          | changes)).init(
          jax.random.key(0), {'blur': BLUR})
  params = zoo.load('other', folder=folder).state.params
  jax.tree.map(np.testing.assert_array_equal, begin().params, params)
  with pytest.raises(
      errors.UserError, match='nets.net.features is 8, but 4 in'):
    begin(**{'nets.net.features': 8})
  with pytest.raises(errors.UserError, match='other.*generator is missing'):
    begin(**{'method.init_from.role': 'generator'})
  (tmp_path / 'bad.json').write_bytes(path.with_suffix('.json').read_bytes())
  (tmp_path / 'bad.safetensors').write_bytes(path.read_bytes()[:-1] + b'x')
  with pytest.raises(errors.UserError, match='another file, or damaged'):
    begin(**{'method.init_from.path': str(tmp_path / 'bad.safetensors')})
  (tmp_path / 'bad.json').write_text('{"sha256": "", "net": {}}')
  with pytest.raises(errors.UserError, match='bad.json.net.name is missing'):
    begin(**{'method.init_from.path': str(tmp_path / 'bad.safetensors')})
  (tmp_path / 'lone.safetensors').write_bytes(path.read_bytes())
  with pytest.raises(errors.UserError, match='no card beside it, lone.json'):
    begin(**{'method.init_from.path': str(tmp_path / 'lone.safetensors')})
  # The config of its student does not repeat the teacher's network.
  student = methods.build(helpers.tiny(**{
      'nets.net': net | dict(features=2),
      'method': dict(name='distill', teacher=dict(path=str(path)))}))
  state = student.init(jax.random.key(0), {'blur': BLUR})
  jax.tree.map(np.testing.assert_array_equal, state.frozen['teacher'],
               params['net'])


def test_damaged_weights_are_refused(shipped, tmp_path):
  folder, _ = shipped
  for path in folder.glob('other.*'):
    (tmp_path / path.name).write_bytes(path.read_bytes())
  zoo.verify('other', folder=tmp_path)
  weights = tmp_path / 'other.safetensors'
  weights.write_bytes(weights.read_bytes()[:-1] + b'x')
  for fails in (zoo.verify, zoo.load):
    with pytest.raises(errors.UserError, match='another file, or damaged'):
      fails('other', folder=tmp_path)
  (tmp_path / 'other.json').write_text('{}')
  with pytest.raises(errors.UserError, match='has no summary'):
    zoo.card('other', folder=tmp_path)


@pytest.mark.parametrize('name, message', [
    ('othr', "No model 'othr'.*Did you mean 'other'"),
    ('../../x', 'No file .*config.json|No folder|config.json'),
])
def test_unknown_models(shipped, name, message):
  with pytest.raises(errors.UserError, match=message) as error:
    zoo.load(name, folder=shipped[0])
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', zoo.names())
def test_bundled_models_agree_with_their_cards(name):
  zoo.verify(name)
  card = zoo.card(name)
  net = models.build(**card['net'])
  found = models.own(net, weight_files.read_tree(
      zoo.SHIPPED / card['weights'], what='weights'))
  assert models.count_parameters(found) == card['parameters']
  assert card['licence'] and card['sources'] and card['scores']
  assert card['seconds_720p'] > 0
  for source in card['sources']:
    assert source['name'] and source['terms']


def test_the_wheel_stays_small():
  assert zoo.names()[0] == zoo.DEFAULT == 'maxim-2'
  assert sum(path.stat().st_size for path in zoo.SHIPPED.iterdir()) <= 60e6
  files = {zoo.card(name)['weights'] for name in zoo.names()}
  assert files == {path.name for path in zoo.SHIPPED.glob('*.safetensors')}


def test_the_smallest_model_sharpens_and_keeps_sharp_pictures():
  model = zoo.load('small')
  restore = tiling.build(model.method, model.state, model.mesh, tile=128,
                         overlap=32)
  source = data.open_source(name='builtin', split='test')
  psnr = lambda image, sharp: -10 * np.log10(np.mean((image - sharp)**2))
  gains = []
  for number in (0, 4):      # of a face, of a cup
    pair = {key: bit_depth.to_float(picture[:120, :128])
            for key, picture in source.read(number).items()}
    found = restore(pair['blur'])
    assert found.rejected == 0
    gains.append(psnr(found.image, pair['sharp'])
                 - psnr(pair['blur'], pair['sharp']))
    assert psnr(restore(pair['sharp']).image, pair['sharp']) > 35
  assert np.mean(gains) > 0
  random = np.random.default_rng(0)
  for strange in (np.full((120, 128, 3), np.array([33, 25, 23]) / 255),
                  np.zeros((120, 128, 3)), np.ones((120, 128, 3)),
                  random.random((120, 128, 3))):
    strange = strange.astype(np.float32)
    assert tiling.agrees(restore(strange).image, strange)
