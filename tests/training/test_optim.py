"""Optimizers: schedules at known steps, parts of a batch, clear errors."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deblur_jax import errors, methods
from deblur_jax.training import optim


def test_step_schedule():
  tx = optim.build(total_steps=1000, lr=1e-4, schedule='step',
                   boundaries=(0.5, 0.75, 0.9), factor=0.5)
  rates = [float(tx.lr(step)) for step in (0, 499, 501, 751, 901)]
  np.testing.assert_allclose(
      rates, [1e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5], rtol=1e-6)


def test_linear_schedule_is_constant_first():
  tx = optim.build(
      total_steps=300, lr=1e-4, schedule='linear', boundaries=(0.5,))
  rates = [float(tx.lr(step)) for step in (0, 150, 225, 300)]
  np.testing.assert_allclose(rates, [1e-4, 1e-4, 5e-5, 0], atol=1e-10)


def test_polynomial_schedule_is_that_of_srn():
  """lr (1 - t / T)^0.3, as TensorFlow's polynomial_decay."""
  tx = optim.build(
      total_steps=100, lr=1e-4, schedule='polynomial', power=0.3)
  steps = np.array([0, 10, 50, 99, 100])
  np.testing.assert_allclose(
      [tx.lr(step) for step in steps], 1e-4 * (1 - steps / 100)**0.3,
      rtol=1e-5)


def test_cosine_schedule_after_warmup():
  tx = optim.build(total_steps=110, lr=1e-3, schedule='cosine',
                   warmup_steps=10, end_lr=1e-7)
  rates = [float(tx.lr(step)) for step in (0, 5, 10, 60, 110)]
  np.testing.assert_allclose(
      rates, [0, 5e-4, 1e-3, (1e-3 + 1e-7) / 2, 1e-7], rtol=1e-5)


def test_schedule_of_restormer_is_constant_first():
  """The rates of the authors' scheduler at five steps, by its formula."""
  config = helpers.get_config('restormer_gopro', None)
  tx = optim.build(total_steps=config.total_steps, **config.optim.net)
  steps = (0, 92_000, 144_000, 196_000, 300_000)
  rates = [float(tx.lr(step)) for step in steps]
  cosine = lambda share: 1e-6 + 0.5 * (3e-4 - 1e-6) * (
      1 + np.cos(np.pi * share))
  np.testing.assert_allclose(
      rates, [3e-4, 3e-4, cosine(0.25), cosine(0.5), 1e-6], rtol=1e-5)


@pytest.mark.parametrize('schedule', optim.SCHEDULES)
@pytest.mark.parametrize('name', optim.OPTIMIZERS)
def test_every_pair_descends(name, schedule):
  tx = optim.build(total_steps=50, lr=0.1, name=name, schedule=schedule)
  params = {'w': jnp.array([1.0, -2.0])}
  state = tx.init(params)
  loss = lambda params: jnp.sum(params['w']**2)
  for _ in range(20):
    params, state = optim.apply(tx, jax.grad(loss)(params), state, params)
  assert loss(params) < 1.0


def test_adam_is_the_published_one():
  tx = optim.build(total_steps=10, lr=1e-4)
  ours, _ = tx.update({'w': jnp.ones(1)}, tx.init({'w': jnp.zeros(1)}))
  np.testing.assert_allclose(ours['w'], -1e-4 / (1 + 1e-8), rtol=1e-5)


def test_clipping_shortens_long_gradients_only():
  tx = optim.build(total_steps=10, lr=1.0, clip_norm=0.01, b1=0.9)
  params = {'w': jnp.zeros(2)}

  def first_moment(gradient):
    _, state = tx.update({'w': gradient}, tx.init(params), params)
    return optax.tree.get(state, 'mu')['w']

  np.testing.assert_allclose(
      first_moment(jnp.array([3.0, 4.0])), [6e-4, 8e-4], rtol=1e-5)
  np.testing.assert_allclose(
      first_moment(jnp.array([3e-3, 4e-3])), [3e-4, 4e-4], rtol=1e-5)


