"""Distillation: what the student hears, and that the teacher stays itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny
from run_folders import untrained

from deblur_jax import losses, methods, models, types
from deblur_jax.methods import distill
from deblur_jax.ops import pyramid

TEACHER = dict(name='multiscale', scales=1, blocks=2, features=4)
STUDENT = dict(name='multiscale', scales=2, blocks=0, features=2)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a run with a critic, and its generator's parameters."""
  folder = tmp_path_factory.mktemp('runs') / 'teacher'
  return folder, untrained(folder, tiny(nets=dict(net=TEACHER)))


def _config(run, *, net=STUDENT, **method):
  return tiny(nets=dict(net=net), method=dict(
      name='distill', teacher=dict(path=str(run[0])), loss='mse',
      loss_weight=0.5, output='l1', output_weight=2.0) | method)


def _batch():
  rng = np.random.default_rng(0)
  return {key: jnp.asarray(rng.random((2, 16, 16, 3)), jnp.float32)
          for key in ('blur', 'sharp')}


def test_the_student_learns_from_the_truth_and_from_the_teacher(run):
  """Of another form and other scales; the teacher's network is in its run."""
  method, batch = methods.build(_config(run)), _batch()
  state = method.init(jax.random.key(0), batch)
  jax.tree.map(np.testing.assert_array_equal, state.extra['teacher'], run[1])
  after, metrics = jax.jit(method.step)(state, batch, jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal, after.extra['teacher'], run[1])
  assert set(after.params) == {'net'}
  student, teacher = models.build(**STUDENT), models.build(**TEACHER)
  restored = student.apply({'params': state.params['net']}, batch['blur'])
  guide, = teacher.apply({'params': run[1]}, batch['blur'])
  sharps, guides = (pyramid.deepdeblur_pytorch(image, levels=2)
                    for image in (batch['sharp'], guide))
  truth = sum(map(losses.mse, restored, sharps))
  output = sum(map(losses.l1, restored, guides))
  np.testing.assert_allclose(metrics['truth'], truth, rtol=1e-4)
  np.testing.assert_allclose(metrics['output'], output, rtol=1e-4)
  np.testing.assert_allclose(
      metrics['loss'], 0.5 * truth + 2 * output, rtol=1e-4)
  np.testing.assert_allclose(
      metrics['psnr_teacher'], -losses.psnr(guide, batch['sharp']), rtol=1e-4)


def test_features_are_maps_of_length_one():
  rng = np.random.default_rng(0)
  features = jnp.asarray(rng.normal(size=(2, 4, 6, 3)), jnp.float32)
  maps = distill._unit(features)
  np.testing.assert_allclose(
      (np.asarray(maps)**2).sum((1, 2)), 1, rtol=1e-5)
  doubled = jnp.concatenate([3 * features] * 2, axis=-1)
  assert distill._distance([features], [doubled]) < 1e-6
  other = distill._distance([features], [features[::-1]])
  assert 0 < other < 2
  with pytest.raises(types.UserError, match='4 x 6 with those of 2 x 6 pixels'):
    distill._distance([features], [features[:, ::2]])


def test_the_last_of_several_calls_is_the_finest_scale():
  net = models.build(name='srn', scales=2, features=1, blocks=0, kernel_size=1)
  assert 'scale/head' in distill.layer_names(net)
  look = distill._looker(net, ['scale/head'], 'student')
  images, (features,) = jax.eval_shape(
      look, models.shapes(net), jax.ShapeDtypeStruct((1, 16, 16, 3), 'float32'))
  assert len(images) == 2 and features.shape == (1, 16, 16, 1)


def test_without_the_folder_of_the_teacher(run):
  """Where the config has the network, a checkpoint needs nothing else."""
  config = _config(run, teacher=dict(path='gone'))
  config['nets']['teacher'] = TEACHER
  method = methods.build(config, from_checkpoint=True)
  shapes = jax.eval_shape(method.init, jax.random.key(0), _batch())
  assert jax.tree.map(jnp.shape, shapes.extra['teacher']) == jax.tree.map(
      np.shape, run[1])


PAIR = ['scale_0/head', 'scale_0/head']


@pytest.mark.parametrize('change, message', [
    (dict(net=TEACHER | dict(features=8)),
     'student has 7,643 parameters, more than its teacher, which has 2,223'),
    (dict(teacher=dict(path='nowhere')), 'No config.json in nowhere'),
    (dict(teacher={}), 'nets.teacher is missing'),
    (dict(teacher=dict(role='gen')), 'nets.gen is missing; there is only: net'),
    (dict(teacher=dict(which='7')), 'No complete checkpoint of step 7'),
    (dict(output_weight=0.0), 'learns nothing from its teacher'),
    (dict(output_weight=-1.0), 'output_weight must be at least 0, got -1.0'),
    (dict(layers=[PAIR]), 'layers and method.layers_weight go together'),
    (dict(layers=['scale_0/head'], layers_weight=1.0), 'are pairs .layer of'),
    (dict(layers=[['scale_0/had', PAIR[1]]], layers_weight=1.0),
     "The student has no layer 'scale_0/had'.* Did you mean 'scale_0/head'"),
])
def test_mistakes(run, change, message):
  if change.get('teacher'):
    change = change | {'teacher': dict(path=str(run[0])) | change['teacher']}
  with pytest.raises(types.UserError, match=message) as error:
    methods.build(_config(run, **change))
  assert '\n' not in str(error.value)


def test_another_network_than_the_runs(run):
  config = _config(run)
  config['nets']['teacher'] = TEACHER | dict(features=5)
  with pytest.raises(types.UserError, match='another network: its net.'):
    methods.build(config)
