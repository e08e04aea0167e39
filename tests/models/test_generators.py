"""The restorers: the papers' sizes, golden values, dropout, any size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors, models
from deblur_jax.models import layers
from deblur_jax.ops import macs

# One scale less, where they are all alike.
FEWER = {'multiscale': dict(scales=1, blocks=0)}
WITH_DROPOUT = [name for name, module in models.MODELS.items()
                if hasattr(module, 'dropout')]


def _image(n=1, height=8, width=12):
  rng = np.random.default_rng(0)
  return rng.random((n, height, width, 3)).astype(np.float32)


def _build(name, **options):
  return models.build(name=name, **models.NETWORKS[name].small | options)


def _shapes(net, shape=(1, 8, 12, 3)):
  blur = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = jax.eval_shape(net.init, jax.random.key(0), blur)
  return variables, blur


@functools.cache
def _of_row(name):
  """The small network of a row and the shapes of its variables."""
  net = _build(name)
  return net, _shapes(net)[0]


@functools.cache
def _small(name, **options):
  """A network, random weights, and the network as a function."""
  net = _build(name, **options)
  shapes = _shapes(net)[0] if options else _of_row(name)[1]
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda leaf: rng.normal(
      scale=0.1, size=leaf.shape).astype(leaf.dtype), shapes)
  return net, variables, jax.jit(net.apply)


@pytest.mark.parametrize('name, options, count, billions', [
    ('resnet', {}, 11_378_179, 49.6),
    ('resnet', dict(blocks=6), 7_837_699, None),
    ('unet', {}, 10_994_979, None),
    ('fpn', {}, 2_039_939, None),
    ('restormer', {}, 3_443_645, None),
    ('srn', {}, 6_881_251, 83.5),
    ('srn', dict(recurrent=True), 8_061_411, None),
    ('srn', dict(shared=False), 3 * 6_881_251, None),
    ('mimo_unet', {}, 6_807_171, None),
    # The depthwise products, which are sums here, make the paper's 16.0.
    ('nafnet', {}, 17_111_907, 15.7),
    # 152.1 where 1x1 convolutions follow what enlarges, as the authors' do.
    ('maxim', {}, 22_212_795, 149.4),
    ('maxim', dict(stages=1), 6_139_561, None),
])
def test_numbers_of_the_papers(name, options, count, billions):
  """Parameters, and multiplications at 256x256.

  None with the zeros of a transposed convolution.
  """
  net = models.build(name=name, **options)
  if billions is None:
    assert models.count_parameters(models.shapes(net)) == count
    return
  counted = []

  def begin(blur):
    images, variables = net.init_with_output(jax.random.key(0), blur)
    counted.append(models.count_parameters(variables))
    return images

  blur = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
  products = macs.macs(begin, blur)
  assert counted == [count]
  assert round(products / 1e9, 1) == billions


def test_names_of_the_parameters():
  variables, _ = _shapes(_build('resnet', blocks=2))
  params = variables['params']
  assert sorted(params) == [
      'block_00', 'block_01', 'down_0', 'down_1', 'head', 'tail', 'up_0',
      'up_1']
  assert sorted(params['block_01']) == ['conv_0', 'conv_1']
  assert params['head']['kernel'].shape == (7, 7, 3, 4)
  assert params['up_0']['kernel'].shape == (3, 3, 16, 8)
  assert params['tail']['bias'].shape == (3,)


@pytest.mark.parametrize('name', models.MODELS)
@pytest.mark.parametrize('size', [(37, 5), (1, 1)])
def test_any_size(name, size):
  net, variables = _of_row(name)
  blur = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
  images = jax.eval_shape(net.apply, variables, blur)
  assert images[0].shape == blur.shape and len(images) == models.scales(net)
  heights = [image.shape[1] for image in images]
  assert heights == sorted(heights, reverse=True)     # the finest first
  assert {image.dtype for image in images} == {jnp.dtype('float32')}


@pytest.mark.parametrize('name', ['resnet', 'restormer'])
def test_gradients_on_a_few_pixels(name):
  """The first layer's: finite where borders mirror, norms see one value."""
  net, variables, _ = _small(name)
  params = variables['params']

  @jax.jit
  @jax.grad
  def gradient(head):
    image, = net.apply({'params': params | {'head': head}}, _image())
    return (image**2).sum()
  kernel = gradient(params['head'])['kernel']
  assert np.isfinite(kernel).all() and np.abs(kernel).max() > 1e-6


