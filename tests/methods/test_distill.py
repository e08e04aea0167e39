"""Distillation: what the student hears, and that the teacher stays itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import get_config, tiny
from run_folders import untrained

from deblur_jax import errors, losses, methods, models
from deblur_jax.methods import distill
from deblur_jax.ops import pyramid
from deblur_jax.training import workdir

TEACHER = dict(name='multiscale', scales=1, blocks=1, features=5)
STUDENT = dict(name='multiscale', scales=2, blocks=0, features=2)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run's folder as training leaves it, and its parameters."""
  folder = tmp_path_factory.mktemp('runs') / 'teacher'
  return folder, untrained(folder, tiny(nets=dict(net=TEACHER)))


def _config(run, *, net=STUDENT, **method):
  return tiny(nets=dict(net=net), method=dict(
      name='distill', teacher=dict(path=str(run[0])), loss='mse',
      loss_weight=0.5, output='l1', output_weight=2.0) | method)


def _batch():
  rng = np.random.default_rng(0)
  return {key: rng.random((2, 16, 16, 3), np.float32)
          for key in ('blur', 'sharp')}


def test_the_student_learns_from_the_truth_and_from_the_teacher(run):
  """Of another form and other scales; the teacher's network is in its run."""
  method = methods.build(_config(run))
  student, teacher = models.build(**STUDENT), models.build(**TEACHER)

  @jax.jit
  def learn(batch):
    state = method.init(jax.random.key(0), batch)
    after, metrics = method.step(state, batch, jax.random.key(0))
    restored = student.apply({'params': state.params['net']}, batch['blur'])
    guide, = teacher.apply({'params': run[1]}, batch['blur'])
    sharps, guides = (pyramid.deepdeblur_pytorch(image, levels=2)
                      for image in (batch['sharp'], guide))
    truth = sum(map(losses.mse, restored, sharps))
    output = sum(map(losses.l1, restored, guides))
    return state, after, metrics, {
        'truth': truth, 'output': output, 'loss': 0.5 * truth + 2 * output,
        'psnr_teacher': losses.psnr(guide, batch['sharp'])}

  state, after, metrics, expected = learn(_batch())
  for one in (state, after):
    assert set(one.params) == {'net'}
    jax.tree.map(np.testing.assert_array_equal, one.frozen['teacher'], run[1])
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-4)


def test_features_are_maps_of_length_one():
  rng = np.random.default_rng(0)
  by = distill.DISTANCES['attention']
  features = rng.normal(size=(2, 4, 6, 3)).astype(np.float32)

  @jax.jit
  def measure(x):
    doubled = jnp.concatenate([3 * x] * 2, axis=-1)
    return (distill._unit(x), distill._mean_distance(by, [x], [doubled]),
            distill._mean_distance(by, [x], [x[::-1]]))

  maps, same, other = measure(features)
  np.testing.assert_allclose(
      (np.asarray(maps)**2).sum((1, 2)), 1, rtol=1e-5)
  assert same < 1e-6 and 0 < other < 2
  with pytest.raises(
      errors.UserError, match='4 x 6 with those of 2 x 6 pixels'):
    distill._mean_distance(by, [features], [features[:, ::2]])


def test_values_are_compared_relative_to_the_teachers():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 2, 4, 6, 3)).astype(np.float32)
  by = distill.DISTANCES['values']
  np.testing.assert_allclose(
      by(3 * x, 3 * y), ((x - y)**2).sum() / (y**2).sum(), rtol=1e-5)
  with pytest.raises(errors.UserError, match='as many channels, got 1 and 3'):
    by(x[..., :1], y)


def test_the_last_of_several_calls_is_the_finest_scale():
  net = models.build(name='srn', scales=2, features=1, blocks=0, kernel_size=1)
  assert 'scale/head' in distill.layer_names(net)
  apply = distill._with_layers(net, ['scale/head'], 'student')
  images, (features,) = jax.eval_shape(
      apply, models.shapes(net),
      jax.ShapeDtypeStruct((1, 16, 16, 3), 'float32'))
  assert len(images) == 2 and features.shape == (1, 16, 16, 1)


def test_without_the_folder_of_the_teacher(run):
  """Where the config has the network, a checkpoint needs nothing else."""
  config = methods.complete(_config(run))    # as it stands beside checkpoints
  assert config['nets']['teacher'] == TEACHER
  config['method']['teacher'] = dict(path='gone')
  method = methods.build(config, from_checkpoint=True)
  shapes = jax.eval_shape(method.init, jax.random.key(0), _batch())
  assert jax.tree.map(jnp.shape, shapes.frozen['teacher']) == jax.tree.map(
      np.shape, run[1])


def test_a_config_is_that_of_its_run():
  """Which has the teacher's network, where the config leaves it to the run."""
  config = tiny(nets=dict(net=STUDENT))
  stored = dict(config, nets=dict(net=STUDENT, teacher=TEACHER))
  same = lambda config: not workdir.differences(
      stored, methods.completed_by(config, stored))
  assert same(config) and same(stored)
  assert not same(dict(config, nets=dict(net=TEACHER)))
  assert not same(dict(config, nets=dict(net=STUDENT, teacher=STUDENT)))


def test_the_small_student_is_a_tenth_of_its_teacher_at_most():
  small, large = (
      models.count_parameters(models.shapes(models.build(
          **get_config(name, 'small').to_dict()['nets']['net'])))
      for name in ('distill', 'mimo_unet'))
  assert 10 * small <= large


PAIR = ['scale_0/head', 'scale_0/head']


@pytest.mark.parametrize('change, message', [
    (dict(net=TEACHER | dict(features=8)),
     'student has 4,427 parameters, more than its teacher, which has 2,018'),
    (dict(teacher=dict(path='nowhere')), "No model 'nowhere'"),
    (dict(teacher={}), 'nets.teacher is missing'),
    (dict(teacher=dict(role='generator')),
     'nets.generator is missing; .*nets has only: net'),
    (dict(teacher=dict(which='7')), 'No complete checkpoint of step 7'),
    (dict(teacher=dict(path='gone.npz')), 'No file gone.npz'),
    (dict(teacher=dict(wich='best')), "teacher.wich.*'which'"),
    (dict(output_weight=0.0), 'learns nothing from its teacher'),
    (dict(output_weight=-1.0), 'output_weight must be at least 0, got -1.0'),
    (dict(layers=[PAIR]), 'layers and method.layers_weight go together'),
    (dict(layers=['scale_0/head'], layers_weight=1.0),
     'layers must be a list, each a list'),
    (dict(layers=[['scale_0/had', PAIR[1]]], layers_weight=1.0),
     "The student has no layer 'scale_0/had'.* Did you mean 'scale_0/head'"),
])
def test_mistakes(run, change, message):
  if change.get('teacher'):
    change = change | {'teacher': dict(path=str(run[0])) | change['teacher']}
  with pytest.raises(errors.UserError, match=message) as error:
    methods.build(_config(run, **change))
  assert '\n' not in str(error.value)


def test_another_network_than_the_runs(run):
  config = _config(run)
  config['nets']['teacher'] = TEACHER | dict(features=6)
  with pytest.raises(
      errors.UserError, match='nets.teacher.features is 6, but 5 in '):
    methods.build(config)
  # An option without weights makes another network too.
  config['nets']['teacher'] = TEACHER | dict(residual=True)
  with pytest.raises(errors.UserError, match='nets.teacher.residual is True'):
    methods.build(config)
