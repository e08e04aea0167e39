"""Deep image priors: fits of single images, alone and many at once."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from deblur_jax import errors, methods
from deblur_jax.blur import operators
from deblur_jax.inference import restoration
from deblur_jax.priors import double_prior, fit_record, fitting, results, tasks
from deblur_jax.training import loop, parallel

# It compiles twice as quickly as the configs' own networks.
DECODER = dict(name='deep_decoder', features=4, levels=1)
# What `built` changes in a config.
CHANGES = {
    'prior_blend': {
        'nets.first': DECODER, 'nets.second': DECODER,
        'nets.mask': dict(DECODER, channels=1)},
    'prior_blind': {
        'method.guide': 10.0, 'optim.kernel.lr': 0.05, 'nets.image': DECODER},
    'prior_denoise': {'nets.net': DECODER},
}
# One of each method is run, one with its own network; of the others' networks a
# step is traced.
RUN = ('prior_blend', 'prior_blind', 'prior_deblur')
OWN = ('prior_deblur',)


def config_of(name='prior_denoise', **overrides):
  return helpers.changed(name, **overrides)


def pictures(count=2, size=16, channels=3):
  noise = np.random.default_rng(0).random((count, size, size, channels))
  smooth = scipy.ndimage.gaussian_filter(noise, (0, 2, 2, 0))
  low, high = smooth.min(), smooth.max()
  return ((smooth - low) / (high - low)).astype(np.float32)


def batch_for(name, count=2):
  """What the method of a config takes, of small pictures."""
  sharp = pictures(count, size=32)
  batch = {'observed': sharp, 'sharp': sharp, 'seed': np.zeros(count, np.int32)}
  if name == 'prior_sr':
    batch['observed'] = sharp[:, ::4, ::4]
  if name == 'prior_inpaint':
    batch['mask'] = (pictures(count, 32, 1) > 0.4).astype(np.float32)
  if name == 'prior_deblur':
    batch['kernel'] = np.full((count, 3, 3), 1 / 9, np.float32)
  if name == 'prior_blend':
    batch['hint'] = pictures(count, 32, 1)
  if name in ('prior_blind', 'prior_flash'):
    batch['guide'] = sharp
  if name == 'prior_blind':
    batch['guide_kernel'] = np.zeros((count, 5, 5), np.float32)
    batch['guide_kernel'][:, 2, 1:4] = 1 / 3
  return batch


def batch_of(name):
  """The same, as the task makes it from sharp pictures, where it can."""
  task = tasks.TASKS[name.removeprefix('prior_')]
  if not task.corrupt:
    return batch_for(name)
  options = {'factor': 4, 'kernel': np.full((3, 3), 1 / 9, np.float32)}
  options = {key: value for key, value in options.items()
             if key in task.options(made=True)}
  made = [task.corrupt(np.random.default_rng(0), sharp, **options)
          for sharp in pictures(2, 32)]
  return {key: np.stack([one[key] for one in made]) for key in made[0]}


@functools.cache
def built(name, steps=2, devices=1):
  """A config's method, and its chunk: compiled once for all tests."""
  return make(config_of(name, **CHANGES.get(name, {})), steps, devices)


def make(config, steps=2, devices=1, in_turn=None):
  method = methods.build(config)
  mesh = parallel.data_mesh(jax.devices()[:devices])
  return method, mesh, loop.make_chunk(
      method, steps=steps, mesh=mesh, in_turn=in_turn)


def fit(one, batch, steps=4, *, chunk=2, **options):
  method, mesh, run_chunk = one
  return restoration.fit_images(
      method, batch, jax.random.key(0), steps, mesh, chunk=chunk,
      run_chunk=run_chunk, **options)


def last(fitted):
  return np.asarray(fitted.state.buffers['record']['kept']['last'])


@pytest.mark.parametrize('name', sorted({*helpers.PRIORS} - {*OWN}))
def test_every_config_has_steps_for_its_kind_of_picture(name):
  method, batch = methods.build(config_of(name)), batch_of(name)
  state = jax.eval_shape(method.init, jax.random.key(0), batch)
  after, metrics = jax.eval_shape(method.step, state, batch, jax.random.key(0))
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  assert shapes(after) == shapes(state)
  for value in metrics.values():
    assert value.shape == (2,)
  assert {*after.buffers.get('found', ())} == {
      *tasks.TASKS[name.removeprefix('prior_')].found}
  for image in after.buffers['record']['kept'].values():
    assert image.shape == batch['sharp'].shape


