"""Deep image priors: fits of single images, alone and many at once."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from deblur_jax import methods, parallel, restore, types
from deblur_jax.blur import operators
from deblur_jax.methods import records

PRIORS = [name for name in helpers.CONFIGS if name.startswith('prior_')]


def config_of(name='prior_denoise', **overrides):
  config = helpers.get_config(name).to_dict()
  for path, value in overrides.items():
    *folders, key = path.split('.')
    functools.reduce(dict.get, folders, config)[key] = value
  return config


def pictures(count=2, size=16, channels=3):
  noise = np.random.default_rng(0).random((count, size, size, channels))
  smooth = scipy.ndimage.gaussian_filter(noise, (0, 2, 2, 0))
  low, high = smooth.min(), smooth.max()
  return ((smooth - low) / (high - low)).astype(np.float32)


def batch_for(name, count=2):
  """What the method of a config takes, of small pictures."""
  sharp = pictures(count, size=32)
  batch = {'blur': sharp, 'sharp': sharp}
  if name == 'prior_sr':
    batch['blur'] = sharp[:, ::4, ::4]
  if name == 'prior_inpaint':
    batch['mask'] = (pictures(count, 32, 1) > 0.4).astype(np.float32)
  if name == 'prior_deblur':
    batch['kernel'] = np.full((count, 3, 3), 1 / 9, np.float32)
  if name == 'prior_flash':
    batch['guide'] = sharp
  return batch


def fit(config, batch, steps=4, devices=1, **options):
  method = methods.build(config)
  mesh = parallel.data_mesh(jax.devices()[:devices])
  return restore.fit_images(
      method, batch, jax.random.key(0), steps, mesh, chunk=2, **options)


@pytest.mark.parametrize('name', PRIORS)
def test_every_config_fits_its_kind_of_picture(name):
  config, batch = config_of(name), batch_for(name)
  fitted = fit(config, batch)
  assert int(fitted.state.step) == 4
  for value in fitted.curve.values():
    assert value.shape == (4, 2) and not np.isnan(value).any()
  for image in fitted.state.extra['record']['kept'].values():
    assert image.shape == batch['sharp'].shape
    assert np.isfinite(image).all()
  restored = methods.build(config).restore(fitted.state, batch['blur'])
  assert restored.shape == batch['sharp'].shape


@pytest.mark.parametrize('in_turn', [False, True])
def test_an_image_becomes_what_it_does_alone(in_turn):
  """Whatever is beside it, and on two devices."""
  config = config_of(**{'method.in_turn': in_turn})
  batch = batch_for('prior_denoise')
  both = fit(config, batch)
  alone = fit(config, jax.tree.map(lambda x: x[1:], batch))
  spread = both if in_turn else fit(config, batch, devices=2)
  for other, row in ((alone, 0), (spread, 1)):
    np.testing.assert_allclose(
        other.state.extra['record']['kept']['last'][row],
        both.state.extra['record']['kept']['last'][1], atol=1e-4)


def test_seeds_are_fits_of_their_own():
  batch = jax.tree.map(lambda x: x.repeat(2, axis=0), batch_for(
      'prior_denoise', count=1))
  batch['seed'] = np.array([0, 3], np.int32)
  first, second = fit(config_of(), batch).state.extra['record']['kept']['last']
  assert np.abs(first - second).max() > 1e-3


def test_a_fit_finds_the_picture():
  config = config_of(**{
      'optim.net.lr': 0.02, 'nets.net.down': (16, 16), 'method.jitter': 0.0})
  batch = batch_for('prior_denoise', count=1)
  method = methods.build(config)
  fitted = restore.fit_images(
      method, batch, jax.random.key(0), 150, parallel.data_mesh(
          jax.devices()[:1]), chunk=50)
  assert fitted.curve['psnr'][-1, 0] > 25 > fitted.curve['psnr'][0, 0] + 5
  assert fitted.seconds > 0


def test_it_ends_when_all_have_stopped():
  config = config_of(**{
      'method.stopping': dict(name='emv', warmup=1, patience=1),
      'optim.net.lr': 1e-9, 'method.jitter': 0.5})
  done = []
  fitted = fit(config, batch_for('prior_denoise'), steps=100,
               on_chunk=done.append)
  assert fitted.curve['stopped'][-1].all()
  assert len(fitted.curve['loss']) == done[-1] < 100


def test_what_is_masked_and_what_is_held_out_is_not_fitted():
  """Other values there change nothing."""
  config = config_of('prior_inpaint', **{
      'method.stopping': dict(name='held_out', share=0.3)})
  batch = batch_for('prior_inpaint')
  one = fit(config, batch)
  lost = {**batch, 'blur': np.where(batch['mask'] > 0, batch['blur'], 9.0)}
  other = fit(config, lost)
  np.testing.assert_allclose(one.curve['loss'], other.curve['loss'])
  held = np.asarray(one.state.extra['held'])
  assert 0.2 < held.mean() < 0.4
  moved = {**batch, 'blur': np.where(held, 9.0, batch['blur'])}
  np.testing.assert_allclose(
      one.curve['loss'], fit(config, moved).curve['loss'])


def test_a_known_kernel_reads_beyond_the_picture():
  """f is larger than y, and the result is y's size, from its middle."""
  config = config_of('prior_deblur')
  batch = batch_for('prior_deblur', count=1)
  batch['kernel'] = np.zeros((1, 3, 5), np.float32)
  batch['kernel'][0, 1, 2] = 1     # does nothing
  method = methods.build(config)
  state = method.init(jax.random.key(0), batch)
  assert state.extra['code'].shape[1:3] == (34, 36)
  fitted = fit(config, batch)
  kept = fitted.state.extra['record']['kept']['last']
  error = np.mean(np.square(kept - batch['blur']))
  np.testing.assert_allclose(fitted.curve['fit'][-1, 0], error, rtol=1e-4)


