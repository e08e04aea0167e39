"""MAXIM: the authors' values and names, its stages, and memory for time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors import numpy as safetensors

from deblur_jax import errors, models
from deblur_jax.models import maxim
from deblur_jax.ops import pyramid

SMALL = dict(name='maxim', features=4, depth=1, groups=1, bottleneck=1,
             scales=1)


@pytest.fixture(scope='module')
def weights(real_data):
  """The authors' parameters, of the network that they trained on GoPro."""
  path = real_data / 'weights' / 'maxim3s_gopro.safetensors'
  if not path.is_file():
    pytest.skip(f'no parameters at {path}')
  return safetensors.load_file(path)


@functools.cache
def _small(**options):
  net = models.build(**SMALL | options)
  rng = np.random.default_rng(0)
  return net, jax.tree.map(lambda leaf: rng.normal(
      0, 0.3, leaf.shape).astype(np.float32), models.shapes(net))


def _blur(height=16, width=16, n=1):
  rng = np.random.default_rng(1)
  return jnp.asarray(rng.random((n, height, width, 3)), jnp.float32)


def test_golden(weights, real_data):
  """What the authors' graph makes of a picture, not clipped."""
  path = real_data / 'weights' / 'maxim3s_gopro_fixture.npz'
  if not path.is_file():
    pytest.skip(f'no golden values at {path}')
  fixture = np.load(path)
  net = models.build(name='maxim', scales=1)
  blur = jnp.asarray(fixture['input_u8_192x256'][None], jnp.float32) / 255
  params = traverse_util.unflatten_dict(weights, sep='/')
  restored, = jax.jit(net.apply)({'params': params}, blur)
  error = 255 * np.abs(restored[0] - fixture['output_192x256'])
  assert error.max() < 0.02 and error.mean() < 2e-4


def _flat(net):
  shapes = traverse_util.flatten_dict(models.shapes(net), sep='/')
  return {name: leaf.shape for name, leaf in shapes.items()}


def test_names_are_the_authors(weights):
  """All but the heads of the last stage's small images, which they lack."""
  ours, file = _flat(models.build(name='maxim')), {
      name: leaf.shape for name, leaf in weights.items()}
  assert file.items() < ours.items()
  assert {name.split('/')[0] for name in ours.keys() - file.keys()} == {
      'stage_2_output_conv_1', 'stage_2_output_conv_2'}


def test_fewer_stages_and_scales_are_a_part_of_the_parameters():
  small = lambda stages, scales: _flat(models.build(**SMALL | dict(
      depth=2, stages=stages, scales=scales)))
  whole = small(3, 2)
  assert whole.keys() - small(3, 1).keys() == {
      f'stage_2_output_conv_1/{name}' for name in ('kernel', 'bias')}
  assert small(1, 1).items() < whole.items()


def test_fewer_stages_are_the_first_ones():
  net, params = _small(stages=2)
  fewer = models.build(**SMALL | dict(stages=1))

  @jax.jit
  def restore(blur):
    (first,), (second,) = net.apply(
        {'params': params}, blur, method='all_stages')
    return first, second, *fewer.apply({'params': params}, blur)

  first, second, alone = restore(_blur(9, 17))
  np.testing.assert_allclose(first, alone, atol=1e-5)
  assert jnp.abs(second - first).max() > 0.01


def test_sizes_of_all_stages():
  net = models.build(**SMALL | dict(depth=2, scales=2))
  stages = jax.eval_shape(
      lambda blur: net.init_with_output(
          jax.random.key(0), blur, method='all_stages')[0], _blur(19, 33, n=2))
  assert [[image.shape for image in stage] for stage in stages] == 3 * [
      [(2, 19, 33, 3), (2, 10, 17, 3)]]


@functools.cache
def _restored(**options):
  net, params = _small(stages=1, **options)
  params = jax.tree.map(lambda leaf: leaf / 3, params)
  return np.asarray(jax.jit(net.apply)({'params': params}, _blur())[0])


def test_remat_computes_blocks_again_and_changes_nothing():
  net, params = _small(stages=1, remat=True)
  gradient = jax.make_jaxpr(jax.grad(lambda params: net.apply(
      {'params': params}, _blur())[0].sum()))(params)
  blocks = [eqn for eqn in gradient.eqns
            if eqn.primitive.name.startswith('remat')]
  assert len(blocks) == 4    # encoder, bottleneck, cross gating, decoder
  np.testing.assert_allclose(_restored(remat=True), _restored(), atol=1e-5)


def test_bfloat16_is_near():
  difference = np.abs(_restored(dtype='bfloat16') - _restored())
  assert 0 < difference.max() < 0.02


def test_the_picture_comes_back_where_the_head_makes_nothing():
  net, params = _small(stages=1)
  silent = traverse_util.path_aware_map(
      lambda path, leaf: 0 * leaf if path[1:2] == ('Conv_1',) and
      'attention_module' in path[0] else leaf, params)
  restored, = jax.jit(net.apply)({'params': silent}, _blur(1, 20))
  np.testing.assert_allclose(restored, _blur(1, 20), atol=1e-6)


@pytest.mark.parametrize('scales, side', [
    (1, 27), (2, 100), (2, 102), (3, 96), (3, 100), (3, 104), (3, 108)])
def test_crops_to_train_with_are_those_that_fit_their_targets(
    scales, side, monkeypatch):
  """Where stages leave pictures as they are, they are their targets."""
  monkeypatch.setattr(
      maxim.MAXIM, '_stage',
      lambda self, blurs, s, before: (blurs[:self.scales], None))
  net, blur = models.build(name='maxim', scales=scales), _blur(side, side)
  made = net.apply({}, blur)
  fits = all(np.array_equal(a, b) for a, b in zip(
      made, pyramid.nearest(blur, levels=scales), strict=True))
  assert fits == (scales == 1 or side % 2**scales == 0)
  if fits:
    jax.tree.map(
        np.testing.assert_array_equal, net.apply({}, blur, train=True), made)
  else:
    with pytest.raises(errors.UserError, match=(
        f'crop = {side} is not divisible by {2**scales}, as the {scales} sca')):
      net.apply({}, blur, train=True)
