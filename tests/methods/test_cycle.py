"""Learning without pairs: CycleGAN, its form held by physics, their alarms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import changed, get_config
from steps import START, batch_of, parts_of

from deblur_jax import errors, methods, models
from deblur_jax.blur import kernels, operators
from deblur_jax.methods import cycle_physics, unpaired
from deblur_jax.methods import kernel_estimation as kernel_method
from deblur_jax.models.kernel_estimator import Estimate
from deblur_jax.training import optim, parallel

CONFIGS = ('cycle', 'cycle_physics')


def images(count=2, size=16):
  random = np.random.default_rng(0)
  return {key: jnp.asarray(random.random((count, size, size, 3)), jnp.float32)
          for key in ('blur', 'sharp')}


def started(name, *, still=()):
  """(a state after START, one step), where the `still` stand still.

  These are names of networks whose rate has fallen to its end, 0.
  """
  _, state, step, batch, key, mesh = parts_of(name)
  everywhere = parallel.replicated(mesh)

  def ended(path, leaf):
    over = path[-1] == jax.tree_util.GetAttrKey('count')
    return np.full_like(leaf, 10) if over else np.asarray(leaf)

  state = state.replace(
      step=np.int32(START), opt_state=dict(state.opt_state) | {
          net: jax.tree.map_with_path(ended, state.opt_state[net])
          for net in still})
  state = parallel.put(jax.tree.map(np.asarray, state), everywhere)

  def run(state, batch=batch):
    # A copy is donated.
    mine = parallel.put(jax.tree.map(np.array, state), everywhere)
    return step(mine, batch, key)

  return state, run


def same(a, b):
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


# Networks that move by one optimizer.
TOGETHER = {
    'cycle': [('to_sharp', 'to_blur'), ('is_sharp', 'is_blur')],
    'cycle_physics': [
        ('to_sharp',), ('kernel',), ('is_sharp',), ('blur_type',)]}


@pytest.mark.parametrize('name', CONFIGS)
def test_one_networks_step_leaves_the_others_as_they_were(name):
  before, step = started(name)
  together, _ = step(before)
  for moved in TOGETHER[name]:
    alone, _ = step(started(name, still=set(before.params) - {*moved})[0])
    for net in before.params:
      # All move against each other as they were before the step.
      expected = together if net in moved else before
      assert same(alone.params[net], expected.params[net]), (moved, net)
      assert same(before.params[net], alone.params[net]) == (net not in moved)


@pytest.mark.parametrize('name', CONFIGS)
def test_what_a_step_remembers(name):
  before, step = started(name)
  after, metrics = step(before)
  decay = (1 + START) / (10 + START)
  averaged = jax.tree.map(
      lambda a, b: a + (1 - decay) * (b - a),
      jax.tree.map(np.asarray, before.params['to_sharp']),
      jax.tree.map(np.asarray, after.params['to_sharp']))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
               after.ema['to_sharp'], averaged)
  for buffer in after.buffers.values():
    assert int(buffer['count']) == 2 and np.any(buffer['images'])
  assert all(np.isfinite(value) for value in metrics.values())
  assert {'correlation', 'change',
          'is_sharp/discriminator_loss'} <= metrics.keys()


def test_the_loss_of_cyclegan_is_that_of_its_paper():
  state, step = started('cycle')
  nets = {key: models.build(**net)
          for key, net in changed('cycle_unpaired')['nets'].items()}
  run = lambda name, x: nets[name].apply({'params': state.params[name]}, x)

  def expected(blur, sharp):
    """In the authors' units: images in [-1, 1], mean (D - 1)^2."""
    to_sharp, to_blur = (
        lambda x, net=net: run(net, x)[0] for net in ('to_sharp', 'to_blur'))
    l1 = lambda a, b: jnp.abs((2 * a - 1) - (2 * b - 1)).mean()
    fools = lambda discriminator, x: jnp.square(run(discriminator,
                                                    x) - 1).mean()
    return (fools('is_sharp', to_sharp(blur)) + fools('is_blur', to_blur(sharp))
            + 10 * l1(to_blur(to_sharp(blur)), blur)
            + 10 * l1(to_sharp(to_blur(sharp)), sharp)
            + 10 * 0.5 * l1(to_sharp(sharp), sharp)
            + 10 * 0.5 * l1(to_blur(blur), blur))

  _, metrics = step(state)
  batch = batch_of()
  np.testing.assert_allclose(
      metrics['loss'], jax.jit(expected)(batch['blur'], batch['sharp']),
      rtol=1e-5)