def test_a_schedule_does_not_depend_on_the_updates_of_a_step():
  tx = optim.build(total_steps=10, lr=1.0, schedule='linear',
                   updates_per_step=5)
  np.testing.assert_allclose(tx.lr(5), 0.5)
  params = {'w': jnp.zeros(1)}
  state = tx.init(params)
  update = jax.jit(tx.update)
  for _ in range(26):             # five steps, and the first of the sixth
    change, state = update({'w': jnp.ones(1)}, state, params)
  np.testing.assert_allclose(change['w'], -0.5, rtol=1e-4)


@pytest.mark.parametrize('parts', [1, 2, 4])
def test_parts_give_the_gradient_of_the_whole(parts):
  random = np.random.default_rng(0)
  batch = {'x': jnp.asarray(random.random((8, 3)), jnp.float32)}
  params = jnp.asarray(random.random(3), jnp.float32)

  def loss(params, batch, key):
    del key
    value = jnp.mean(jnp.sin(batch['x'] @ params))
    return value, {'value': value}

  key = jax.random.key(0)
  whole = optim.value_and_grad(loss, params, batch, key)
  split = optim.value_and_grad(loss, params, batch, key, parts=parts)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
               whole, split)


def test_parts_draw_numbers_of_their_own():
  """One part draws by the key itself."""
  key = jax.random.key(3)

  def loss(params, batch, key):
    return params * jax.random.normal(key) * batch['x'].sum(), {}

  def slope(parts):
    """The mean of the numbers that the parts draw; x is 1 in each part."""
    batch = {'x': jnp.ones(parts)}
    return optim.value_and_grad(
        loss, jnp.ones(()), batch, key, parts=parts)[1]

  draw = lambda j: jax.random.normal(jax.random.fold_in(key, j))
  np.testing.assert_allclose(slope(1), jax.random.normal(key), rtol=1e-6)
  assert len({float(draw(j)) for j in range(3)}) == 3
  np.testing.assert_allclose(
      slope(3), sum(draw(j) for j in range(3)) / 3, rtol=1e-5)


def test_average():
  new, old = {'w': jnp.ones(2)}, {'w': jnp.zeros(2)}
  averaged = optim.average(new, old, decay=0.9)
  np.testing.assert_allclose(averaged['w'], 0.1, rtol=1e-6)


def test_an_average_is_short_at_first():
  decays = [float(optim.warm_decay(0.9, step)) for step in (0, 10, 79, 80, 90)]
  np.testing.assert_allclose(decays, [0.1, 0.55, 80 / 89, 0.9, 0.9], rtol=1e-6)


@pytest.mark.parametrize('options, message', [
    (dict(lr=1.0, updates_per_step=0), 'updates_per_step must be 1 or more'),
    (dict(lr=0.0), 'lr must be positive, got 0.0'),
    (dict(lr=1e-3, name='adm'), "Unknown optimizer 'adm'.*'adam'"),
    (dict(lr=1e-3, power=0.0), 'power must be positive, got 0.0'),
    (dict(lr=1e-3, schedule='cos'), "Unknown optim schedule 'cos'"),
    (dict(lr=1e-3, boundaries=(500,)), r'fractions of total_steps.*\(500,\)'),
    (dict(lr=1e-3, weight_decay=0.1), 'weight_decay needs name=adamw'),
    (dict(lr=1e-3, clip_norm=-1.0), 'clip_norm must be 0 or more, got -1.0'),
    (dict(lr=1e-3, factor=-0.5), 'factor must be 0 or more, got -0.5'),
    (dict(lr=1e-3, end_lr=-1e-4), 'end_lr must be 0 or more, got -0.0001'),
    (dict(lr=1e-3, warmup_steps=-1), 'warmup_steps must be 0 or more, got -1'),
    (dict(lr=1e-3, b1=1.0), r'b1 must be in \[0, 1\), got 1.0'),
    (dict(lr=1e-3, b2=-0.1), r'b2 must be in \[0, 1\), got -0.1'),
])
def test_mistakes_are_explained(options, message):
  with pytest.raises(errors.UserError, match=message):
    optim.build(total_steps=10, **options)