def test_what_is_blind_is_seen_through_its_own_kernel():
  config, batch = config_of('prior_blind'), batch_for('prior_blind', count=1)
  fitted = fit(config, batch)
  kernel = np.asarray(fitted.state.extra['kernel'])
  assert kernel.shape == (1, 5, 5) and kernel.min() >= 0
  np.testing.assert_allclose(kernel.sum(axis=(1, 2)), 1, rtol=1e-5)
  kept = fitted.state.extra['record']['kept']['last']
  inside = operators.uniform(jnp.asarray(kernel), border='valid').forward(
      jnp.asarray(kept))
  error = np.mean(np.square(inside - batch['blur'][:, 2:-2, 2:-2]))
  # All but the border, which is read from beyond the result.
  np.testing.assert_allclose(error, fitted.curve['fit'][-1, 0], rtol=0.3)


def test_a_classical_start_pulls_the_kernel():
  batch = batch_for('prior_blind', count=1)
  guide = np.zeros((1, 5, 5), np.float32)
  guide[0, 2, 1:4] = 1 / 3
  batch |= {'guide': batch['blur'], 'guide_kernel': guide}
  distance = []
  for weight in (0.0, 10.0):
    config = config_of('prior_blind', **{
        'method.guide': weight, 'optim.kernel.lr': 0.05})
    kernel = fit(config, batch, steps=10).state.extra['kernel']
    distance.append(float(np.abs(kernel - guide).sum()))
  assert distance[1] < 0.8 * distance[0]
  del batch['guide']
  with pytest.raises(types.UserError, match="estimate, batch\\['guide'\\]"):
    fit(config, batch)


@pytest.mark.parametrize('row', records.KEPT)
def test_the_result_is_what_was_asked_for(row):
  config = config_of(**{'method.result': row})
  method = methods.build(config)
  batch = batch_for('prior_denoise', count=1)
  state = method.init(jax.random.key(0), batch)
  state, _ = jax.jit(method.step)(state, batch, jax.random.key(0))
  np.testing.assert_array_equal(
      method.restore(state, batch['blur']), state.extra['record']['kept'][row])


@pytest.mark.parametrize('name, change, message', [
    ('prior_denoise', {'method.loss': 'mess'}, "Unknown loss 'mess'"),
    ('prior_denoise', {'method.code': 'nois'}, "Did you mean 'noise'"),
    ('prior_denoise', {'method.result': 'bst'}, "Did you mean 'best'"),
    ('prior_denoise', {'method.jiter': 0.1}, 'Unknown key method.jiter'),
    ('prior_denoise', {'method.code': 'meshgrid'}, 'set nets.net.depth=2'),
    ('prior_denoise', {'method.code': 'guide'}, "needs a picture 'guide'"),
    ('prior_denoise', {'method.code': 'observed'}, 'set nets.net.depth'),
    ('prior_denoise', {'method.loss': 'sure'}, 'code=observed, method.sigma'),
    ('prior_denoise', {'method.stopping': dict(name='sure')},
     "needs method.loss='sure', got 'mse'"),
    ('prior_sr', {'method.factor': 0}, 'factor must be at least 1, got 0'),
    ('prior_blind', {'nets.kernel.size': (4, 5)}, 'two odd numbers'),
    ('prior_blind', {'method.losses_in_turn': ('mse',)}, 'must be two'),
    ('prior_blind', {'nets': {'image': dict(name='skip')}},
     'nets.kernel is missing'),
])
def test_mistakes_are_one_line(name, change, message):
  with pytest.raises(types.UserError, match=message) as error:
    method = methods.build(config_of(name, **change))
    method.init(jax.random.key(0), batch_for(name))
  assert '\n' not in str(error.value)


def test_fits_and_trained_methods_are_not_mixed_up():
  supervised = methods.build(helpers.tiny())
  with pytest.raises(types.UserError, match='does not fit images one by one'):
    restore.fit_images(supervised, {}, jax.random.key(0), 2,
                       parallel.data_mesh())
  with pytest.raises(types.UserError, match='3 steps are not a multiple'):
    fit(config_of(), batch_for('prior_denoise'), steps=3)
