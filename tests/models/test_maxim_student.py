"""A student begins as its teacher, but for what it lacks, which can fade."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from deblur_jax import errors, methods, models
from deblur_jax.methods import pretrained
from deblur_jax.models import maxim_student
from deblur_jax.ops import spatial_mixing
from deblur_jax.training import checkpoint, loop, optim, parallel, workdir

TEACHER = dict(name='maxim', features=4, depth=2, groups=2, bottleneck=2,
               stages=1, scales=1)
FEWER = dict(groups=1, bottleneck=1)
BLUR = np.random.default_rng(1).random((1, 40, 33, 3), np.float32)


def _teacher(**options):
  net = models.build(**TEACHER | options)
  rng = np.random.default_rng(0)
  flat = {name: rng.normal(0, 0.1, leaf.shape).astype(np.float32)
          for name, leaf in traverse_util.flatten_dict(
              models.shapes(net), sep='/').items()}
  # The means of a bias over 2x2 pixels are not the bias: see `begin`.
  name = 'stage_0_global_block_1/input_proj/bias'
  if name in flat:
    flat[name] = np.zeros_like(flat[name])
  return net, traverse_util.unflatten_dict(flat, sep='/')


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  monkeypatch.setattr(spatial_mixing, 'SWEEPS', 1)    # of a second each


@functools.cache
def _applied(net):
  return jax.jit(net.apply)


def _restored(net, params):
  return np.asarray(_applied(net)({'params': params}, BLUR)[0])


def test_what_has_faded_can_be_left_out():
  options = dict(depth=1, rank=2)
  teacher, params = _teacher(**options)
  student = models.build(**TEACHER | options | FEWER)
  kept = maxim_student.kept(student, teacher)
  at = lambda step: _restored(
      teacher, optim.fade(params, kept, step=step, steps=4))
  first, half, last = map(at, (0, 2, 4))
  np.testing.assert_array_equal(first, _restored(teacher, params))
  assert np.abs(first - half).max() > 1e-3 < np.abs(last - half).max()
  ours = _restored(student, maxim_student.begin(student, teacher, params))
  assert np.abs(last - BLUR).max() > 0.01
  np.testing.assert_allclose(ours, last, atol=1e-5)


def test_a_full_rank_changes_nothing():
  teacher, params = _teacher(depth=1, groups=1, bottleneck=1)
  student = teacher.clone(rank=256)
  ours = _restored(student, maxim_student.begin(student, teacher, params))
  np.testing.assert_allclose(ours, _restored(teacher, params), atol=1e-5)


@pytest.mark.parametrize('options', [
    FEWER | dict(rank=3), dict(widest=4, rank=3)])
def test_it_has_the_parameters_of_the_student(options):
  student = models.build(**TEACHER | options)
  begun = maxim_student.begin(student, *_teacher())
  assert jax.tree.map(np.shape, begun) == jax.tree.map(
      np.shape, models.shapes(student))


def test_channels_that_fade_are_those_that_are_left_out():
  teacher, params = _teacher(rank=3)
  student = models.build(**TEACHER | dict(rank=3, widest=4))
  kept = maxim_student.kept(student, teacher)
  flat = traverse_util.flatten_dict(params, sep='/')
  for name, leaf in traverse_util.flatten_dict(
      maxim_student.begin(student, teacher, params), sep='/').items():
    keeps = np.broadcast_to(traverse_util.flatten_dict(kept, sep='/')[name],
                            flat[name].shape)
    scale = np.sqrt(2) if name.endswith('/scale') and keeps.size > leaf.size \
        else 1
    np.testing.assert_allclose(
        leaf.ravel(), flat[name][keeps] * scale, rtol=1e-6)


@pytest.mark.parametrize('options', [
    dict(groups=3), dict(depth=1), dict(stages=2), dict(features=8)])
def test_it_is_a_part_of_its_teacher(options):
  with pytest.raises(errors.UserError, match='No student of this MAXIM can'):
    maxim_student.begin(models.build(**TEACHER | options), *_teacher())


def test_training_fades():
  tiny = dict(TEACHER, depth=1, bottleneck=1, rank=2)
  config = helpers.tiny(**{
      'nets.net': tiny, 'method.ema': 0.0,
      'method.fade': dict(net=dict(groups=1), steps=2)})
  method = methods.build(config)
  batch = {'blur': BLUR, 'sharp': BLUR[:, ::-1]}
  teacher, params = _teacher(**tiny)
  student = models.build(**tiny | dict(groups=1))
  state = jax.eval_shape(method.init, jax.random.key(0), batch).replace(
      params={'net': params}, opt_state={})
  small = _restored(student, maxim_student.begin(student, teacher, params))
  restore = jax.jit(method.restore)
  for step, faded in ((0, False), (2, True)):
    restored = restore(state.replace(step=jnp.int32(step)), batch['blur'])
    assert bool(jnp.allclose(restored, small, atol=1e-5)) == faded


def test_a_run_hands_on_what_has_faded(tmp_path):
  tiny = dict(TEACHER, depth=1, bottleneck=1, rank=2)
  config = helpers.tiny(**{
      'nets.net': tiny, 'data.loader.crop': 32,
      'method.fade': dict(net=dict(groups=1), steps=2), 'total_steps': 2})
  rng, mesh = np.random.default_rng(0), parallel.data_mesh()
  # As trained: its own first parameters take long to draw.
  state = jax.tree.map(
      lambda x: rng.normal(0, 0.1, x.shape).astype(x.dtype),
      loop.abstract_state(methods.build(config), 32, mesh)).replace(
          step=np.int32(2))
  shelf = checkpoint.Checkpoints(tmp_path / 'run' / workdir.CHECKPOINTS)
  shelf.save(2, parallel.put(state, parallel.replicated(mesh)), None)
  shelf.close()
  workdir.write_config(tmp_path / 'run', config)
  flat = traverse_util.flatten_dict(pretrained.any_weights(
      pretrained.Start(str(tmp_path / 'run'))), sep='/')
  silent = [name for name in flat if any(part in name for part in (
      'SplitHeadMultiAxisGmlpLayer_1/out_project', 'block_11/conv2'))]
  assert silent and not any(flat[name].any() for name in silent)
  assert flat['stage_0_input_conv_0/kernel'].any()


@pytest.mark.parametrize('changes, message', [
    ({'method.fade': dict(net=FEWER)}, 'method.fade.steps is missing'),
    ({'method.fade': dict(net=dict(group=1), steps=1)},
     'Unknown key method.fade.net.group; .* groups'),
    ({'method.fade': dict(net=dict(groups=3), steps=1)},
     'groups=3, more than 2'),
    ({'method.fade': dict(net=dict(rank=2), steps=1)}, 'one of its own rank'),
    ({'method.fade': 3}, 'must be a dict such as'),
    ({'method.fade': dict(net=3, steps=1)}, 'method.fade.net must be a dict'),
    ({'method.fade': dict(net=FEWER, steps=0)}, 'whole number above 0, got 0'),
    ({'nets.net': dict(name='multiscale', features=4, blocks=1, scales=1)},
     'only maxim can become smaller'),
])
def test_mistakes_of_fading(changes, message):
  with pytest.raises(errors.UserError, match=message):
    methods.build(helpers.tiny(**{
        'nets.net': TEACHER, 'method.fade': dict(net=FEWER, steps=1),
        **changes}))
