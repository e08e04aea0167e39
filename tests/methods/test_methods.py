"""Methods: one step on real arrays, over the table."""

import inspect

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny
from steps import CONFIGS, SMALL, batch_of, parts_of

from deblur_jax import errors, losses, methods, models
from deblur_jax.methods import learner
from deblur_jax.ops import pyramid
from deblur_jax.training import checkpoint, loop, optim, parallel


def test_every_method_has_a_config_here():
  """Or is that of a prior, which tests/priors/test_deep_prior.py fits."""
  priors = {helpers.get_config(name).method.name for name in helpers.PRIORS}
  assert CONFIGS.keys() | priors == methods.METHODS.keys()


@pytest.fixture(params=CONFIGS)
def parts(request):
  return parts_of(request.param)


def test_state_is_what_like_says(parts):
  method, state, *_, mesh = parts
  like = loop.abstract_state(method, 16, mesh)
  jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) or
               pytest.fail(f'{a} is not {b}'), like, state)


def test_two_steps_move_nothing_between_host_and_device(parts):
  _, state, step, batch, key, _ = parts
  before = jax.tree.map(np.asarray, state.params)
  with jax.transfer_guard('disallow'):
    state, first = step(state, batch, key)
    state, second = step(state, batch, key)
  assert int(state.step) == 2
  assert all(jnp.isfinite(value) for value in second.values())
  assert first.keys() == second.keys() >= {'loss'}
  assert bool(state.params) == ('grad_norm' in first)
  # Of biases a discriminator's last has no gradient: it moves all its values
  # alike.
  after = dict(jax.tree.leaves_with_path(state.params))
  for path, kernel in jax.tree.leaves_with_path(before):
    if path[-1].key == 'kernel':
      assert not np.array_equal(kernel, after[path]), path


def test_state_is_donated(parts):
  _, state, step, batch, key, _ = parts
  old = jax.tree.leaves(state)[0]
  step(state, batch, key)
  assert old.is_deleted()


def test_a_checkpoint_goes_on_bit_for_bit(parts, tmp_path):
  _, state, step, batch, key, _ = parts
  state, _ = step(state, batch, key)
  shelf = checkpoint.Checkpoints(tmp_path)
  shelf.save(1, state, {'psnr_uint8': 0.0})
  shelf.wait()
  again = shelf.restore(state)
  shelf.close()
  jax.tree.map(np.testing.assert_array_equal,
               step(state, batch, key), step(again, batch, key))


def test_one_device_does_what_two_do():
  """The buffer too, and gradients; Adam's step enlarges their rounding.

  This method has what others would show: a network that sees several batches
  in one pass, random blur, a discriminator beside it and its buffer.
  """
  seen = []
  for devices in (1, 2):
    _, state, step, batch, key, _ = parts_of('blur_translation', devices)
    state, metrics = step(state, batch, key)
    seen.append(jax.tree.map(
        np.asarray, (metrics, state.buffers, state.opt_state)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-5), *seen)


def test_restore_keeps_the_size(parts):
  method, state, *_ = parts
  blur = jax.ShapeDtypeStruct((1, 18, 21, 3), jnp.float32)
  assert jax.eval_shape(method.restore, state, blur).shape == blur.shape


@pytest.mark.parametrize('name', [
    name for name, make in methods.METHODS.items()
    if name in CONFIGS and 'features' in inspect.signature(make).parameters])
def test_perceptual_and_tv_are_terms_of_every_content_loss(name, tmp_path):
  random = np.random.default_rng(0)
  np.savez(tmp_path / 'vgg.npz', block1_conv1__bias=np.zeros(64, np.float32),
           block1_conv1__kernel=random.normal(
               size=(3, 3, 3, 64)).astype(np.float32))
  config = dict(CONFIGS[name])
  options = inspect.signature(methods.METHODS[name]).parameters
  term, = {'loss', 'content', 'cycle', 'distance'} & options.keys()
  config['method'] = config['method'] | {
      term: '2*l1 + 0.1*perceptual + 0.1*tv',
      'features': dict(path=str(tmp_path / 'vgg.npz'), layer='relu1_1')}
  method, batch = methods.build(config), batch_of()
  state, (_, metrics) = jax.eval_shape(lambda: (
      state := method.init(jax.random.key(0), batch),
      method.step(state, batch, jax.random.key(0))))
  assert state.frozen['features'].keys() == {'block1_conv1'}
  assert metrics['loss'].shape == ()


def state_of(method):
  return loop.init(method, jax.random.key(0), 16, parallel.data_mesh())


