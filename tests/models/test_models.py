"""The coarse-to-fine network: the paper's sizes, the official code's values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deblur_jax import errors, models
from deblur_jax.models import layers, multiscale
from deblur_jax.ops import pyramid

SMALL = dict(name='multiscale', scales=3, blocks=1, features=4)


def _image(n=1, height=16, width=24):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.random((n, height, width, 3)), jnp.float32)


@functools.cache
def _small(**options):
  net = models.build(**SMALL | options)
  return net, {'params': models.init(net, jax.random.key(0))}


@pytest.mark.parametrize('scales, blocks, count', [
    (1, 59, 12_100_419), (2, 29, 11_910_870), (3, 19, 11_721_321)])
def test_parameters_of_the_paper(scales, blocks, count):
  net = models.build(name='multiscale', scales=scales)
  params = jax.eval_shape(net.init, jax.random.key(0), _image())
  assert models.count_parameters(params) == count
  assert multiscale.num_blocks(net) == blocks


@pytest.mark.parametrize('scales, depth, blocks', [(4, 120, 14), (3, 60, 9)])
def test_blocks_follow_from_the_depth(scales, depth, blocks):
  net = models.build(name='multiscale', scales=scales, depth=depth)
  assert multiscale.num_blocks(net) == blocks


def test_names_of_the_parameters():
  _, variables = _small()
  params = variables['params']
  assert sorted(params) == ['scale_0', 'scale_1', 'scale_2', 'up_1', 'up_2']
  assert sorted(params['scale_0']) == ['block_00', 'head', 'tail']
  assert params['scale_0']['head']['kernel'].shape == (5, 5, 6, 4)
  assert params['scale_2']['head']['kernel'].shape == (5, 5, 3, 4)
  assert params['up_1']['bias'].shape == (12,)


@pytest.mark.parametrize('size', [(16, 24), (21, 18), (5, 7), (1, 1)])
@pytest.mark.parametrize('scales', [1, 3])
def test_any_size(scales, size):
  net, variables = _small(scales=scales)
  blur = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
  outputs = jax.eval_shape(net.apply, variables, blur)
  expected = jax.eval_shape(
      functools.partial(pyramid.average, levels=scales), blur)
  assert [o.shape for o in outputs] == [e.shape for e in expected]


def test_padding_does_not_reach_the_other_corner():
  """An odd image is the corner of the same one with its edge repeated."""
  net, variables = _small()
  blur = _image(1, 16, 24)
  odd = blur[:, :15, :21]
  even = jnp.pad(odd, ((0, 0), (0, 1), (0, 3), (0, 0)), mode='edge')
  for a, b in zip(net.apply(variables, odd), net.apply(variables, even),
                  strict=True):
    np.testing.assert_array_equal(a, b[:, :a.shape[1], :a.shape[2]])


def _formula(params):
  """Values that two programs can make without sharing a file."""
  def fill(leaf):
    bound = 0.15 if leaf.ndim == 4 else 0.05
    values = np.cos(np.arange(leaf.size, dtype=np.float32) * np.float32(0.7))
    return np.float32(bound) * values.reshape(leaf.shape)
  return jax.tree.map(fill, params)


# Mean, first and last value of each scale, of DeepDeblur-PyTorch at commit
# 26047f7 with these weights (transposed) and this image's pyramid.
GOLDEN = [
    (0.5281656980514526, 0.5480333566665649, 0.5037126541137695),
    (0.5295971632003784, 0.554577112197876, 0.49256467819213867),
    (0.5313442349433899, 0.533381462097168, 0.5018101930618286)]


@pytest.mark.parametrize('remat', [False, True])
def test_golden(remat):
  net = models.build(**SMALL | dict(remat=remat))
  _, variables = _small()
  blur = jnp.sin(jnp.arange(16 * 24 * 3) * 0.1).reshape(1, 16, 24, 3) / 2 + 0.5
  outputs = net.apply(_formula(variables), blur)
  for output, (mean, first, last) in zip(outputs, GOLDEN, strict=True):
    values = output.mean(), output[0, 0, 0, 0], output[0, -1, -1, -1]
    np.testing.assert_allclose(values, (mean, first, last), rtol=1e-4)


def test_value_range_scales_the_biases_alone():
  net, variables = _small(scales=1)
  wide = models.build(**SMALL | dict(scales=1, value_range=255.0))
  scaled = jax.tree.map(
      lambda leaf: leaf * 255 if leaf.ndim == 1 else leaf, variables)
  expected, = net.apply(variables, _image())
  np.testing.assert_allclose(
      wide.apply(scaled, _image())[0], expected, atol=1e-6)
  assert jnp.abs(wide.apply(variables, _image())[0] - expected).max() > 1e-3


def test_single_scale():
  net = models.build(name='single_scale')
  params = jax.eval_shape(net.init, jax.random.key(0), _image())
  assert models.count_parameters(params) == 674_371
  options = dict(name='single_scale', blocks=1, features=2)
  params = {'params': models.init(
      models.build(**options), jax.random.key(0))}
  plain, skipping = (
      models.build(**options, skip=skip).apply(params, _image())[0]
      for skip in (False, True))
  assert jnp.abs(plain - skipping).max() > 1e-3


def test_residual_of_zero_weights_is_the_blurry_pyramid():
  net = models.build(**SMALL | dict(residual=True))
  _, variables = _small()
  zeros = jax.tree.map(jnp.zeros_like, variables)
  outputs = net.apply(zeros, _image())
  expected = pyramid.deepdeblur_pytorch(_image(), levels=3)
  for output, blur in zip(outputs, expected, strict=True):
    np.testing.assert_allclose(output, blur, atol=1e-6)


def test_without_residual_zero_weights_are_grey():
  net, variables = _small()
  outputs = net.apply(jax.tree.map(jnp.zeros_like, variables), _image())
  for output in outputs:
    np.testing.assert_array_equal(output, 0.5)


def test_bfloat16_computes_in_half_and_keeps_float32_outside():
  net = models.build(**SMALL | dict(scales=1, dtype='bfloat16'))
  full, variables = _small(scales=1)
  shapes = jax.eval_shape(net.init, jax.random.key(0), _image())
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes))
  outputs = net.apply(variables, _image())
  for a, b in zip(outputs, full.apply(variables, _image()), strict=True):
    assert a.dtype == jnp.float32
    assert 0 < jnp.abs(a - b).max() < 0.02


def test_remat_changes_no_gradient():
  _, variables = _small(scales=1)

  def gradient(remat):
    net = models.build(**SMALL | dict(scales=1, remat=remat))
    def loss(variables):
      return sum((o**2).mean() for o in net.apply(variables, _image()))
    return jax.jit(jax.grad(loss))(variables)

  for a, b in zip(*map(jax.tree.leaves, (gradient(False), gradient(True))),
                  strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_relu():
  x = jnp.array([-1.0, 0.0, 2.0])
  np.testing.assert_array_equal(layers.relu(x), [0, 0, 2])
  np.testing.assert_array_equal(
      jax.grad(lambda x: layers.relu(x).sum())(x), [0, 0, 1])
  second = jax.grad(lambda x: jax.grad(
      lambda x: (layers.relu(x)**2).sum())(x).sum())
  np.testing.assert_array_equal(second(x), [0, 0, 2])


def test_initialisation_is_that_of_pytorch():
  conv = layers.Conv(64, kernel_size=5)
  params = conv.init(jax.random.key(0), jnp.zeros((1, 8, 8, 16)))['params']
  bound = 1 / np.sqrt(5 * 5 * 16)
  for leaf in params.values():
    assert bound * 0.9 < jnp.abs(leaf).max() <= bound
  np.testing.assert_allclose(
      params['kernel'].std(), bound / np.sqrt(3), rtol=0.02)


def test_conv_without_bias_and_with_stride():
  conv = layers.Conv(2, kernel_size=4, stride=2, padding=1, use_bias=False)
  y, variables = conv.init_with_output(jax.random.key(0), _image())
  assert y.shape == (1, 8, 12, 2) and set(variables['params']) == {'kernel'}


def test_two_steps_lower_the_loss():
  net, variables = _small(scales=2)
  tx = optax.adam(1e-3)

  @jax.jit
  def step(variables, opt_state):
    def loss(variables):
      outputs = net.apply(variables, _image())
      targets = pyramid.deepdeblur_pytorch(_image(), levels=2)
      return sum(
          jnp.abs(a - b).mean() for a, b in zip(outputs, targets, strict=True))
    value, gradient = jax.value_and_grad(loss)(variables)
    updates, opt_state = tx.update(gradient, opt_state)
    return optax.apply_updates(variables, updates), opt_state, value

  opt_state, values = tx.init(variables), []
  for _ in range(3):
    variables, opt_state, value = step(variables, opt_state)
    values.append(float(value))
  assert values[2] < values[1] < values[0]


@pytest.mark.parametrize('name', [
    name for name, network in models.NETWORKS.items() if network.shapes])
def test_shapes_of_the_record_are_those_of_a_trace(name):
  net = models.build(name=name, **models.NETWORKS[name].small)
  traced = jax.eval_shape(lambda key: models.init(net, key), jax.random.key(0))
  assert models.shapes(net) == traced


@pytest.mark.parametrize('options, message', [
    (dict(scales=0), r'^nets.net.scales must be at least 1, got 0'),
    (dict(depth=11), 'depth must be at least 12 for 3 scales, got 11'),
    (dict(blocks=-1), 'blocks must be at least 0, got -1'),
    (dict(kernel_size=4), 'kernel_size must be odd, got 4'),
    (dict(value_range=0), 'value_range must be positive, got 0'),
    (dict(name='single_scale', end_kernel_size=4),
     'end_kernel_size must be odd, got 4'),
    (dict(pyramid='averige'), "Unknown pyramid .* Did you mean 'average'"),
    (dict(dtype='bfloat'), "dtype must be one of .* Did you mean 'bfloat16'"),
    (dict(feature=3), "Unknown key nets.feature; .* Did you mean 'features'"),
    (dict(name='multi_scale'), "Unknown network .* Did you mean 'multiscale'"),
])
def test_mistakes(options, message):
  with pytest.raises(errors.UserError, match=message) as error:
    models.build(**dict(name='multiscale') | options)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('shape', [(1, 8, 8, 1), (8, 8, 3)])
def test_not_rgb(shape):
  net, variables = _small()
  with pytest.raises(errors.UserError, match=r'takes images \[n, h, w, 3\]'):
    net.apply(variables, jnp.zeros(shape))
