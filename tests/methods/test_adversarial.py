"""Adversarial training: its games, its penalty, its two networks in turn."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deblur_jax import errors, losses, methods, models
from deblur_jax.methods import discriminator as discriminators
from deblur_jax.ops import pyramid


def config_of(**overrides):
  """deblurgan_gopro:debug, smaller; overrides as 'a.b.c': value."""
  config = helpers.get_config('deblurgan_gopro')
  config.nets.generator = dict(name='multiscale', scales=1, blocks=0,
                               features=2)
  config.nets.discriminator = dict(
      name='patchgan', depth=1, features=4, norm='instance')
  config = config.to_dict()
  for path, value in overrides.items():
    *folders, key = path.split('.')
    functools.reduce(dict.get, folders, config)[key] = value
  return config


@functools.cache
def started(*items):
  """(method, its first state, its jitted step) for overrides as items."""
  method = methods.build(config_of(**dict(items)))
  state = method.init(jax.random.key(0), images())
  return method, state, jax.jit(method.step)


def images(count=5, size=16):
  random = np.random.default_rng(0)
  sharp = random.random((count, size, size, 3), np.float32)
  blur = (sharp + np.roll(sharp, 1, 2)) / 2
  return {'blur': jnp.asarray(blur), 'sharp': jnp.asarray(sharp)}


def step(*items, batch=None):
  _, state, jitted = started(*items)
  return state, *jitted(state, batch or images(), jax.random.key(1))


def same(a, b):
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


VALUES = (jnp.array([2.0, -1.0]), jnp.array([0.5, 1.5]))
# By hand, from the values above; softplus(x) = log(1 + e^x).
OF_VALUES = {
    'wgan': (1.0 - 0.5, -1.0),
    'lsgan': (((1 + 4) / 2 + (0.25 + 2.25) / 2) / 2, (0.25 + 0.25) / 4),
    'bce': (np.log1p(np.exp([-2.0, 1.0])).mean()
            + np.log1p(np.exp([0.5, 1.5])).mean(),
            np.log1p(np.exp([-0.5, -1.5])).mean()),
    'ralsgan': (((0 + 9) / 2 + (1 + 4) / 2) / 2,
                ((1 + 0) / 2 + (4 + 1) / 2) / 2),
}


@pytest.mark.parametrize('name', losses.ADVERSARIAL)
def test_games(name):
  game = losses.ADVERSARIAL[name]
  for fn, expected in zip((game.discriminator, game.generator), OF_VALUES[name],
                          strict=True):
    np.testing.assert_allclose(fn(*VALUES), expected, rtol=1e-6)


@pytest.mark.parametrize('name', losses.ADVERSARIAL)
def test_what_is_said_of_a_game_is_so(name):
  game = losses.ADVERSARIAL[name]
  by_discriminator, by_generator = (
      jax.grad(fn, argnums=(0, 1))(*VALUES)
      for fn in (game.discriminator, game.generator))
  opposite = np.allclose(by_discriminator[1], -by_generator[1])
  assert opposite == game.zero_sum
  assert bool(np.any(by_generator[0])) == game.relative
  # Values of a discriminator that is never wrong, for each game's own scale.
  best = {'bce': (50.0, -50.0), 'lsgan': (1.0, 0.0), 'ralsgan': (0.5, -0.5),
          'wgan': (50.0, -50.0)}[name]
  never_wrong = game.discriminator(*(jnp.full(3, value) for value in best))
  assert (abs(float(never_wrong)) < 1e-6) == game.zero_is_perfect


def linear(weight):
  """A discriminator whose slope is `weight` [h, w, c] everywhere."""
  return lambda x: jnp.sum(
      x * weight[None], axis=(1, 2, 3), keepdims=True)


@pytest.mark.parametrize('name', losses.PENALTIES)
def test_penalty_of_a_linear_discriminator_is_that_of_its_weights(name):
  random = np.random.default_rng(0)
  weight = random.normal(size=(6, 5, 3)).astype(np.float32)
  real, fake = random.random((2, 4, 6, 5, 3), np.float32)
  value = jax.jit(lambda weight: losses.PENALTIES[name](
      linear(weight), real, fake, jax.random.key(0)))(weight)
  expected = {
      'sample': (np.linalg.norm(weight) - 1)**2,
      'pixel': np.mean((np.linalg.norm(weight, axis=-1) - 1)**2)}[name]
  np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize('name', losses.PENALTIES)
def test_penalty_is_finite_where_the_discriminator_is_flat(name):
  x = np.ones((2, 4, 4, 3), np.float32)
  value, slope = jax.jit(jax.value_and_grad(
      lambda scale: losses.PENALTIES[name](
          linear(scale * jnp.ones((4, 4, 3))), x, x, jax.random.key(0))))(0.0)
  np.testing.assert_allclose(value, 1, rtol=1e-5)
  assert jnp.isfinite(slope)


def test_penalty_draws_a_place_for_each_sample():
  # D = |x|^2 / 2 has the slope x: the places on the way from 0 to 1 show.
  discriminator = lambda x: jnp.sum(x**2, axis=(1, 2, 3), keepdims=True) / 2
  zeros, ones = (
      np.full((50, 2, 2, 3), value, np.float32) for value in (0, 1))
  value = jax.jit(lambda key: losses.gradient_penalty(
      discriminator, zeros, ones, key))(jax.random.key(0))
  # Of a uniform u: mean (u sqrt(12) - 1)^2 = 12 / 3 - sqrt(12) + 1.
  np.testing.assert_allclose(value, 5 - 12**0.5, atol=0.4)


def logged(disc, params, real, fake):
  """What an update logs of its pictures, without the update."""
  @jax.jit
  def look(params):
    carry = params, optax.sgd(0.0).init(params)
    _, metrics = disc.update(carry, (real, fake, jax.random.key(0)))
    return {key: metrics[key] for key in ('penalty', 'discriminator_real')}
  return look(params)


def test_penalty_is_of_images_in_minus_one_to_one_and_of_one_mean():
  # The mean of the map of the discriminator, by the ranges that the papers use.
  net = models.build(**config_of()['nets']['discriminator'])
  params, batch = models.init(net, jax.random.key(0)), images(1)
  value = lambda x: net.apply({'params': params}, (x + 1) / 2).mean()
  slope = jax.jit(jax.grad(value))(2 * batch['sharp'] - 1)
  expected = (np.linalg.norm(slope) - 1)**2
  disc = discriminators.make(net, optax.sgd(0.0), gan='wgan', penalty=1.0)
  metrics = logged(disc, params, batch['sharp'], batch['sharp'])
  np.testing.assert_allclose(metrics['penalty'], expected, rtol=1e-4)


def test_penalty_is_of_float32_whatever_the_discriminator_computes_in():
  fake, real = (image[:2] for image in images().values())
  found = []
  for dtype in ('bfloat16', 'float32'):
    config = config_of(**{'nets.discriminator.dtype': dtype})
    net = models.build(**config['nets']['discriminator'])
    disc = discriminators.make(net, optax.sgd(0.0), gan='wgan', penalty=1.0)
    params = models.init(net, jax.random.key(0))
    found.append(logged(disc, params, real, fake))
  assert found[0]['discriminator_real'] != found[1]['discriminator_real']
  np.testing.assert_allclose(
      found[0]['penalty'], found[1]['penalty'], rtol=1e-6)


ONE = (('method.discriminator_steps', 1),
       ('optim.discriminator.updates_per_step', 1),
       ('method.discriminator.penalty', 0.0))
EMA = *ONE, ('method.ema', 0.5), ('optim.generator.lr', 0.1)


def test_one_networks_step_leaves_the_other_as_it_was():
  before, after, _ = step(
      *ONE, ('method.content_weight', 0.0), ('method.adversarial_weight', 0.0))
  assert same(before.params['generator'], after.params['generator'])
  assert not same(before.params['discriminator'], after.params['discriminator'])
  _, loud, _ = step(*EMA)
  assert not same(before.params['generator'], loud.params['generator'])
  assert same(after.params['discriminator'], loud.params['discriminator'])


# One that compares the pictures with each other, and one that does not.
@pytest.mark.parametrize('gan', ['ralsgan', 'wgan'])
def test_simultaneous_steps_are_in_turns_with_a_still_discriminator(gan):
  net = models.build(**config_of()['nets']['discriminator'])
  still = optax.sgd(0.0)
  disc = discriminators.make(net, still, gan=gan, drift=0.1)
  params = disc.init(jax.random.key(0), crop=(16, 16))
  carry = params, still.init(params)
  fake, real = (image[:2] for image in images().values())
  inputs = real, fake, jax.random.key(1)
  (_, expected), (loss, to_fake), (_, seen, metrics) = jax.jit(lambda: (
      disc.update(carry, inputs), disc.generator_loss(params, real, fake),
      disc.update_jointly(carry, inputs)))()
  np.testing.assert_allclose(seen[0], loss, rtol=1e-5)
  np.testing.assert_allclose(seen[1], to_fake, atol=1e-7)
  assert metrics.keys() == expected.keys()
  for key, value in expected.items():
    np.testing.assert_allclose(metrics[key], value, rtol=1e-4)


def test_simultaneous_steps_move_both():
  before, after, _ = step(*ONE, ('method.simultaneous', True))
  for name in ('generator', 'discriminator'):
    assert not same(before.params[name], after.params[name])


def test_every_game_pulls_the_generator_towards_higher_values():
  for gan in losses.ADVERSARIAL:
    game = losses.ADVERSARIAL[gan]
    assert (np.asarray(jax.grad(game.generator, argnums=1)(
        jnp.ones(2), jnp.zeros(2))) < 0).all(), gan


def test_fresh_crops_are_shared_out():
  # Without what the discriminator says to the generator.
  fresh = (('method.fresh', True), ('method.discriminator.penalty', 0.0),
           ('method.adversarial_weight', 0.0))
  batch = images(10)
  before, one, _ = step(*fresh, batch=batch)
  # Row j, j + 5 are of discriminator step j; the generator learns from 4 and 9
  # alone.
  other = jax.tree.map(lambda x: x.at[jnp.array([0, 5])].set(x[1]), batch)
  _, two, _ = step(*fresh, batch=other)
  assert not same(one.params['discriminator'], two.params['discriminator'])
  assert same(one.params['generator'], two.params['generator'])
  assert not same(one.params['generator'], before.params['generator'])
  assert started(*fresh)[0].splits == {'method.discriminator_steps': 5}


def test_three_hundred_steps_of_bfloat16_stay_finite():
  half = (('nets.generator.dtype', 'bfloat16'), ('nets.discriminator.dtype',
                                                 'bfloat16'),
          ('method.discriminator_steps', 1),
          ('optim.discriminator.updates_per_step', 1),
          ('optim.generator.lr', 2e-3), ('optim.discriminator.lr', 2e-3))
  method, state, _ = started(*half)
  batch = images(2)

  @jax.jit
  def run(state):
    return jax.lax.scan(
        lambda state, key: method.step(state, batch, key), state,
        jax.random.split(jax.random.key(2), 300))

  state, metrics = run(state)
  assert all(jnp.isfinite(value).all() for value in metrics.values())
  assert all(leaf.dtype == jnp.float32
             for leaf in jax.tree.leaves(state.params))
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
  assert not jnp.array_equal(metrics['loss'][0], metrics['loss'][-1])


def test_ema_restores_with_the_average():
  method, *_ = started(*EMA)
  before, after, _ = step(*EMA)
  averaged = jax.tree.map(
      lambda a, b: 0.1 * a + 0.9 * b, before.params['generator'],
      after.params['generator'])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
               after.ema['generator'], averaged)
  plain = started()[0]
  np.testing.assert_allclose(
      method.restore(after, images()['blur']),
      plain.restore(after.replace(params={'generator': averaged}),
                    images()['blur']),
      atol=1e-5)


def test_features_live_in_the_state_and_stay_as_they_are(tmp_path):
  random = np.random.default_rng(0)
  np.savez(tmp_path / 'vgg.npz', block1_conv1__bias=np.zeros(64, np.float32),
           block1_conv1__kernel=random.normal(
               size=(3, 3, 3, 64)).astype(np.float32))
  items = (('method.content', '0.5*l1 + 1e-4*perceptual'),
           ('method.features', {'path': str(tmp_path / 'vgg.npz'),
                                'layer': 'relu1_1', 'convention': 'caffe'}),
           ('method.discriminator_steps', 1), ('method.discriminator.penalty',
                                               0.0),
           ('optim.discriminator.updates_per_step', 1))
  method = methods.build(config_of(**dict(items)))
  state = method.init(jax.random.key(0), images())
  after, metrics = jax.jit(method.step)(state, images(), jax.random.key(1))
  assert same(state.frozen['features'], after.frozen['features'])
  assert jax.tree.leaves(after.frozen['features'])
  restored = models.build(**config_of()['nets']['generator']).apply(
      {'params': state.params['generator']}, images()['blur'])
  plain = losses.content('0.5*l1')(
      restored, pyramid.deepdeblur_pytorch(images()['sharp'], levels=1))
  assert metrics['content'] > plain + 1e-3
  # What a checkpoint holds is all that restoring needs.
  config = config_of(**dict(items))
  (tmp_path / 'vgg.npz').unlink()
  again = methods.build(config, from_checkpoint=True)
  jax.tree.map(
      lambda a, b: np.testing.assert_equal(a.shape, b.shape), state,
      jax.eval_shape(again.init, jax.random.key(0), images()))
  with pytest.raises(errors.UserError, match='No file'):
    methods.build(config)


def lines(count, **values):
  start = dict(
      discriminator_real=0.5, discriminator_fake=0.5, discriminator_loss=0.7,
      penalty=0.1)
  return [start] * 10 + [start | values] * count


def test_a_discriminator_that_drifts_or_never_errs_raises_an_alarm():
  watch = started(('method.discriminator.gan', 'bce'))[0].watches[0]
  assert watch(lines(0)) is None
  assert '-2e+04' in watch(lines(1, discriminator_fake=-20000.0))
  assert watch(lines(4, discriminator_loss=1e-4)) is None
  assert 'below 0.0001 in 5' in watch(lines(5, discriminator_loss=1e-4))
  watch = started()[0].watches[0]                              # of wgan
  assert watch(lines(9, discriminator_loss=1e-4, penalty=0.5)) is None
  flat = dict(discriminator_real=0.3, discriminator_fake=0.3,
              discriminator_loss=0.0)
  assert watch(lines(4, penalty=10.0, **flat)) is None
  assert 'penalty is 10 of 10 in 5' in watch(lines(5, penalty=10.0, **flat))


@pytest.mark.parametrize('change, message', [
    ({'method.discriminator.gan': 'wgan_gp'},
     "Unknown method.discriminator.gan 'wgan_gp'"),
    ({'method.discriminator.penalty_form': 'image'}, 'known: pixel, sample'),
    ({'method.discriminator.penalty': -1.0},
     'penalty must be 0 or more, got -1'),
    ({'method.discriminator.lambda': 10.0},
     'Unknown key method.discriminator.lambda'),
    ({'method.discriminator_steps': 0},
     'discriminator_steps must be at least 1, got 0'),
    ({'method.simultaneous': True},
     'simultaneous needs discriminator_steps=1, got 5'),
    ({'method.discriminator_steps': 2}, 'updates_per_step=5 must be .*steps=2'),
    ({'method.content': 'perceptual'}, 'method.features'),
    ({'nets.discriminator': dict(name='multiscale')},
     'nets.discriminator.name must be one of nah_.*, patchgan, got a M'),
    ({'nets.generator': dict(name='patchgan')},
     'nets.generator.name must be one of fpn, .* got a PatchGAN'),
    ({'nets.generator.scales': 6},
     r'crop = 16 is not divisible by 2\^\(K-1\) = 32'),
    ({'nets.discriminator.norm': 'batch'}, 'compares.*penalty'),
    ({'nets.discriminator.depth': 3}, 'at least 70 x 70 .* larger crops'),
])
def test_mistakes_are_one_line(change, message):
  with pytest.raises(errors.UserError, match=message) as error:
    methods.build(config_of(**change)).init(jax.random.key(0), images())
  assert '\n' not in str(error.value)


def test_a_part_that_is_missing():
  config = config_of()
  del config['nets']['discriminator']
  with pytest.raises(errors.UserError, match='nets.discriminator is missing'):
    methods.build(config)
