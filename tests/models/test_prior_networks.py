"""The priors: the papers' sizes, the official code's values, any size."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors, models
from deblur_jax.models import layers, non_local, skip
from deblur_jax.ops import norm, pad, resize

COUNTS = {
    'denoise': 2_217_831, 'jpeg': 572_827, 'sr': 2_217_831,
    'inpaint_vase': 2_157_955, 'inpaint_kate': 3_002_627,
    'inpaint_library': 2_996_467, 'restore': 2_217_573,
    'restore_98': 1_027_379, 'feature_inversion': 2_606_763,
    'activation_max': 2_948_567, 'flash': 2_184_307, 'selfdeblur': 2_365_521,
    'deep_decoder_64': 25_536, 'deep_decoder_128': 100_224,
    'unet_5': 222_339, 'unet_10': 518_211,
}
# More of the options than in the smallest network of a row.
MORE = {
    'skip': dict(down=(4, 5), skip=(2, 0), attention=(1,)),
    'unet_prior': dict(num_layers=5),
    'deep_decoder': dict(levels=2),
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
      return np.float32(name.endswith('scale') + 0.3 * values)
    return np.float32(0.3 * values.reshape(leaf.shape))
  return jax.tree_util.tree_map_with_path(fill, shapes)


@functools.cache
def _small(name):
  net = models.build(
      name=name, **models.NETWORKS[name].small | MORE.get(name, {}))
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


# Mean, standard deviation, first and last value of what the programs' own
# modules (under torch 2.13) make of the code and the weights of the formulas.
GOLDEN = {
    'thin skips': (
        dict(name='skip', channels=2, depth=3, down=(5, 6, 4), up=(4, 7, 3),
             skip=(2, 0, 3), down_size=(5, 3, 3),
             upsample=('nearest', 'bilinear', 'bilinear')),
        (21, 26), (0.5436931, 0.0779254, 0.5162776, 0.5810876)),
    'zeros around, no mix': (
        dict(name='skip', depth=2, down=(4, 5), skip=3, up_size=(3, 5),
             mix=False, downsample=('avg', 'max'), border='zero'),
        (16, 24), (0.5725393, 0.0399181, 0.5170373, 0.5760365)),
    'lanczos2, no skips': (
        dict(name='skip', channels=1, depth=2, down=(4, 5), skip=0,
             downsample='lanczos2', upsample='nearest'),
        (16, 24), (0.5935796, 0.0451917, 0.6226831, 0.6226524)),
    'selfdeblur': (
        dict(name='skip', channels=1, depth=2, down=(4, 5, 6), skip=2,
             attention=(2,)),
        (37, 45), (0.5990346, 0.0562695, 0.5522951, 0.6844358)),
    'deep decoder': (
        dict(name='deep_decoder', features=6, levels=3),
        (17, 20), (0.4694605, 0.0351740, 0.4899646, 0.5951270)),
}


@pytest.mark.parametrize('name', GOLDEN)
def test_golden(name):
  options, size, expected = GOLDEN[name]
  net = models.build(**options)
  z = np.sin(np.arange(np.prod(net.code(size))) * 0.1).astype(np.float32)
  z = z.reshape(1, *net.code(size))
  image = np.asarray(jax.jit(net.apply, static_argnames='size')(
      {'params': _formula(_shapes(net))}, z, size=size))
  values = image.mean(), image.std(), image[0, 0, 0, 0], image[0, -1, -1, -1]
  np.testing.assert_allclose(values, expected, atol=1e-4)


@pytest.mark.parametrize('size', [(37, 5), (1, 1)])
@pytest.mark.parametrize('name', ['denoise', 'restore_98', 'unet_10'])
def test_any_size(name, size):
  net = models.build(**models.PRESETS[name])
  z = jax.ShapeDtypeStruct((2, *net.code(size)), jnp.float32)
  image, _ = jax.eval_shape(
      functools.partial(net.init_with_output, size=size), jax.random.key(0), z)
  assert image.shape == (2, *size, net.channels)
  assert image.dtype == jnp.float32


# One pixel, too: a norm sees one value.
@pytest.mark.parametrize('name, size', [
    *((name, (5, 7)) for name in models.PRIORS), ('skip', (1, 1))])
def test_images_do_not_see_each_other(name, size):
  net, params, apply = _small(name)
  z = _code(net, size, n=2)
  both = apply({'params': params}, z, size=size)
  assert both.shape == (2, *size, 3) and np.isfinite(both).all()
  z[1] += 1
  np.testing.assert_array_equal(
      apply({'params': params}, z, size=size)[0], both[0])


@pytest.mark.parametrize('name', models.PRIORS)
def test_steps_of_many_are_those_of_each(name):
  """Images with weights of their own, mapped; and they fit better."""
  net = models.build(name=name, **models.NETWORKS[name].small)
  params = _formula(_shapes(net))
  params = jax.tree.map(
      lambda leaf: np.stack([leaf, np.float32(0.8) * leaf]), params)
  z = _code(net, (6, 5), n=2)[:, None]

  def step(params, z):
    loss = lambda p: (
        (net.apply({'params': p}, z, size=(6, 5)) - 0.2)**2).mean()
    value, gradient = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), value

  take = lambda tree, i: jax.tree.map(lambda leaf: leaf[i], tree)
  many, one = jax.jit(jax.vmap(step)), jax.jit(step)
  alone, values = [take(params, i) for i in range(2)], []
  for _ in range(3):
    params, value = jax.device_get(many(params, z))
    values.append(value)
    for i in range(2):
      alone[i], expected = one(alone[i], z[i])
      jax.tree.map(
          lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
          (take(params, i), value[i]), (alone[i], expected))
  assert (values[0] > values[1]).all() and (values[1] > values[2]).all()


def test_first_weights_are_those_of_pytorch():
  params = jax.jit(layers.ConvNorm(64).init)(
      jax.random.key(0), jnp.zeros((1, 4, 4, 64)))['params']
  bound = 1 / np.sqrt(9 * 64)
  assert bound > np.abs(params['conv']['kernel']).max() > 0.98 * bound
  assert bound > np.abs(params['bias']).max() > 0.8 * bound
  np.testing.assert_array_equal(params['norm']['scale'], 1)
  np.testing.assert_array_equal(params['norm']['bias'], 0)


def test_kernels():
  net = models.build(name='kernel_net', size=(3, 5), hidden=7, depth=4)
  z = np.random.default_rng(0).normal(0, 9, (2, 4)).astype(np.float32)
  params = jax.device_get(jax.jit(net.init)(jax.random.key(0), z)['params'])
  params['dense_0']['bias'] = params['dense_0']['bias'] + 3
  kernels = jax.jit(net.apply)({'params': params}, z)
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
  apply = jax.jit(net.apply)
  variables = jax.jit(net.init)(jax.random.key(0), x)
  np.testing.assert_array_equal(apply(variables, x), x)
  params = jax.device_get(variables['params'])
  params['norm']['scale'] = params['norm']['scale'] + 2
  conv = lambda x, name: x @ params[name]['kernel'][0, 0] + params[name]['bias']
  largest = lambda x: x[:, :4].reshape(1, 2, 2, 2, 2, -1).max((2, 4))
  theta = conv(x, 'theta').reshape(20, 3)
  phi, g = (
      largest(conv(x, name)).reshape(4, 3) for name in ('phi', 'g'))
  y = conv((theta @ phi.T / 4) @ g, 'out').reshape(x.shape)
  expected = x + 2 * layers.instance_norm(y)
  np.testing.assert_allclose(
      apply({'params': params}, x), expected, atol=1e-5)


def _doubled(x):
  n, h, w, c = x.shape
  return jax.image.resize(x, (n, 2 * h, 2 * w, c), 'bilinear')


def _mirrored(x):
  return jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode='reflect')


def _normalised(x, scale, bias):
  y = layers.instance_norm(x) * scale[None, None, None] + bias
  return jnp.where(y > 0, y, 0.2 * y)


@pytest.mark.parametrize('ours, plain, size', [
    (resize.double_bilinear, _doubled, (1, 1)),
    (resize.double_bilinear, _doubled, (3, 4)),
    (lambda x: pad.reflect(x, padding=2), _mirrored, (6, 7)),
    (lambda x: pad.reflect(x, padding=2), _mirrored, (3, 7)),
    (lambda x, scale, bias: norm.normalise(x, scale, bias[0, 0, 0], 0.2),
     _normalised, (4, 3)),
], ids=['one pixel', 'bilinear', 'mirror', 'narrow mirror', 'norm'])
def test_our_own_gradients(ours, plain, size):
  """Values and gradients are those that JAX finds for the formula."""
  random = np.random.default_rng(0)
  draw = lambda *shape: random.normal(size=shape).astype(np.float32)
  inputs = [draw(2, *size, 3)]
  if plain is _normalised:
    inputs += [draw(3), draw(1, 1, 1, 3)]
  target = draw(*jax.eval_shape(plain, *inputs).shape)

  @functools.partial(jax.jit, static_argnums=0)
  def both(f, inputs):
    y, pull_back = jax.vjp(f, *inputs)
    return y, pull_back(target)

  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
      both(ours, inputs), both(plain, inputs))


def test_the_middles_of_two_sizes():
  one, two = np.arange(20.0).reshape(1, 4, 5, 1), np.zeros((1, 3, 2, 1))
  cut, same = skip.crop_alike([one, two])
  np.testing.assert_array_equal(cut[0, :, :, 0], [[1, 2], [6, 7], [11, 12]])
  np.testing.assert_array_equal(same, two)


@pytest.mark.parametrize('options, message', [
    (dict(name='skip', down=()), "network's levels must be at least 1, got 0"),
    (dict(name='skip', down=(4, 0), skip=0), 'down must be at least 1, got 0'),
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
  with pytest.raises(errors.UserError, match=message) as error:
    models.build(**options)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', models.PRIORS)
def test_another_code(name):
  net, params, _ = _small(name)
  with pytest.raises(errors.UserError, match=r'codes \[n, h, w, \d\], got'):
    net.apply({'params': params}, jnp.zeros((1, 8, 8, 1)))
