"""Pruning: which values and channels go, and that nothing else changes."""

import functools
import math

import jax
import numpy as np
import pytest
from helpers import tiny
from run_folders import untrained

from deblur_jax import errors, methods, models
from deblur_jax.models import channel_groups, pruning
from deblur_jax.training import loop, parallel

# A wide and a thin one of each network whose channels can be pruned.
WIDE = {
    'mimo_unet': dict(features=8, blocks=0),
    'multiscale': dict(scales=1, blocks=1, features=4),
    'nafnet': dict(features=4, blocks=(1,), up_blocks=(0,), middle=0),
    'resnet': dict(features=4, blocks=0),
    'single_scale': dict(features=4, blocks=1),
    'srn': dict(scales=1, features=2, blocks=0, kernel_size=1, recurrent=True),
    'unet': dict(features=4, levels=1, blocks=0),
}
THIN = {name: dict(features=options['features'] // 2)
        for name, options in WIDE.items()} | {'nafnet': dict(expansion=1.0)}
NET = dict(name='multiscale', scales=1, blocks=1, features=4)


def _random(shapes):
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: rng.normal(
      scale=0.3, size=leaf.shape).astype(np.float32), shapes)


def _pair(name, **options):
  wide = dict(name=name, **WIDE[name] | options)
  return models.build(**wide), models.build(**wide | THIN[name])


def test_every_network_that_can_be_pruned_is_tested():
  assert {models.MODELS[name] for name in WIDE} == channel_groups.KINDS.keys()


def _places(shapes):
  """Numbers from 0 in the place of each leaf's values."""
  return jax.tree.map(
      lambda leaf: np.arange(math.prod(leaf.shape)).reshape(leaf.shape), shapes)


def _restore(net, params):
  rng = np.random.default_rng(1)
  blur = rng.random((1, 8, 8, 3), np.float32)
  return _apply(net)({'params': params}, blur), blur


@functools.cache
def _apply(net):
  return jax.jit(net.apply)


def _channel_masks(params, wires, kept):
  """Masks of the wide network: false where a pruned channel is made."""
  sizes = pruning._sizes(params, wires)

  def mask(path, leaf):
    _, makes = pruning._groups(path, leaf, wires)
    if not makes:
      return np.ones(leaf.shape, bool)
    stays = np.zeros(leaf.shape[-1], bool)
    stays[pruning._places(makes, kept, sizes)] = True
    return np.broadcast_to(stays, leaf.shape)

  return jax.tree_util.tree_map_with_path(mask, params)


@pytest.mark.parametrize('name', WIDE)
def test_nobody_reads_what_is_cut(name):
  """Where channels are zero, what the thin network has not makes nothing."""
  wide, thin = _pair(name)
  params, wires = _random(models.shapes(wide)), channel_groups.wires(wide)
  kept = pruning.choose(params, wires, models.shapes(thin))
  silent = jax.tree.map(
      np.multiply, params, _channel_masks(params, wires, kept))
  places = _places(params)
  left = jax.tree.map(
      lambda leaf, all_, stay: np.where(np.isin(all_, stay), leaf, 0),
      params, places, pruning.cut(places, wires, kept))
  assert sum(map(np.count_nonzero, jax.tree.leaves(left))) < sum(
      map(np.count_nonzero, jax.tree.leaves(silent)))
  images, blur = _restore(wide, silent)
  for one, other in zip(images, _restore(wide, left)[0], strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
  assert np.abs(images[0] - blur).max() > 1e-3


@pytest.mark.parametrize('name', ['nafnet', 'srn'])  # which split channels
def test_the_thin_network_is_the_wide_one_with_channels_of_zero(name):
  wide, thin = _pair(name)
  params, wires = _random(models.shapes(wide)), channel_groups.wires(wide)
  kept = pruning.choose(params, wires, models.shapes(thin))
  silent = jax.tree.map(
      np.multiply, params, _channel_masks(params, wires, kept))
  images, _ = _restore(wide, silent)
  others, _ = _restore(thin, pruning.cut(params, wires, kept))
  for one, other in zip(images, others, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name, options', [
    ('mimo_unet', dict(blocks=2)), ('mimo_unet', dict(window=3)),
    ('mimo_unet', dict(unshuffle=2)),
    ('multiscale', dict(scales=2, blocks=2)),
    ('srn', dict(blocks=1, scales=2)),
    ('srn', dict(recurrent=False, shared=False, scales=2)),
    ('resnet', dict(blocks=1)), ('single_scale', {}),
    ('unet', dict(levels=3, blocks=2)),
    ('nafnet', dict(blocks=(1, 2), up_blocks=(1, 0)))])
def test_every_kernel_gets_its_new_size(name, options):
  wide, thin = _pair(name, **options)
  params, expected = _random(models.shapes(wide)), models.shapes(thin)
  wires = channel_groups.wires(wide)
  less = pruning.cut(params, wires, pruning.choose(params, wires, expected))
  assert jax.tree.map(np.shape, less) == jax.tree.map(np.shape, expected)