def drawn(method):
  """A state for a loss: the method's own parameters take long to draw."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
      lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype),
      jax.eval_shape(method.init, jax.random.key(0), batch_of()))


def loss_of(method, state, key=None):
  """Of a step: where it is all that is asked, XLA leaves out the gradients."""
  batch = jax.tree.map(jnp.asarray, batch_of())
  key = jax.random.key(0) if key is None else key
  return method.step(state, batch, key)[1]['loss']


def test_supervised_loss_is_equation_4():
  config = tiny(**{'method.loss': 'mse', 'method.over_scales': 'half_mean'})
  method, net = methods.build(config), models.build(**config['nets']['net'])
  state, batch = drawn(method), jax.tree.map(jnp.asarray, batch_of())

  @jax.jit
  def compare(state):
    restored = net.apply({'params': state.params['net']}, batch['blur'])
    sharp = pyramid.PYRAMIDS['deepdeblur_pytorch'](batch['sharp'], levels=2)
    return loss_of(method, state), sum(
        losses.mse(a, b) for a, b in zip(restored, sharp, strict=True)) / 4

  np.testing.assert_allclose(*compare(state), rtol=1e-5)


def test_every_stage_is_supervised():
  net = dict(name='maxim', features=4, depth=1, groups=1, bottleneck=1,
             stages=2, scales=1)
  method = methods.build(tiny(**{
      'nets.net': net, 'method.loss': 'l1', 'method.all_stages': True}))
  batch = jax.tree.map(jnp.asarray, batch_of())

  @jax.jit
  def compare(state):
    stages = models.build(**net).apply(
        {'params': state.params['net']}, batch['blur'], method='all_stages')
    each = [losses.l1(image, batch['sharp']) for image, in stages]
    return loss_of(method, state), each

  loss, each = compare(drawn(method))
  assert len(each) == 2
  np.testing.assert_allclose(loss, sum(each), rtol=1e-5)


def test_others_are_of_one_stage():
  whole, last = (methods.build(tiny(**{'method.all_stages': value}))
                 for value in (True, False))
  one, other = jax.jit(lambda state: [
      loss_of(method, state) for method in (whole, last)])(drawn(last))
  assert one == other


@pytest.mark.parametrize('name', ['distill', 'supervised'])
def test_accumulated_step_is_the_whole_step(name):
  """In two parts, each of which has several pictures."""
  batch = jax.tree.map(jnp.asarray, batch_of())
  config = CONFIGS[name] | {'nets': CONFIGS[name]['nets'] | {'net': SMALL}}
  whole, parts = (methods.build(config | {
      'method': config['method'] | {'accumulate': count}}) for count in (1, 2))
  assert parts.splits == {'method.accumulate': 2}

  @jax.jit
  def compare(state):
    metrics = (method.step(state, batch, jax.random.key(0))[1]
            for method in (whole, parts))
    return [jnp.stack([x['loss'], x['grad_norm']]) for x in metrics]

  np.testing.assert_allclose(*compare(drawn(whole)), rtol=1e-5)


def test_dropout_is_for_training_only():
  config = tiny(nets={'net': dict(name='resnet', features=2, blocks=1)})
  method = methods.build(config)
  state = drawn(method)
  loss = jax.jit(lambda seed: loss_of(method, state, jax.random.key(seed)))
  one, again, other = map(loss, (0, 0, 1))
  assert one == again != other


def test_ema_restores_with_the_average():
  batch = jax.tree.map(jnp.asarray, batch_of())
  options = {'nets.net': SMALL, 'optim.net.lr': 0.1}
  method, plain = (methods.build(tiny(**options | {'method.ema': ema}))
                   for ema in (0.5, 0.0))
  start = state_of(method)
  state, _ = jax.jit(method.step)(start, batch, jax.random.key(0))
  expected = jax.tree.map(
      lambda a, b: 0.1 * a + 0.9 * b, start.params['net'],
      state.params['net'])
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
      expected, state.ema['net'])
  swapped = state.replace(params={'net': expected})
  np.testing.assert_allclose(
      jax.jit(method.restore)(state, batch['blur']),
      jax.jit(plain.restore)(swapped, batch['blur']),
      atol=1e-5)


@pytest.mark.parametrize('name', ['blind_deconvolution', 'kernel_estimation'])
def test_a_deconvolution_has_a_name(name):
  config = CONFIGS[name]
  config = config | {'method': config['method'] | {
      'deconvolution': dict(noise=0.1)}}
  with pytest.raises(errors.UserError, match='deconvolution must name one'):
    methods.build(config)


def test_an_average_forgets_the_start():
  """Of 0.999, which alone would keep 0.41 of it for 900 steps."""
  state = learner.begin(
      learner.Start({'net': jnp.ones(1)}),
      {'net': optim.build(total_steps=900, lr=1.0)}, ema=('net',))
  state = state.replace(params={'net': jnp.zeros(1)})
  state = jax.lax.fori_loop(
      0, 900, lambda _, state: learner.finish(state, ema=0.999), state)
  assert state.step == 900 and state.ema['net'] < 1e-6


def test_parts_of_a_config_must_be_there():
  config = tiny()
  config['optim'] = {'generator': config['optim']['net']}
  with pytest.raises(errors.UserError, match='optim.net is missing'):
    methods.build(config)
  with pytest.raises(errors.UserError, match='method.loss is missing'):
    config = tiny()
    del config['method']['loss']
    methods.build(config)
