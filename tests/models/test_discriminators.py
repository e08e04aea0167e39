"""Discriminators: the papers' sizes, maps, and crops that are too small."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors, models


@functools.cache
def _small(name, **options):
  """A network, random weights, and the network as a function."""
  net = models.build(name=name, **models.NETWORKS[name].small | options)
  _, shapes = _map(net, max(16, models.least_crop(net)))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda leaf: rng.normal(
      scale=0.1, size=leaf.shape).astype(leaf.dtype), shapes)
  return net, variables, jax.jit(net.apply)


def _image(size, n=1):
  rng = np.random.default_rng(0)
  return rng.random((n, size, size, 3)).astype(np.float32)


def _map(net, size, n=1):
  image = jax.ShapeDtypeStruct((n, size, size, 3), jnp.float32)
  return jax.eval_shape(net.init_with_output, jax.random.key(0), image)


@pytest.mark.parametrize('name, options, count, side', [
    ('patchgan', {}, 2_764_737, 35),
    ('patchgan', dict(padding=1), 2_764_737, 30),
    ('patchgan', dict(norm='none'), 2_764_737, 35),
    ('nah_discriminator', {}, 10_725_216, 1),
    ('nah_discriminator', dict(variant='paper'), 10_699_616, 1),
])
def test_sizes_of_the_papers(name, options, count, side):
  net = models.build(name=name, **options)
  logits, variables = _map(net, 256, n=2)
  assert models.count_parameters(variables) == count
  assert logits.shape == (2, side, side, 1) and logits.dtype == jnp.float32


def test_names_of_the_parameters():
  _, variables = _map(models.build(name='patchgan'), 70)
  assert sorted(variables['params']) == [f'conv_{i}' for i in range(5)]
  assert variables['params']['conv_4']['kernel'].shape == (4, 4, 512, 1)
  _, variables = _map(models.build(name='nah_discriminator'), 256)
  assert sorted(variables['params']) == [
      *(f'conv_{i}' for i in range(10)), 'logit']
  assert sorted(variables['params']['conv_9']) == ['kernel']


def test_larger_images_get_a_map():
  logits, _ = _map(models.build(name='nah_discriminator'), 512)
  assert logits.shape == (1, 2, 2, 1)


def test_receptive_fields():
  """70x70 as in pix2pix; pixels outside have no gradient."""
  field = models.NETWORKS['patchgan'].receptive_field
  assert field(models.build(name='patchgan')) == 70
  net, variables, _ = _small('patchgan', norm='none')
  side = field(net)
  gradient = jax.jit(jax.grad(
      lambda x: net.apply(variables, x)[0, 8, 8, 0]))(_image(32))
  rows, = np.nonzero(np.abs(np.asarray(gradient)).sum((0, 2, 3)))
  assert rows[-1] - rows[0] + 1 == side == 16


@pytest.mark.parametrize('name, options, least', [
    ('patchgan', {}, 70),
    ('patchgan', dict(depth=1, padding=0), 16),
    ('nah_discriminator', {}, 193),
    ('nah_discriminator', dict(variant='paper'), 193),
])
def test_least_crop(name, options, least):
  net = models.build(name=name, **options)
  assert models.least_crop(net) == least
  _map(net, least)
  with pytest.raises(errors.UserError, match=(
      f'at least {least} x {least} pixels, got {least - 1} x {least - 1}')):
    _map(net, least - 1)


def test_initial_parameters():
  """`models.init` takes an image that is large enough."""
  net = models.build(name='patchgan', features=4, depth=1)
  params = models.init(net, jax.random.key(0))
  np.testing.assert_allclose(params['conv_1']['kernel'].std(), 0.02, rtol=0.1)
  np.testing.assert_array_equal(params['conv_1']['bias'], 0)
  net = models.build(name='nah_discriminator')
  key = jax.random.key(0)
  params = jax.eval_shape(lambda: models.init(net, key))
  assert params['logit']['kernel'].shape == (1, 1, 512, 1)


def test_generators_take_any_crop():
  assert models.least_crop(models.build(name='resnet')) == 1


@pytest.mark.parametrize('name', models.DISCRIMINATORS)
def test_every_discriminator_gives_logits(name):
  net, variables, apply = _small(name)
  _, _, half = _small(name, dtype='bfloat16')
  image = _image(max(16, models.least_crop(net)))
  logits, other = apply(variables, image), half(variables, image)
  assert logits.ndim == 4 and logits.shape[-1] == 1
  assert logits.dtype == other.dtype == jnp.float32
  assert 0 < np.abs(logits - other).max() < 0.1 * np.abs(logits).max()
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
      jnp.dtype('float32')}


@pytest.mark.parametrize('norm', ['instance', 'none'])
def test_one_image_does_not_change_the_logits_of_another(norm):
  _, variables, apply = _small('patchgan', norm=norm)
  images = np.concatenate([_image(16), 1 - _image(16)])
  together = apply(variables, images)
  np.testing.assert_allclose(
      together[:1], apply(variables, images[:1]), atol=1e-5)


def test_gradient_penalty_has_a_gradient():
  """The second derivative that WGAN-GP needs, against a difference."""
  net, variables, _ = _small('patchgan')
  image = _image(16)

  @jax.jit
  @jax.value_and_grad
  def penalty(variables):
    slope = jax.grad(lambda x: net.apply(variables, x).sum())(image)
    return (slope**2).sum()
  value, gradient = penalty(variables)
  square = sum((g**2).sum() for g in jax.tree.leaves(gradient))
  step = 1e-3 * value / square
  ahead, _ = penalty(
      jax.tree.map(lambda p, g: p + step * g, variables, gradient))
  np.testing.assert_allclose(ahead - value, step * square, rtol=0.05)


# Mean, first and last logit of the layers of PyTorch with these weights.
GOLDEN = {
    2: (0.08101091533899307, -0.595752477645874, 0.34974879026412964),
    1: (0.4226752519607544, 2.587841272354126, 1.2371968030929565),
}


@pytest.mark.parametrize('padding', GOLDEN)
def test_golden(padding):
  _, variables, apply = _small('patchgan', padding=padding)
  ramp = lambda count: np.arange(count, dtype=np.float32)
  weights = jax.tree.map(lambda leaf: np.float32(0.15) * np.cos(
      ramp(leaf.size) * np.float32(0.7)).reshape(leaf.shape), variables)
  image = np.sin(ramp(16 * 16 * 3) * np.float32(0.1)).reshape(1, 16, 16, 3)
  logits = np.asarray(apply(weights, image / 2 + np.float32(0.5)))
  values = logits.mean(), logits[0, 0, 0, 0], logits[0, -1, -1, 0]
  np.testing.assert_allclose(values, GOLDEN[padding], atol=1e-5)


@pytest.mark.parametrize('options, message', [
    (dict(name='patchgan', norm='batch'), "with norm 'batch' compares images"),
    (dict(name='patchgan', norm='layer'), "Unknown norm 'layer'; known: inst"),
    (dict(name='patchgan', depth=0), "network's depth must be at least 1"),
    (dict(name='nah_discriminator', variant='papers'), "mean 'paper'"),
    (dict(name='patch_gan'), "Did you mean 'patchgan'"),
])
def test_mistakes(options, message):
  with pytest.raises(errors.UserError, match=message) as error:
    models.build(**options)
  assert '\n' not in str(error.value)
