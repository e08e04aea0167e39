"""Targets are on the grid of the network, by its own pyramid."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from steps import batch_of

from deblur_jax import errors, methods, models
from deblur_jax.methods import targets
from deblur_jax.ops import pyramid

TORCH7 = 'deepdeblur_torch7'
MAXIM = dict(name='maxim', features=4, depth=2, groups=1, bottleneck=1,
             stages=1, scales=2)
# Two scales or more. With zeros for weights the results are the blurry ones.
NETS = {
    'multiscale': dict(scales=3, residual=True, pyramid=TORCH7),
    'srn': dict(scales=3, residual=True, pyramid='average'),
    'mimo_unet': dict(pyramid=TORCH7),
    'maxim': MAXIM,
}


def test_networks_of_several_scales_are_all_here():
  assert NETS.keys() == {
      name for name, network in models.NETWORKS.items()
      if network.scales > 1 or hasattr(network.module, 'scales')}


@pytest.mark.parametrize('name', NETS)
def test_targets_are_what_the_network_makes_of_its_input(name):
  net = models.build(
      **{'name': name, **models.NETWORKS[name].small, **NETS[name]})
  zeros = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), models.shapes(net))
  image = jnp.asarray(
      np.random.default_rng(0).random((1, 16, 24, 3)), jnp.float32)
  made = jax.jit(net.apply)({'params': zeros}, image)
  wanted = targets.build(net, None)(image)
  assert len(made) == len(wanted) > 1
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), made, wanted)


def test_one_scale_has_the_picture_as_its_target():
  image = batch_of()['sharp']
  for name in ('fpn', 'nafnet'):
    net = models.build(name=name, **models.NETWORKS[name].small)
    assert models.pyramid(net) is None
    for given in (None, 'nearest'):
      made, = targets.build(net, given)(image)
      assert made is image


def test_a_pyramid_may_be_given_if_it_is_the_networks():
  net = models.build(**MAXIM)
  image = jnp.asarray(batch_of()['sharp'])
  for given in (None, 'nearest'):
    jax.tree.map(np.testing.assert_array_equal,
                 targets.build(net, given)(image),
                 pyramid.nearest(image, levels=2))
  with pytest.raises(errors.UserError, match='Unknown method.pyramid'):
    targets.build(net, 'neerest')


@pytest.mark.parametrize('name, role, method', [
    ('multiscale_gopro', 'net', {}),
    ('multiscale_gopro', 'net', dict(
        name='quantize', init_from=dict(path=None), loss='l1')),
    ('multiscale_gopro', 'net', dict(
        name='prune', init_from=dict(path=None), loss='l1')),
    ('distill', 'net', {}), ('multiscale_adv_gopro', 'generator', {}),
    ('cycle_physics', 'to_sharp', {})])
def test_another_pyramid_stops_training_and_not_restoring(name, role, method):
  config = helpers.get_config(name).to_dict()
  config['method'] = (method or config['method']) | {'pyramid': 'average'}
  small = dict(name='multiscale', scales=2, blocks=0, features=2)
  config['nets'][role] = small
  if 'teacher' in config['nets']:
    config['nets']['teacher'] = small | dict(features=4)
  method, batch = methods.build(config), batch_of(32)
  state = jax.eval_shape(method.init, jax.random.key(0), batch)
  restored = jax.eval_shape(method.restore, state, batch['blur'])
  assert restored.shape == batch['sharp'].shape
  with pytest.raises(errors.UserError, match=(
      f'method.pyramid is average, but nets.{role} shrinks pictures by '
      'deepdeblur_pytorch: leave')) as error:
    jax.eval_shape(method.step, state, batch, jax.random.key(0))
  assert '\n' not in str(error.value)


def test_finetuning_learns_with_the_networks_pyramid():
  config = helpers.changed('finetune', **{'nets.net': MAXIM})
  assert 'pyramid' not in config['method']
  method, batch = methods.build(config), batch_of(32)
  state = jax.eval_shape(method.init, jax.random.key(0), batch)
  jax.eval_shape(method.step, state, batch, jax.random.key(0))
