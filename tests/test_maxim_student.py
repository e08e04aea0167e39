"""A student begins as its teacher, but for what it lacks."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from deblur_jax import models, types
from deblur_jax.models import maxim_student

TEACHER = dict(name='maxim', features=4, depth=2, groups=2, bottleneck=2,
               stages=1, scales=1)
# The last products of the second groups and of the second block.
LAST = ('SplitHeadMultiAxisGmlpLayer_1/out_project',
        'channel_attention_block_11/conv2',
        'channel_attention_block_1_1/channel_mixing/Dense_1')
BLOCK = 'stage_0_global_block_1/'


def _teacher():
  """A network whose second groups and second block add nothing."""
  net = models.build(**TEACHER)
  rng = np.random.default_rng(0)
  flat = {name: rng.normal(0, 0.1, leaf.shape).astype(np.float32)
          for name, leaf in traverse_util.flatten_dict(
              models.shapes(net), sep='/').items()}
  for name in flat:
    silent = any(part in name for part in LAST) or (
        name.startswith(BLOCK) and (
            'out_project' in name or 'Dense_1' in name))
    # The means of a bias over 2x2 pixels are not the bias: see `begin`.
    if silent or name == f'{BLOCK}input_proj/bias':
      flat[name] = np.zeros_like(flat[name])
  return net, traverse_util.unflatten_dict(flat, sep='/')


def test_what_adds_nothing_can_be_left_out():
  teacher, params = _teacher()
  student = models.build(**TEACHER | dict(groups=1, bottleneck=1, rank=256))
  begun = maxim_student.begin(student, teacher, params)
  blur = np.random.default_rng(1).random((1, 40, 33, 3), np.float32)
  ours, theirs = (np.asarray(jax.jit(net.apply)({'params': tree}, blur)[0])
                  for net, tree in ((student, begun), (teacher, params)))
  assert np.abs(theirs - blur).max() > 0.01
  np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize('options', [
    dict(groups=1, bottleneck=1, rank=3), dict(widest=4, rank=3), {}])
def test_it_has_the_parameters_of_the_student(options):
  student = models.build(**TEACHER | options)
  begun = maxim_student.begin(student, *_teacher())
  like = jax.eval_shape(
      lambda key: student.init(key, np.zeros((1, 16, 16, 3)))['params'],
      jax.random.key(0))
  assert jax.tree.map(np.shape, begun) == jax.tree.map(np.shape, like)
  assert jax.tree.map(np.shape, models.shapes(student)) == jax.tree.map(
      np.shape, like)


@pytest.mark.parametrize('options', [
    dict(groups=3), dict(depth=1), dict(stages=2), dict(features=8)])
def test_it_is_a_part_of_its_teacher(options):
  with pytest.raises(types.UserError, match='A student of MAXIM has stages=1'):
    maxim_student.begin(models.build(**TEACHER | options), *_teacher())