@pytest.mark.parametrize('name', WITH_DROPOUT)
def test_dropout_is_for_training_only(name):
  net, variables, apply = _small(name)
  train = jax.jit(functools.partial(net.apply, train=True))
  still, *_ = apply(variables, _image())
  np.testing.assert_array_equal(still, apply(variables, _image())[0])
  one, other = (
      train(variables, _image(), rngs={'dropout': key})[0]
      for key in jax.random.split(jax.random.key(0)))
  assert np.abs(one - other).max() > 1e-6
  assert np.abs(one - still).max() > 1e-6


@pytest.mark.parametrize(
    'name', sorted(set(models.MODELS) - set(WITH_DROPOUT)))
def test_others_take_the_same_call(name):
  net, variables = _of_row(name)
  jax.eval_shape(functools.partial(
      net.apply, train=True, rngs={'dropout': jax.random.key(0)}),
      variables, jax.eval_shape(_image))


@pytest.mark.parametrize('name', models.MODELS)
def test_bfloat16_computes_in_half_and_keeps_float32_outside(name):
  net = _build(name, dtype='bfloat16')
  variables, blur = _shapes(net)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
      jnp.dtype('float32')}
  program = jax.make_jaxpr(net.apply)(variables, blur)
  assert program.out_avals[0].dtype == jnp.float32
  assert 'bf16' in str(program)


def test_bfloat16_is_near():
  _, variables, apply = _small('resnet')
  _, _, half = _small('resnet', dtype='bfloat16')
  images = (f(variables, _image())[0] for f in (half, apply))
  assert 0 < np.abs(np.subtract(*images)).max() < 0.1


@pytest.mark.parametrize('name', [
    name for name in models.MODELS if models.NETWORKS[name].identity])
def test_global_skip(name):
  """With zeros in the last layer, the network returns the blurry image."""
  _, variables, apply = _small(name, **FEWER.get(name, {}))
  last = models.NETWORKS[name].identity
  params = jax.tree_util.tree_map_with_path(
      lambda path, leaf: leaf * np.float32(
          last not in jax.tree_util.keystr(path)), variables['params'])
  image, *_ = apply({'params': params}, _image())
  np.testing.assert_allclose(image, _image(), atol=1e-6)


def test_without_the_global_skip():
  _, variables, apply = _small('resnet', residual=False)
  zeros = jax.tree.map(np.zeros_like, variables)
  np.testing.assert_allclose(apply(zeros, _image())[0], 0.5)


def _formula(variables):
  """Values that two programs can make without sharing a file."""
  def fill(leaf):
    bound = 0.15 if leaf.ndim == 4 else 0.05
    values = np.cos(np.arange(leaf.size, dtype=np.float32) * np.float32(0.7))
    return np.float32(bound) * values.reshape(leaf.shape)
  return jax.tree.map(fill, variables)


# Mean, standard deviation and two values of the network as the paper says, made
# of PyTorch's layers, with these weights and this image.
GOLDEN = (0.5244017839431763, 0.35047489404678345, 0.8099424839019775,
          0.10875937342643738)


def test_golden():
  _, variables, apply = _small('resnet')
  blur = np.sin(np.arange(16 * 24 * 3, dtype=np.float32) * np.float32(0.1))
  image = np.asarray(apply(
      _formula(variables), blur.reshape(1, 16, 24, 3) / 2 + np.float32(0.5))[0])
  values = image.mean(), image.std(), image[0, 0, 0, 0], image[0, 8, 12, 1]
  np.testing.assert_allclose(values, GOLDEN, atol=2e-4)


