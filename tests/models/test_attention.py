"""Attention, and networks that share, fuse and gate: counts, properties."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from deblur_jax import models
from deblur_jax.models import attention, layers, nafnet, srn

LAYERS = sorted(set(models.ATTENTION) - {'none'})


def _random(*shape, seed=0):
  values = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


def _shapes(net, *shape):
  image = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(net.init, jax.random.key(0), image)


@functools.cache
def _layer(name, channels=4, **options):
  """(the layer as a function of parameters and images, its parameters)."""
  net = models.ATTENTION[name](**options)
  shapes = _shapes(net, 1, 8, 8, channels)['params']
  leaves, tree = jax.tree.flatten(shapes)
  params = jax.tree.unflatten(tree, [
      0.5 * _random(*leaf.shape, seed=i) for i, leaf in enumerate(leaves)])
  return jax.jit(lambda params, x: net.apply({'params': params}, x)), params


def _expected_count(name, c, *, reduction=16, size=8):
  hidden = max(c // reduction, 1)
  mlp = 2 * c * hidden + hidden + c
  heads = next(k for k in (4, 2, 1) if c % k == 0)
  return {'se': mlp, 'cbam': mlp + 7 * 7 * 2 + 1,
          'window': 4 * c**2 + 6 * c + heads * (2 * size - 1)**2}[name]


@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('channels', [3, 10, 64])
def test_number_of_parameters(name, channels):
  shapes = _shapes(models.ATTENTION[name](), 1, 5, 9, channels)
  assert models.count_parameters(shapes) == _expected_count(name, channels)


@pytest.mark.parametrize('name', [
    name for name, module in models.MODELS.items()
    if getattr(module, 'attention', None) == 'none'])
def test_networks_have_it_in_every_block(name):
  """The other parameters stay, and each residual block has its own."""
  options = models.NETWORKS[name].small | dict(blocks=1)
  plain, attentive = (
      traverse_util.flatten_dict(_shapes(models.build(
          name=name, **options, attention=row), 1, 8, 8, 3))
      for row in ('none', 'se'))
  assert plain.items() <= attentive.items()
  added = attentive.keys() - plain.keys()
  places = [path.index('attention') for path in added]
  assert {path[at + 1] for path, at in zip(added, places, strict=True)} == {
      'channels'}
  blocks = {path[:at] for path, at in zip(added, places, strict=True)}
  layers_of = collections.defaultdict(set)
  for *block, layer, _ in plain:
    layers_of[tuple(block)].add(layer)
  assert blocks == {block for block, names in layers_of.items()
                    if names == {'conv_0', 'conv_1'}}
  assert len(added) == 4 * len(blocks) > 0


def _mlp(params, pooled):
  """[n, c] through the two layers, by numpy."""
  for name in ('shrink', 'grow'):
    kernel, bias = (np.asarray(params[name][key]) for key in ('kernel', 'bias'))
    pooled = pooled @ kernel[0, 0] + bias[None]
    if name == 'shrink':
      pooled = np.maximum(pooled, 0)
  return pooled


def test_se_by_hand():
  layer, params = _layer('se')
  x = np.asarray(_random(2, 3, 5, 4))
  weights = 1 / (1 + np.exp(-_mlp(params['channels'], x.mean((1, 2)))))
  np.testing.assert_allclose(
      layer(params, x), x * weights[:, None, None], rtol=1e-5, atol=1e-6)


def test_cbam_by_hand():
  """One and the same pair of layers for the means and for the maxima."""
  layer, params = _layer('cbam')
  assert sorted(params) == ['channels', 'pixels']
  x = np.asarray(_random(1, 3, 5, 4))
  logits = sum(_mlp(params['channels'], pooled)
               for pooled in (x.mean((1, 2)), x.max((1, 2))))
  y = x / (1 + np.exp(-logits))[:, None, None]
  maps = np.stack([y.mean(-1), y.max(-1)], -1)
  around = np.pad(maps, ((0, 0), (3, 3), (3, 3), (0, 0)))
  kernel, bias = (np.asarray(params['pixels'][key])
                  for key in ('kernel', 'bias'))
  logits = np.array([[
      (around[0, i:i + 7, j:j + 7] * kernel[..., 0]).sum() + bias[0]
      for j in range(5)] for i in range(3)])
  np.testing.assert_allclose(
      layer(params, x)[0], y[0] / (1 + np.exp(-logits))[..., None],
      rtol=1e-5, atol=1e-6)


def _attend(params, x, size):
  """Window attention of one head on an image in one square, pixel by pixel."""
  height, width, channels = x.shape
  y = (x - x.mean(-1, keepdims=True)) / np.sqrt(
      x.var(-1, keepdims=True) + 1e-5)
  y = y * params['norm']['scale'] + params['norm']['bias']
  linear = lambda name, y: (
      y @ params[name]['kernel'][0, 0] + params[name]['bias'])
  q, k, v = np.split(linear('expand', y), 3, -1)
  out = np.zeros_like(x)
  places = [(i, j) for i in range(height) for j in range(width)]
  for i, j in places:
    scores = np.array([
        q[i, j] @ k[a, b] / np.sqrt(channels) + params['bias'][
            (i - a + size - 1) * (2 * size - 1) + j - b + size - 1, 0]
        for a, b in places])
    weights = np.exp(scores - scores.max())
    weights = weights / weights.sum()
    out[i, j] = sum(w * v[a, b] for w, (a, b) in zip(
        weights, places, strict=True))
  return x + linear('project', out)


def test_window_by_hand_and_without_what_is_beyond_the_image():
  """Two squares, of which the second is on the image in part only."""
  layer, params = _layer('window', 3, size=4)
  x = np.asarray(_random(1, 3, 6, 3))
  params = jax.tree.map(np.asarray, params)
  expected = np.concatenate(
      [_attend(params, part, 4) for part in (x[0, :, :4], x[0, :, 4:])], axis=1)
  np.testing.assert_allclose(
      layer(params, x)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', LAYERS)
def test_half_precision_and_one_pixel(name):
  layer = models.ATTENTION[name](dtype=jnp.bfloat16)
  image = jax.ShapeDtypeStruct((1, 1, 1, 6), jnp.bfloat16)
  y, variables = jax.eval_shape(
      layer.init_with_output, jax.random.key(0), image)
  assert y.shape == image.shape and y.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
      jnp.dtype('float32')}


def test_squares_and_back():
  x = _random(2, 5, 7, 3)

  @jax.jit
  def there_and_back(x):
    squares = attention._to_squares(x, 4)
    assert squares.shape == (2, 4, 16, 3)
    return attention._from_squares(squares, 4, x.shape)

  np.testing.assert_array_equal(there_and_back(x), x)
  there = attention._is_image(5, 7, 4)
  assert there.sum(axis=1).tolist() == [16, 12, 4, 3]


def test_transposed_kernels_of_4_double_the_size():
  """As the adjoint of a convolution with stride 2, by hand on one pixel."""
  up = layers.ConvTranspose(1, kernel_size=4)
  kernel = np.arange(16, dtype=np.float32).reshape(4, 4, 1, 1)
  x = np.zeros((1, 3, 3, 1), np.float32)
  x[0, 1, 1] = 1
  y = np.asarray(jax.jit(up.apply)(
      {'params': {'kernel': kernel, 'bias': np.ones(1, np.float32)}}, x))
  assert y.shape == (1, 6, 6, 1)
  np.testing.assert_array_equal(
      y[0, 1:5, 1:5, 0], 1 + kernel[::-1, ::-1, 0, 0])


def test_gradients_between_scales():
  """They pass by the recurrent state, and not by the coarser image."""
  net = models.build(name='srn', scales=2, features=1, blocks=0, kernel_size=1,
                     shared=False, recurrent=True)
  blur = 1 + jnp.abs(_random(1, 8, 8, 3))
  params = jax.tree.map(
      lambda leaf: jnp.full(leaf.shape, 0.1), _shapes(net, *blur.shape))
  coarse = params['params']['scale_1']
  places = {'head': ('head',), 'lstm': ('lstm', 'gates'), 'tail': ('tail',),
            'up_1': ('up_1',)}

  @jax.jit
  @jax.grad
  def gradient(biases):
    scale = dict(coarse)
    for name, (first, *rest) in places.items():
      part = coarse[first][rest[0]] if rest else coarse[first]
      part = part | {'bias': biases[name]}
      scale[first] = {rest[0]: part} if rest else part
    both = {'params': params['params'] | {'scale_1': scale}}
    return (net.apply(both, blur)[0]**2).sum()

  biases = {'head': 1, 'lstm': 16, 'tail': 3, 'up_1': 1}
  moved = {name: bool(jnp.abs(value).max() > 0) for name, value in gradient(
      {name: jnp.ones(size) for name, size in biases.items()}).items()}
  assert moved == {'head': True, 'lstm': True, 'tail': False, 'up_1': False}


def test_convlstm_by_hand():
  x, memory, output = (
      np.asarray(_random(1, 2, 3, 1, seed=i)) for i in range(3))
  kernel = np.zeros((3, 3, 2, 4), np.float32)
  kernel[1, 1] = _random(2, 4)
  params = {'gates': {'kernel': kernel, 'bias': np.zeros(4, np.float32)}}
  new, (remembered, _) = jax.jit(srn.ConvLSTM().apply)(
      {'params': params}, x, (memory, output))
  gates = np.concatenate([x, output], -1) @ np.asarray(kernel[1, 1])
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  enter, fresh, keep, leave = (gates[..., i:i + 1] for i in range(4))
  expected = memory * sigmoid(keep + 1) + sigmoid(enter) * np.tanh(fresh)
  np.testing.assert_allclose(remembered, expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(
      new, np.tanh(expected) * sigmoid(leave), rtol=1e-4, atol=1e-6)


def test_nafnet_begins_as_its_first_and_last_convolution():
  """beta and gamma are zero: what is in the blocks does not matter yet."""
  block = nafnet.Block(2.0, 'float32')
  x = np.asarray(_random(1, 4, 4, 2))

  @jax.jit
  def both(x):
    y, variables = block.init_with_output(jax.random.key(0), x)
    ones = variables['params'] | {'beta': jnp.ones(2), 'gamma': jnp.ones(2)}
    return y, block.apply({'params': ones}, x)

  begun, opened = both(x)
  np.testing.assert_array_equal(begun, x)
  assert np.abs(opened - x).max() > 1e-3


@pytest.mark.parametrize('expansion, hidden', [(2.0, 8), (1.0, 4)])
def test_nafnet_block_is_as_thin_as_asked(expansion, hidden):
  params = _shapes(nafnet.Block(expansion, 'float32'), 1, 4, 4, 8)['params']
  assert params['expand_0']['kernel'].shape == (1, 1, 8, 2 * hidden)
  assert params['weigh']['kernel'].shape == (1, 1, hidden, hidden)
  assert params['project_1']['kernel'].shape == (1, 1, hidden, 8)