def test_the_strongest_channels_stay():
  params = {'a': {'kernel': np.zeros((1, 1, 3, 4), np.float32),
                  'bias': np.arange(4.0)},
            'b': {'kernel': np.arange(8.0).reshape(1, 1, 4, 2)}}
  params['a']['kernel'][0, 0, 0] = [1, -3, 0, 2]
  wires = {('a',): channel_groups.Wire(None, ('g',)),
           ('b',): channel_groups.Wire(('g',), None)}
  thin = {'a': {'kernel': np.zeros((1, 1, 3, 2))},
          'b': {'kernel': np.zeros((1, 1, 2, 2))}}
  kept = pruning.choose(params, wires, thin)
  assert kept['g'].tolist() == [1, 3]
  less = pruning.cut(params, wires, kept)
  assert less['a']['bias'].tolist() == [1, 3]
  np.testing.assert_array_equal(less['b']['kernel'][0, 0], [[2, 3], [6, 7]])
  with pytest.raises(errors.UserError, match='g has 2 channels, and 4 in nets'):
    pruning.choose(less, wires, params)


@pytest.mark.parametrize('per_layer, counts', [(False, (1, 9)), (True, (5, 5))])
def test_the_smallest_values_go(per_layer, counts):
  params = {'a': {'kernel': 8.5 + np.arange(10.0).reshape(1, 1, 2, 5),
                  'bias': np.zeros(5)},
            'b': {'kernel': -np.arange(1.0, 11).reshape(1, 1, 5, 2)}}

  @jax.jit
  def prune(params):
    masks, everything = (
        pruning.magnitude(params, share=share, per_layer=per_layer)
        for share in (0.5, 0.0))
    zeros = pruning.share_of_zeros(pruning.apply(params, masks))
    return masks, everything, zeros

  masks, everything, zeros = jax.tree.map(np.asarray, prune(params))
  assert masks['a']['bias'].all()
  assert tuple(int((~masks[name]['kernel']).sum()) for name in 'ab') == counts
  assert zeros == 0.5
  assert all(leaf.all() for leaf in jax.tree.leaves(everything))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run's folder as training leaves it, and its parameters."""
  folder = tmp_path_factory.mktemp('runs') / 'wide'
  return folder, untrained(folder, tiny(nets=dict(net=NET)))


def _config(run, *, net=NET, **method):
  return tiny(nets=dict(net=net), method=dict(
      name='prune', init_from=dict(path=str(run[0])), loss='l1') | method)


def test_begins_with_the_strongest_channels_of_the_run(run):
  folder, params = run
  method = methods.build(_config(run, net=NET | dict(features=2)))
  state = loop.init(method, jax.random.key(1), 16, parallel.data_mesh())
  wires = channel_groups.wires(models.build(**NET))
  kept = pruning.choose(params, wires, state.params['net'])
  expected = pruning.cut(params, wires, kept)
  jax.tree.map(
      np.testing.assert_array_equal, state.params['net'], expected)


def test_what_is_zero_stays_zero_while_the_rest_learns(run):
  config = _config(run, share=0.75, ema=0.5)
  method = methods.build(config)

  @jax.jit
  def learn(batch):
    start = method.init(jax.random.key(1), batch)
    return start, *method.step(start, batch, jax.random.key(0))

  rng = np.random.default_rng(0)
  start, state, metrics = jax.tree.map(np.asarray, learn({
      key: rng.random((2, 16, 16, 3), np.float32)
      for key in ('blur', 'sharp')}))
  assert 0.75 <= metrics['zeros'] < 0.78
  masks = jax.tree.leaves(start.frozen['masks'])
  for tree in (state.params, state.ema):
    for mask, before, after in zip(
        masks, jax.tree.leaves(start.params), jax.tree.leaves(tree),
        strict=True):
      assert not after[~mask].any()
      assert (after != before)[mask].mean() > 0.5
  # A checkpoint's state has the same form without the folder of the run.
  folder = dict(config['method'], init_from=dict(path='gone'))
  again = loop.abstract_state(methods.build(
      config | {'method': folder}, from_checkpoint=True), 16,
      parallel.data_mesh())
  assert jax.tree.structure(again) == jax.tree.structure(start)


@pytest.mark.parametrize('change, message', [
    (dict(share=1.0), r'share must be in \[0, 1\), got 1.0: a network without'),
    (dict(net=NET | dict(features=8)), 'has 4 channels, and 8 in nets.net'),
    (dict(net=NET | dict(blocks=2)), 'nets.net.blocks is 2, but 1 in '),
    (dict(net=dict(name='unet')), 'nets.net is a UNet, but .* a MultiScale'),
    (dict(init_from=dict(path='nowhere')), "No model 'nowhere'"),
    (dict(init_from='runs/wide'),
     "method.init_from must be a dict such as {'path"),
])
def test_mistakes(run, change, message):
  with pytest.raises(errors.UserError, match=message) as error:
    methods.build(_config(run, **change))
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('net, message', [
    (dict(name='fpn'), 'Channels of a FPN cannot be pruned, only of MimoUNet'),
    (dict(name='unet', attention='se'), 'with attention cannot be pruned')])
def test_networks_that_stay_wide(net, message):
  with pytest.raises(errors.UserError, match=message):
    channel_groups.wires(models.build(**net))