def test_a_term_that_is_left_out_changes_no_other():
  config = changed('cycle_unpaired')
  config['method'] |= dict(ema=0.5, without='cycle_sharp')
  state, step = started('cycle')
  _, whole = step(state)
  batch = jax.tree.map(jnp.asarray, batch_of())
  terms = 'identity', 'adversarial', 'cycle_blur', 'cycle_sharp'
  method = methods.build(config)

  @jax.jit
  def of_less(state):
    _, metrics = method.step(state, batch, jax.random.key(1))
    return {key: metrics[key] for key in ('loss', *terms)}   # no gradients

  less = of_less(state)
  for term in terms:
    np.testing.assert_allclose(less[term], whole[term], rtol=1e-4)
  weight = config['method']['weights']['cycle_sharp']
  np.testing.assert_allclose(
      whole['loss'] - less['loss'], weight * whole['cycle_sharp'], rtol=1e-3)


def test_full_form_is_cyclegans():
  config = get_config('cycle_unpaired', None)
  shape = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
  for name, count in (('to_sharp', 11_378_179), ('to_blur', 11_378_179),
                      ('is_sharp', 2_764_737), ('is_blur', 2_764_737)):
    net = models.build(**config.nets[name])
    params = jax.eval_shape(net.init, jax.random.key(0), shape)
    assert models.count_parameters(params) == count
  discriminator = jax.eval_shape(net.apply, params, jax.ShapeDtypeStruct(
      (1, 256, 256, 3), jnp.float32))
  assert discriminator.shape == (1, 30, 30, 1) and net.least_crop == 70
  rate = optim.build(**config.optim.generator, total_steps=400).lr
  np.testing.assert_allclose(
      [rate(0), rate(200), rate(300), rate(400)], [2e-4, 2e-4, 1e-4, 0])


def test_the_generator_loss_has_its_whole_slope():
  config = changed('cycle_unpaired')
  net = models.build(**config['nets']['is_sharp'])
  disc = unpaired.discriminator(
      net, optax.sgd(0.0), dict(gan='lsgan'), name='x', buffer_size=0)
  params, real = models.init(net, jax.random.key(0)), images()['sharp']
  direct = lambda x: jnp.square(net.apply({'params': params}, x) - 1).mean() / 2
  found, expected = jax.jit(lambda x: (
      jax.value_and_grad(lambda x: disc.generator_loss(params, real, x**2))(x),
      jax.value_and_grad(lambda x: direct(x**2))(x)))(images()['blur'])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4,
                                                       atol=1e-8),
               found, expected)


# ---- physics


def spread(*ks):
  return cycle_physics.energy(Estimate(jnp.stack(ks)))


def test_energy_of_known_kernels():
  even = jnp.full((5, 5), 1 / 25)
  np.testing.assert_allclose(
      spread(kernels.delta(size=5), even), [1, 1 / 25], rtol=1e-6)
  # Mixtures, against the kernel of each pixel written out.
  random = np.random.default_rng(0)
  basis = kernels.normalise(jnp.asarray(random.random((2, 3, 5, 5)), 'float32'))
  weights = random.random((2, 4, 6, 3)).astype(np.float32)
  weights = jnp.asarray(weights / weights.sum(-1, keepdims=True))
  mixed = np.einsum('nhwb,nbyx->nhwyx', weights, basis)
  np.testing.assert_allclose(
      cycle_physics.energy(Estimate(basis, weights)),
      (mixed**2).sum((-2, -1)), rtol=1e-4)


