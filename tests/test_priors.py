"""The priors: the papers' sizes, the official code's values, any size."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deblur_jax import models, types
from deblur_jax.models import layers, non_local, skip

COUNTS = {
    'denoise': 2_217_831, 'jpeg': 572_827, 'sr': 2_217_831,
    'inpaint_vase': 2_157_955, 'inpaint_kate': 3_002_627,
    'inpaint_library': 2_996_467, 'restore': 2_217_573,
    'restore_98': 1_027_379, 'feature_inversion': 2_606_763,
    'activation_max': 2_948_567, 'flash': 2_184_307, 'selfdeblur': 2_365_521,
    'deep_decoder_64': 25_536, 'deep_decoder_128': 100_224,
    'unet_5': 222_339, 'unet_10': 518_211,
}
# Small ones of each row.
SMALL = {
    'skip': dict(depth=3, down=(4, 5), skip=(2, 0), attention=(1,)),
    'unet_prior': dict(depth=3, num_layers=5, features=4),
    'deep_decoder': dict(features=4, levels=2),
}


def _shapes(net):
  return jax.eval_shape(lambda key: models.init(net, key), jax.random.key(0))


def _code(net, size, n=1):
  shape = (n, *net.code(size))
  return np.random.default_rng(0).random(shape).astype(np.float32)


def _formula(shapes):
  """Values that two programs can make without sharing a file."""
  def fill(path, leaf):
    name = '/'.join(part.key for part in path)
    values = np.cos(np.arange(leaf.size) * 0.7 + zlib.crc32(name.encode()) % 99)
    if leaf.ndim == 1:
      return jnp.float32(name.endswith('scale') + 0.3 * values)
    return jnp.float32(0.3 * values.reshape(leaf.shape))
  return jax.tree_util.tree_map_with_path(fill, shapes)


@functools.cache
def _small(name):
  net = models.build(name=name, **SMALL[name])
  return net, _formula(_shapes(net)), jax.jit(
      net.apply, static_argnames='size')


@pytest.mark.parametrize('name', models.PRESETS)
def test_parameters_of_the_papers(name):
  net = models.build(**models.PRESETS[name])
  assert models.count_parameters(_shapes(net)) == COUNTS[name]


@pytest.mark.parametrize('size, count', [
    ((13, 13), 370_169), ((75, 75), 5_831_625)])
def test_parameters_of_the_kernel_network(size, count):
  net = models.build(name='kernel_net', size=size)
  assert models.count_parameters(_shapes(net)) == count


GOLDEN = {}


@pytest.mark.parametrize('name', GOLDEN)
def test_golden(name):
  options, size, expected = GOLDEN[name]
  net = models.build(**options)
  z = np.sin(np.arange(np.prod(net.code(size))) * 0.1).astype(np.float32)
  z = z.reshape(1, *net.code(size))
  image = jax.jit(net.apply)({'params': _formula(_shapes(net))}, z)
  values = image.mean(), image.std(), image[0, 0, 0, 0], image[0, -1, -1, -1]
  np.testing.assert_allclose(values, expected, atol=1e-4)


@pytest.mark.parametrize('size', [(16, 24), (37, 5), (1, 1)])
@pytest.mark.parametrize('name', ['denoise', 'inpaint_vase', 'restore_98',
                                  'deep_decoder_64', 'unet_10'])
def test_any_size(name, size):
  net = models.build(**models.PRESETS[name])
  z = jax.ShapeDtypeStruct((2, *net.code(size)), jnp.float32)
  image = jax.eval_shape(
      functools.partial(net.apply, size=size), {'params': _shapes(net)}, z)
  assert image.shape == (2, *size, net.channels)
  assert image.dtype == jnp.float32


@pytest.mark.parametrize('size', [(5, 7), (1, 1)])
@pytest.mark.parametrize('name', models.PRIORS)
def test_images_do_not_see_each_other(name, size):
  net, params, apply = _small(name)
  z = _code(net, size, n=2)
  both = apply({'params': params}, z, size=size)
  assert both.shape == (2, *size, 3) and np.isfinite(both).all()
  z[1] += 1
  np.testing.assert_array_equal(
      apply({'params': params}, z, size=size)[0], both[0])


@pytest.mark.parametrize('name', models.PRIORS)
def test_vmap_is_a_loop(name):
  """Over images with weights of their own: values and gradients."""
  net, params, _ = _small(name)
  params = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.8 * leaf]), params)
  z = _code(net, (8, 12), n=2)[:, None]

  @jax.value_and_grad
  def loss(params, z):
    return (net.apply({'params': params}, z)**2).mean()

  together = jax.jit(jax.vmap(loss))(params, z)
  alone = jax.jit(loss)
  for i in range(2):
    expected = alone(jax.tree.map(lambda leaf, i=i: leaf[i], params), z[i])
    jax.tree.map(
        lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=2e-5),
        together, expected)


def test_two_steps_fit_better():
  net = models.build(name='skip', depth=2, channels=1, down=(4, 4))
  z = _code(net, (9, 8))
  optimizer = optax.adam(0.01)

  @jax.jit
  def step(params, state):
    loss = lambda p: ((net.apply({'params': p}, z) - 0.2)**2).mean()
    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, value

  params = models.init(net, jax.random.key(0))
  state, losses = optimizer.init(params), []
  for _ in range(3):
    params, state, value = step(params, state)
    losses.append(value)
  assert losses[0] > losses[1] > losses[2]


def test_first_weights_are_those_of_pytorch():
  params = models.init(
      models.build(name='skip', depth=8, down=(64,)), jax.random.key(0))
  conv = params['down_0']['conv']
  bound = 1 / np.sqrt(9 * 64)
  assert bound > np.abs(conv['kernel']).max() > 0.98 * bound
  assert bound > np.abs(conv['bias']).max() > 0.8 * bound
  np.testing.assert_array_equal(params['join_0']['scale'], 1)
  np.testing.assert_array_equal(params['join_0']['bias'], 0)


def test_kernels():
  net = models.build(name='kernel_net', size=(3, 5), hidden=7, depth=4)
  params = models.init(net, jax.random.key(0))
  params['dense_0']['bias'] += 3
  z = np.random.default_rng(0).normal(0, 9, (2, 4)).astype(np.float32)
  kernels = net.apply({'params': params}, z)
  assert kernels.shape == (2, 3, 5)
  dense = lambda x, name: x @ params[name]['kernel'] + params[name]['bias']
  hidden = np.clip(dense(z, 'dense_0'), 0, 6)
  assert (hidden == 0).any() and (hidden == 6).any()
  expected = np.exp(dense(hidden, 'dense_1'))
  expected /= expected.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(
      kernels.reshape(2, 15), expected, rtol=1e-5, atol=1e-7)


def test_non_local_block():
  """The identity at first; then a sum over all pairs of pixels."""
  x = np.random.default_rng(0).normal(size=(1, 5, 4, 6)).astype(np.float32)
  net = non_local.NonLocal()
  variables = net.init(jax.random.key(0), x)
  np.testing.assert_array_equal(net.apply(variables, x), x)
  params = variables['params']
  params['norm']['scale'] += 2
  conv = lambda x, name: x @ params[name]['kernel'][0, 0] + params[name]['bias']
  largest = lambda x: x[:, :4].reshape(1, 2, 2, 2, 2, -1).max((2, 4))
  theta = conv(x, 'theta').reshape(20, 3)
  phi, g = (
      largest(conv(x, name)).reshape(4, 3) for name in ('phi', 'g'))
  y = conv((theta @ phi.T / 4) @ g, 'out').reshape(x.shape)
  expected = x + 2 * layers.instance_norm(y)
  np.testing.assert_allclose(net.apply(variables, x), expected, atol=1e-5)


@pytest.mark.parametrize('size', [(1, 1), (3, 4)])
def test_bilinear_is_that_of_jax(size):
  x = np.random.default_rng(0).random((2, *size, 3)).astype(np.float32)
  shape = (2, 2 * size[0], 2 * size[1], 3)
  expected = jax.image.resize(x, shape, 'bilinear')
  np.testing.assert_allclose(layers.enlarge_bilinear(x), expected, atol=1e-6)


def test_concatenation_of_the_middles():
  one, two = np.arange(20.0).reshape(1, 4, 5, 1), np.zeros((1, 3, 2, 1))
  joined = skip.concatenate([one, two])
  np.testing.assert_array_equal(
      joined[0, :, :, 0], [[1, 2], [6, 7], [11, 12]])


@pytest.mark.parametrize('options, message', [
    (dict(name='skip', down=()), "network's levels must be at least 1, got 0"),
    (dict(name='skip', skip=(4, 4)), r'each of the 5 levels .*got \[4, 4\]'),
    (dict(name='skip', down_size=4), r'down_size must be odd, got \[4, 4'),
    (dict(name='skip', upsample='bilinea'), "Did you mean 'bilinear'"),
    (dict(name='skip', downsample='lanczos'), "Did you mean 'lanczos2'"),
    (dict(name='skip', border='mirror'), "Unknown border 'mirror'; known: re"),
    (dict(name='skip', attention=(5,)), 'Unknown attention level 5; known: 0'),
    (dict(name='skip', levels=5), r'Unknown key nets.levels; known: .*depth'),
    (dict(name='unet_prior', num_layers=1), 'num_layers must be at least 2'),
    (dict(name='deep_decoder', features=0), 'features must be at least 1'),
    (dict(name='kernel_net', size=(3,)), r'\(height, width\), got \(3,\)'),
    (dict(name='kernel_net', size=(0, 3)), 'size must be at least 1, got 0'),
    (dict(name='kernel_net'), 'nets.size is missing'),
])
def test_mistakes(options, message):
  with pytest.raises(types.UserError, match=message) as error:
    models.build(**options)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', models.PRIORS)
def test_another_code(name):
  net, params, _ = _small(name)
  with pytest.raises(types.UserError, match=r'codes \[n, h, w, \d\], got'):
    net.apply({'params': params}, jnp.zeros((1, 8, 8, 1)))