@pytest.mark.parametrize('name', RUN)
def test_every_method_fits_its_kind_of_picture(name):
  batch = batch_for(name, count=1)
  fitted = fit(built(name), batch)
  assert int(fitted.state.step) == 4
  for value in fitted.curve.values():
    assert value.shape == (4, 1) and not np.isnan(value).any()
  kept = fitted.state.buffers['record']['kept']
  assert kept.keys() == fit_record.KEPT.keys()
  for row, image in kept.items():
    assert image.shape == batch['sharp'].shape
    assert np.isfinite(image).all() and image.max() > 0.1
    method = methods.build(config_of(name, **{'method.result': row}))
    np.testing.assert_array_equal(
        method.restore(fitted.state, batch['observed']), image)


@pytest.mark.parametrize('name', RUN)
def test_a_fit_that_is_not_finite_stops_and_says_so(name):
  batch = batch_for(name, count=1)
  batch['observed'] = np.full_like(batch['observed'], 3e38)
  fitted = fit(built(name), batch, 60)
  assert int(fitted.state.step) == fit_record.MAX_BROKEN
  curve = {key: values[:, 0] for key, values in fitted.curve.items()}
  assert results.failure(last(fitted)[0], batch['observed'][0], curve) == (
      'the loss or its gradient was not finite in 20 steps, the first of them '
      'step 1')