@pytest.mark.parametrize('gamma', [1.0, 2.2])
def test_reblur_knows_the_truth_and_the_trivial_answer(gamma):
  residual = functools.partial(cycle_physics.reblur, gamma=gamma)

  @jax.jit
  def measure(sharp):
    both = jnp.stack([kernels.line(4.0, angle, size=5) for angle in (0.3, 1.9)])
    light = operators.uniform(both, border='zero').forward(sharp**gamma)
    blurry = light**(1 / gamma)      # what lies beyond the border is unknown
    point = jnp.broadcast_to(kernels.delta(size=5), both.shape)
    mixture = Estimate(jnp.stack([both, point], 1), jnp.broadcast_to(
        jnp.array([1.0, 0.0]), (2, 24, 24, 2)))
    slope = lambda image, seen: jax.grad(residual)(
        jnp.full_like(sharp, image), jnp.full_like(sharp, seen),
        Estimate(both))[:, 4:-4, 4:-4]
    return dict(
        truth=residual(sharp, blurry, Estimate(both)),
        blurred_twice=residual(blurry, blurry, Estimate(both)),
        trivial=residual(blurry, blurry, Estimate(point)),
        mixture=residual(sharp, blurry, mixture),
        bright=slope(1.2, 0.9), dark=slope(-0.05, 0.2),
        black=slope(-0.01, 0.02),
        point=spread(*point), both=spread(*both))

  found = measure(images(2, 24)['sharp'])
  assert found['truth'] < 1e-5 and found['mixture'] < 1e-5
  assert found['blurred_twice'] > 0.02
  # What is beyond the range finds its way back.
  assert np.min(found['bright']) > 0 and np.max(found['dark']) < 0
  # A black patch does not outweigh all others: a gray pixel has 1 / 2400.
  assert np.min(found['black']) < 0 and np.abs(found['black']).max() < 30 / 2400
  # Any picture explains itself, if the kernel may be a point.
  assert found['trivial'] < 1e-6
  assert np.min(found['point']) > 0.9 and np.max(found['both']) < 0.25


def test_the_sparsity_bound_keeps_the_kernel_from_the_delta():
  def loss(logits, weight, max_energy=0.25):
    kernel = jax.nn.softmax(logits).reshape(1, 5, 5)
    estimate = Estimate(kernel)
    bound = jax.nn.relu(cycle_physics.energy(estimate) - max_energy).mean()
    y = images(1)['blur']
    return cycle_physics.reblur(y, y, estimate) + weight * bound

  @jax.jit
  def fit(weight):
    step = lambda logits, _: (
        logits - 20 * jax.grad(loss)(logits, weight), None)
    logits, _ = jax.lax.scan(step, jnp.zeros(25), length=300)
    return jnp.square(jax.nn.softmax(logits)).sum()

  # With the picture itself as the answer: the delta kernel wins, unless there
  # is a bound.
  assert fit(0.0) > 0.9
  assert fit(10.0) < 0.3


def test_divergence_is_0_for_the_truth():
  @jax.jit
  def measure():
    both = jnp.stack([kernels.disk(radius, size=7) for radius in (1.0, 2.5)])
    same_twice = Estimate(
        jnp.stack([both, both], 1), jnp.full((2, 4, 4, 2), 0.5))
    return [kernel_method.divergence(estimate, both) for estimate in (
        Estimate(both), same_twice, Estimate(jnp.full((2, 7, 7), 1 / 49)))]

  truth, twice, even = measure()
  assert abs(truth) < 1e-6 and abs(twice) < 1e-6 and even > 0.5


def test_sharp_pictures_wait_until_the_start_is_over():
  state, step = started('cycle_physics', still=('is_sharp', 'blur_type'))
  batch = batch_of()
  other = batch | {'sharp': 1 - batch['sharp']}
  split = parallel.split_batch(parallel.data_mesh())
  for begun in (False, True):
    state = state.replace(step=np.int32(START * begun))
    one, two = (step(state, parallel.put(x, split))[0] for x in (batch, other))
    assert same(one.params, two.params) == (not begun)


@pytest.mark.parametrize('name', models.KERNEL_ESTIMATORS)
def test_estimators_give_kernels(name):
  net = models.build(name=name, **models.NETWORKS[name].small)
  random = np.random.default_rng(0)
  params = jax.tree.map(
      lambda x: random.normal(0, 0.1, x.shape).astype(np.float32),
      models.shapes(net))
  estimate = jax.jit(net.apply)({'params': params}, images(2, 18)['blur'])
  assert estimate.kernels.shape[-2:] == (7, 7) and estimate.kernels.min() > 0
  np.testing.assert_allclose(estimate.kernels.sum((-2, -1)), 1, rtol=1e-5)
  if estimate.weights is not None:
    assert estimate.weights.shape == (2, 18, 18, estimate.kernels.shape[1])
    np.testing.assert_allclose(estimate.weights.sum(-1), 1, rtol=1e-5)


# ---- alarms and mistakes


def lines(count, **values):
  good = dict(correlation=0.9, kernel_energy=0.1, discriminator_real=0.5,
              discriminator_fake=0.5, discriminator_loss=0.2)
  return [good] * 10 + [good | values] * count