def test_upsampling_by_resize():
  x = jnp.arange(4.0).reshape(1, 2, 2, 1)
  np.testing.assert_array_equal(
      layers.upsample_nearest(x, factor=2)[0, :, :, 0],
      [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
  _, variables, resize = _small('resnet', upsample='resize')
  _, _, transposed = _small('resnet')
  images = (f(variables, _image())[0] for f in (resize, transposed))
  assert np.abs(np.subtract(*images)).max() > 1e-3


def test_instance_norm_is_that_of_numpy():
  x = np.random.default_rng(0).normal(3, 2, (2, 5, 4, 3))
  mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
  expected = (x - mean) / np.sqrt(variance + 1e-5)
  ours = layers.instance_norm(jnp.asarray(x, jnp.float32))
  np.testing.assert_allclose(ours, expected, atol=1e-5)
  half = layers.instance_norm(jnp.asarray(x + 100, jnp.bfloat16))
  assert half.dtype == jnp.bfloat16 and abs(half.mean()) < 0.01


def test_initialisation_of_deblurgan():
  conv = layers.Conv(64, kernel_size=3, std=0.02)
  params = conv.init(jax.random.key(0), jnp.zeros((1, 8, 8, 16)))['params']
  np.testing.assert_allclose(params['kernel'].std(), 0.02, rtol=0.03)
  assert jnp.abs(params['kernel']).max() > 0.05  # not uniform
  np.testing.assert_array_equal(params['bias'], 0)


def test_leaky_relu():
  x = jnp.array([-1.0, 0.0, 2.0])
  np.testing.assert_allclose(layers.leaky_relu(x), [-0.2, 0, 2])


def test_channel_attention_sees_every_pixel():
  net, variables, _ = _small('restormer', blocks=(1,))
  gradient = jax.jit(jax.grad(
      lambda blur: net.apply(variables, blur)[0][0, 0, 0, 0]))(
          _image(1, 8, 64))
  assert np.abs(gradient[0, -1, -1]).max() > 0


@pytest.mark.parametrize('options, message', [
    (dict(name='resnet', blocks=-1), "network's blocks must be at least 0"),
    (dict(name='resnet', dropout=1.0), r'dropout must be in \[0, 1\), got 1.0'),
    (dict(name='resnet', upsample='resized'), "Did you mean 'resize'"),
    (dict(name='resnet', dtype='float8'), 'dtype must be one of .*float8'),
    (dict(name='unet', levels=0), "network's levels must be at least 1, got 0"),
    (dict(name='fpn', repeats=[1, 2]), r'5 numbers of at least 1, got \[1, 2'),
    (dict(name='fpn', features=1), "network's features must be at least 2"),
    (dict(name='restormer', blocks=()), 'levels must be at least 1, got 0'),
    (dict(name='restormer', heads=5), 'multiple of 2 heads = 10, got 24'),
    (dict(name='srn', scales=0), "network's scales must be at least 1, got 0"),
    (dict(name='srn', kernel_size=4), r'kernel_size must be odd, got \[4'),
    (dict(name='mimo_unet', features=3), 'features must be at least 4, got 3'),
    (dict(name='mimo_unet', attention='cban'), "Did you mean 'cbam'"),
    (dict(name='nafnet', middle=-1), 'middle must be at least 0, got -1'),
    (dict(name='nafnet', up_blocks=(1,)), r'as many .* got \[1\] and \[1, 1'),
    (dict(name='nafnet', expansion=0.01), 'at least 0.0625, got 0.01'),
    (dict(name='maxim', stages=0), 'stages must be between 1 and 3, got 0'),
    (dict(name='maxim', stages=4), 'stages must be between 1 and 3, got 4'),
    (dict(name='maxim', scales=0), 'scales must be between 1 and 3, got 0'),
    (dict(name='maxim', scales=4), 'scales must be between 1 and 3, got 4'),
    (dict(name='maxim', features=3), 'features must be at least 4, got 3'),
    (dict(name='maxim', depth=0), 'depth must be at least 1, got 0'),
])
def test_mistakes(options, message):
  with pytest.raises(errors.UserError, match=message) as error:
    models.build(**options)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', models.MODELS)
def test_not_rgb(name):
  net = _build(name)
  with pytest.raises(errors.UserError, match=r'takes images \[n, h, w, 3\]'):
    jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