def test_why_a_fit_failed():
  observed = pictures(1)[0]
  curve = {'fit': np.full(30, 0.1), 'broken': np.zeros(30, int),
           'best_step': np.full(30, 29)}
  reason = lambda image=observed, **changes: results.failure(
      image, observed, curve | changes)
  assert not reason() and not reason(broken=np.arange(30) // 2)
  assert 'no contrast' in reason(np.full_like(observed, 0.5))
  grows = np.linspace(0.1, 0.5, 30)
  assert 'grew from 0.1 to 0.438' in reason(fit=grows)
  # After its best step a fit may do what it likes.
  assert not reason(fit=grows, best_step=np.full(30, 4))
  # One that began near the picture is still better than one colour.
  assert not reason(fit=np.linspace(1e-5, 1e-3, 30))


def test_an_image_becomes_what_it_does_alone():
  """Whatever is beside it, one after another or at once, on two devices."""
  batch = batch_for('prior_denoise')
  both = last(fit(built('prior_denoise'), batch))
  others = batch | {'observed': batch['observed'][[1, 1]]}
  beside = fit(built('prior_denoise'), others)
  np.testing.assert_array_equal(last(beside)[1], both[1])
  assert np.abs(last(beside)[0] - both[0]).max() > 1e-4
  # Two on each of two devices, and these two at once.
  twice = lambda x: np.concatenate([x, x[::-1]])
  spread = fit(
      make(config_of(**CHANGES['prior_denoise']), devices=2, in_turn=False),
      jax.tree.map(twice, batch))
  np.testing.assert_allclose(last(spread), twice(both), atol=1e-4)
  assert int(spread.state.step) == len(spread.curve['loss']) == 4


def test_seeds_are_fits_of_their_own():
  batch = jax.tree.map(
      lambda x: x[:1].repeat(2, axis=0), batch_for('prior_denoise'))
  same = last(fit(built('prior_denoise'), batch))
  np.testing.assert_array_equal(*same)
  batch['seed'] = np.array([0, 3], np.int32)
  first, second = last(fit(built('prior_denoise'), batch))
  np.testing.assert_array_equal(first, same[0])
  assert np.abs(first - second).max() > 1e-3


def test_a_fit_finds_the_picture():
  fitted = fit(built('prior_denoise'), batch_for('prior_denoise'), 80)
  assert (fitted.curve['psnr'][-1] > fitted.curve['psnr'][0] + 2).all()
  assert fitted.seconds > 0


def test_it_ends_when_all_have_stopped():
  config = config_of(**{
      'method.stopping': dict(name='emv', warmup=1, patience=1),
      'optim.net.lr': 1e-9, 'method.jitter': 0.5, 'nets.net': DECODER})
  fitted = fit(make(config), batch_for('prior_denoise', count=1), steps=100)
  assert fitted.curve['stopped'][-1].all()
  assert len(fitted.curve['loss']) < 100


def test_nothing_of_a_stopped_fit_changes_while_others_continue():
  """A fit that counts its steps in all its parts, and stops at its seed."""
  def begin(key, item):
    zero = jnp.zeros(())
    return {'params': {'net': zero}, 'opt_state': {'net': zero},
            'found': {'kernel': zero},
            'record': {'stopped': item['seed'] == 0, 'kept': {'last': zero}}}

  def advance(fit, item, key, step, frozen):
    new = jax.tree.map(lambda x: x + 1, fit | {'record': {
        'kept': fit['record']['kept']}})
    new['record']['stopped'] = step + 1 >= item['seed']
    return new, {}

  method = fitting.make(begin, advance, result='last')
  batch = {'observed': np.zeros((3, 8, 8, 3)), 'seed': np.array([1, 3, 9])}
  state = method.init(jax.random.key(0), batch)
  for _ in range(5):
    state, _ = method.step(state, batch, jax.random.key(0))
  for part in (state.params['net'], state.opt_state['net'],
               state.buffers['found']['kernel'],
               method.restore(state, batch['observed'])):
    np.testing.assert_array_equal(part, [1, 3, 5])


@pytest.mark.parametrize('part', ['mask', 'kernel'])
def test_sure_takes_noise_alone(part):
  config = config_of(**{
      'method.loss': 'sure', 'method.code': 'observed', 'method.sigma': 0.1,
      'nets.net.depth': 3, 'nets.net.down': (4,), 'nets.net.skip': 0})
  batch = batch_for('prior_denoise', count=1)
  batch[part] = np.ones((1, 3, 3) + (1,) * (part == 'mask'), np.float32)
  with pytest.raises(
      errors.UserError, match=f"loss='sure' .* not with a {part}"):
    jax.eval_shape(methods.build(config).init, jax.random.key(0), batch)


def test_what_is_masked_and_what_is_held_out_is_not_fitted():
  """Other values there change nothing, of a picture to be enlarged as well."""
  one = make(config_of('prior_sr', **{
      'method.stopping': dict(name='held_out', share=0.3),
      'nets.net': DECODER}))
  batch = batch_for('prior_sr', count=1)
  batch['mask'] = (batch['observed'][..., :1] > 0.4).astype(np.float32)
  first = fit(one, batch)
  assert last(first).shape == batch['sharp'].shape
  held = np.asarray(first.state.buffers['held'])
  assert 0.2 < held.mean() < 0.4
  for unseen in (batch['mask'] == 0, held):
    changed = np.where(unseen, 9.0, batch['observed']).astype(np.float32)
    other = batch | {'observed': changed}
    np.testing.assert_array_equal(
        first.curve['loss'], fit(one, other).curve['loss'])


def test_a_known_kernel_reads_beyond_the_picture():
  """f is larger than y, and the result is y's size, from its middle."""
  batch = batch_for('prior_deblur', count=1)
  batch['kernel'] = np.zeros((1, 3, 3), np.float32)
  batch['kernel'][:, 1, 1] = 1     # does nothing
  fitted = fit(built('prior_deblur'), batch)
  assert fitted.state.buffers['code'].shape[1:3] == (34, 34)
  error = np.square(last(fitted) - batch['observed']).mean(axis=(1, 2, 3))
  np.testing.assert_allclose(fitted.curve['fit'][-1], error, rtol=1e-4)


def test_what_is_blind_is_seen_through_its_own_kernel():
  batch = batch_for('prior_blind', count=1)
  fitted = fit(built('prior_blind'), batch)
  kernel = np.asarray(fitted.state.buffers['found']['kernel'])
  assert kernel.shape == (1, 5, 5) and kernel.min() >= 0
  np.testing.assert_allclose(kernel.sum(axis=(1, 2)), 1, rtol=1e-5)
  inside = operators.uniform(kernel[0], border='valid').forward(last(fitted))
  error = np.mean(np.square(inside - batch['observed'][:, 2:-2, 2:-2]))
  # All but the border, which is read from beyond the result.
  np.testing.assert_allclose(error, fitted.curve['fit'][-1, 0], rtol=0.3)


def test_sure_estimates_the_error_without_the_truth():
  """Stein's estimate of a code that is the noisy picture, over many probes."""
  config = config_of(**{
      'method.loss': 'sure', 'method.code': 'observed', 'method.sigma': 0.1,
      'method.jitter': 0.0, 'method.stopping': dict(name='sure'),
      'nets.net': dict(name='deep_decoder', features=3, levels=0),
      'optim.net.lr': 1e-9})
  sharp = pictures(1, size=32)
  noise = np.random.default_rng(1).normal(0, 0.1, sharp.shape)
  batch = {'observed': (sharp + noise).astype(np.float32), 'sharp': sharp}
  fitted = fit(make(config), batch, 60)
  error = np.mean(np.square(last(fitted) - sharp))
  np.testing.assert_allclose(fitted.curve['loss'].mean(), error, rtol=0.01)


def test_layers_whose_edges_lie_apart_cost_nothing():
  step = np.zeros((1, 16, 16, 3), np.float32)
  step[:, :, 8:] = 1
  excluded = jax.jit(double_prior.excluded)
  apart = excluded(step, np.swapaxes(step, 1, 2) * 0 + 0.5)
  same = excluded(step, 1 - step)
  assert float(apart) < 1e-6 < 1e-3 < float(same)
  assert np.isfinite(excluded(step[:, :1, :1], step[:, :1, :1]))


def test_a_broken_gradient_is_left_out():
  """One pixel of a huge value overflows float32: the fit stays as it was."""
  batch = batch_for('prior_denoise')
  batch['observed'] = batch['observed'].copy()
  batch['observed'][1] = 3e38
  fitted = fit(built('prior_denoise'), batch)
  whole = fit(built('prior_denoise'), batch_for('prior_denoise'))
  np.testing.assert_array_equal(last(fitted)[0], last(whole)[0])
  assert fitted.curve['back'][:, 1].all()
  for leaf in jax.tree.leaves((fitted.state.params, fitted.state.opt_state)):
    assert np.isfinite(leaf).all()


def test_a_classical_start_pulls_the_kernel():
  one, batch = built('prior_blind'), batch_for('prior_blind', count=1)
  with pytest.raises(errors.UserError, match="estimate, batch\\['guide'\\]"):
    fit(one, {key: batch[key] for key in ('observed', 'seed')})
  found = lambda steps: fit(one, batch, steps).state.buffers['found']['kernel']
  distance = [float(np.abs(found(steps) - batch['guide_kernel']).sum())
              for steps in (2, 12)]
  assert distance[1] < 0.85 * distance[0]


@pytest.mark.parametrize('name, change, message', [
    ('prior_denoise', {'method.loss': 'mess'}, "Unknown loss 'mess'"),
    ('prior_denoise', {'method.code': 'nois'}, "Did you mean 'noise'"),
    ('prior_denoise', {'method.result': 'bst'}, "Did you mean 'best'"),
    ('prior_denoise', {'method.jiter': 0.1}, 'Unknown key method.jiter'),
    ('prior_denoise', {'method.code': 'meshgrid'}, 'set nets.net.depth=2'),
    ('prior_denoise', {'method.code': 'guide'}, "needs batch.'guide'."),
    ('prior_denoise', {'method.code': 'observed'}, 'set nets.net.depth'),
    ('prior_denoise', {'method.loss': 'sure'}, 'code=observed, method.sigma'),
    ('prior_denoise', {'method.stopping': dict(name='sure')},
     "needs method.loss='sure', got 'mse'"),
    ('prior_denoise', {'nets.net': dict(name='resnet')}, 'nets.net.name must'),
    ('prior_blind', {'nets.kernel': dict(name='skip')}, 'kernel.name must'),
    ('prior_blend', {'nets.mask.channels': 3}, 'channels must be 1, got 3'),
    ('prior_blind', {'method.stopping': dict(name='held_out')}, 'deep_prior'),
    ('prior_blind', {'nets.kernel.size': (33, 33)}, '33x33 is larger than'),
    ('prior_denoise', {'nets.net.channels': 1}, 'channels = 1, and the pict'),
    ('prior_blend', {'nets.first.channels': 1}, 'nets.first.channels = 1'),
    ('prior_sr', {'method.factor': 0}, 'factor must be at least 1, got 0'),
    ('prior_blind', {'nets.kernel.size': (4, 5)}, 'two odd numbers'),
    ('prior_blind', {'method.losses_in_turn': ('mse',)}, 'must be two'),
    ('prior_blind', {'nets': {'image': dict(name='skip')}},
     'nets.kernel is missing'),
])
def test_mistakes_are_one_line(name, change, message):
  with pytest.raises(errors.UserError, match=message) as error:
    method = methods.build(config_of(name, **change))
    method.init(jax.random.key(0), batch_for(name))
  assert '\n' not in str(error.value)


def test_fits_and_trained_methods_are_not_mixed_up():
  one = built('prior_denoise')
  supervised = methods.build(helpers.tiny())
  with pytest.raises(errors.UserError, match='does not fit images one by one'):
    restoration.fit_images(supervised, {}, jax.random.key(0), 2,
                       parallel.data_mesh())
  with pytest.raises(errors.UserError, match='3 steps are not a multiple'):
    fit(one, batch_for('prior_denoise'), steps=3)