def test_likeness_sees_inverted_and_flat_pictures():
  picture = images()['blur']
  metrics = unpaired.likeness(1 - picture, picture)
  np.testing.assert_allclose(metrics['correlation'], -1, rtol=1e-4)
  flat = unpaired.likeness(jnp.full_like(picture, 0.3), picture)
  assert abs(flat['correlation']) < 1e-3


@pytest.mark.parametrize('watch, values, message', [
    (unpaired.watch_pictures, dict(correlation=-0.8), 'colours are inverted'),
    (unpaired.watch_pictures, dict(correlation=0.01), 'generator has collap'),
    (cycle_physics.watch_kernels, dict(kernel_energy=0.99),
     'become the delta kernel'),
])
def test_alarms(watch, values, message):
  assert watch(lines(0)) is None
  assert watch(lines(unpaired.LINES - 1, **values)) is None
  assert message in watch(lines(unpaired.LINES, **values))
  assert watch(lines(1, **values)[-1:]) is None


def test_a_discriminator_that_is_never_wrong_is_named():
  method = methods.build(changed('cycle_unpaired'))
  sharp, blurry = ({f'{name}/{key}': value for key, value in line.items()}
                   for name, line in (('is_sharp', lines(0)[0]),
                                      ('is_blur', lines(1,
                                                        discriminator_loss=0)[-1])))
  line = sharp | blurry | {'correlation': 0.9}
  warnings = [watch([line] * 5) for watch in method.watches]
  assert warnings[:2] == [None, None]
  assert warnings[2].startswith('is_blur: The discriminator is never')


@pytest.mark.parametrize('name, change, message', [
    ('cycle_unpaired', {'method.weights.cycle_blur': -1.0},
     'method.weights.cycle_blur must be 0 or more, got -1'),
    ('cycle_unpaired', {'method.weights': dict.fromkeys(
        ('adversarial', 'cycle_blur', 'cycle_sharp', 'identity'), 0.0)},
     'All of method.weights are 0'),
    ('cycle_unpaired', {'method.weights.idnetity': 1.0},
     "Unknown key method.weights.idnetity.*Did you mean 'identity'"),
    ('cycle_unpaired', {'method.cycle': '2*l1 + perceptual'},
     'method.features'),
    ('cycle_unpaired', {'method.buffer_size': -1},
     'buffer_size must be 0 or more'),
    ('cycle_unpaired', {'nets.is_blur': dict(name='unet')},
     'nets.is_blur.name must be one of .*patchgan'),
    ('cycle_unpaired', {'nets.is_sharp.depth': 3}, 'at least 70 x 70'),
    ('cycle_physics', {'nets.kernel': dict(name='patchgan')},
     'nets.kernel.name must be one of kernel_cnn, .*kernel_mixture'),
    ('cycle_physics', {'nets.kernel.size': 4}, 'size must be odd'),
    ('cycle_physics', {'nets.kernel.size': 7},
     'method.blur.size=5 must be nets.kernel.size=7'),
    ('cycle_physics', {'method.blur': dict(kind='dynamic_scene')},
     'kernels must be known: method.blur must blur by one kernel'),
    ('cycle_physics', {'method.blur': dict(kind='dynamic_scene'),
                       'method.weights.kernel': 0.0},
     'type of blur must be known: method.blur must blur by one kernel'),
    ('cycle_physics', {'method.blur': dict(kind='line', size=5, margin=2)},
     'method.blur.margin makes the pictures smaller'),
    ('cycle_physics', {'nets.blur_type': dict(name='patchgan')},
     'nets.blur_type.name must be one of blur_type'),
    ('cycle_physics', {'nets.kernel': dict(name='kernel_fourier', size=9)},
     'crop = 16 is below the 18 pixels that nets.kernel needs'),
    ('cycle_physics', {'method.without': 'sparsty'}, "Did you mean 'sparsity'"),
    ('cycle_physics', {'method.discriminator': None},
     'adversarial needs .*discriminator'),
    ('cycle_physics', {'method.max_energy': 0.0}, 'max_energy must be above 0'),
    ('cycle_physics', {'method.start_steps': -1}, 'start_steps must be 0'),
    ('cycle_physics', {'method.gamma': 0.0}, 'gamma must be a number above 0'),
])
def test_mistakes_are_one_line(name, change, message):
  batch = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), images())
  with pytest.raises(errors.UserError, match=message) as error:
    config = changed(name, **change)
    jax.eval_shape(methods.build(config).init, jax.random.key(0), batch)
  assert '\n' not in str(error.value)