@pytest.mark.parametrize('options, message', [
    (dict(factor=0.1), r'constant does not read factor=0.1; set factor=0.5'),
    (dict(boundaries=[0.5]), r'constant does not read boundaries=\(0.5,\)'),
    (dict(schedule='cosine', factor=0.1), 'cosine does not read factor=0.1'),
    (dict(schedule='linear', factor=0.1), 'linear does not read factor=0.1'),
    (dict(schedule='linear', power=0.3), 'linear does not read power=0.3'),
    (dict(schedule='step', end_lr=1e-6), 'step does not read end_lr=1e-06'),
    (dict(schedule='cosine', boundaries=(0.5, 0.75)),
     r'reads one of boundaries.*set boundaries=\(\) or \(0.5,\)'),
])
def test_a_schedule_must_be_what_its_options_say(options, message):
  """In training; a run that was trained so restores."""
  options = dict(lr=1e-3) | options
  config = helpers.tiny(**{'optim.net': options, 'total_steps': 10})
  with pytest.raises(errors.UserError, match=f'optim.net.*{message}') as error:
    methods.build(config)
  assert '\n' not in str(error.value)
  with pytest.raises(errors.UserError, match=message):
    methods.check(config)
  methods.build(config, from_checkpoint=True)


@pytest.mark.parametrize('options', [
    dict(warmup_steps=99), dict(schedule='cosine', factor=0.5, boundaries=[]),
    dict(schedule='linear', boundaries=[0.5], end_lr=1e-6),
    dict(schedule='step', boundaries=(0.5, 0.7), factor=0.1, end_lr=0.0)])
def test_options_that_are_read_or_as_usual_are_accepted(options):
  optim.check_schedule(dict(lr=1e-3) | options, where='optim')


@pytest.mark.parametrize('ema', [-0.1, 1.0, 1.5])
@pytest.mark.parametrize('name', [
    'multiscale_gopro', 'multiscale_adv_gopro', 'cycle_unpaired',
    'cycle_physics', 'distill'])
def test_a_decay_of_averages_is_below_one(name, ema):
  config = helpers.changed(name, **{'method.ema': ema})
  with pytest.raises(errors.UserError, match=(
      rf'method.ema must be in \[0, 1\), got {ema}')):
    methods.build(config)


def test_batch_must_divide_into_parts():
  with pytest.raises(errors.UserError, match='batch_size = 3 .*accumulate = 2'):
    optim.value_and_grad(lambda p, b, k: (p, {}), jnp.ones(()),
                         {'x': jnp.ones((3, 1))}, jax.random.key(0), parts=2)


def test_frozen_parameters_get_no_update_and_no_decay():
  net = {'a': {'kernel': jnp.ones(3), 'bias': jnp.zeros(3)}, 'b': jnp.ones(2)}
  config = helpers.tiny(**{
      'method.freeze': ('scale_1/block_*', 'scale_0/head'), 'method.ema': 0.9,
      'optim.net': dict(name='adamw', lr=0.1, weight_decay=0.5)})
  config['nets']['net']['blocks'] = 1
  method = methods.build(config)
  image = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)
  batch = {'blur': image, 'sharp': image[:, ::-1]}
  state = method.init(jax.random.key(0), batch)
  after, metrics = jax.jit(method.step)(state, batch, jax.random.key(1))
  held = optim.matching(state.params['net'], config['method']['freeze'])
  flags = jax.tree.leaves(held)
  assert 0 < sum(flags) < len(flags)
  for new in (after.params, after.ema):
    jax.tree.map(lambda n, o, h: np.testing.assert_equal(
        bool((n == o).all()), h), new['net'], state.params['net'], held)
  assert metrics['grad_norm'] > 0
  assert jax.tree.leaves(optim.matching(net, ('a',))) == [True, True, False]
  with pytest.raises(errors.UserError, match=(
      r"no parameter matches 'scale_0/haed'; .* Did you mean 'scale_0/head'")):
    methods.build(config | {'method': config['method'] | {
        'freeze': ('scale_0/haed',)}}).init(jax.random.key(0), batch)
  with pytest.raises(errors.UserError, match="freeze must be a list.*'a'"):
    methods.build(config | {'method': config['method'] | {'freeze': 'a'}})
