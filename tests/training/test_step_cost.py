"""Costs of a step on chips that are not here, and their times."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest
from helpers import get_config
from steps import CONFIGS

from deblur_jax import errors, methods
from deblur_jax.ops import macs
from deblur_jax.training import accelerators, step_cost


def counted(topology, *, batch_size):
  return step_cost.counted(
      CONFIGS['supervised'], accelerators.parse(topology), batch_size)


def test_a_chip_pays_for_its_crops():
  one, two = counted('a100:1', batch_size=2), counted('a100:2', batch_size=8)
  assert 2 * one.flops == two.flops > 0
  assert 1 < two.memory / one.memory < 2    # the state is as large
  assert one.exchanged == 0 < two.exchanged


def test_a_split_state_is_smaller():
  config, topology = CONFIGS['supervised'], accelerators.parse('a100:4')
  whole, split = (step_cost.counted(
      config | {'split_state': one}, topology, 4) for one in (False, True))
  size = whole.exchanged    # of the parameters; Adam has two moments
  assert whole.memory - split.memory == pytest.approx(
      2 * 3 / 4 * size, rel=0.01)
  assert whole._replace(memory=split.memory) == split


def test_flop_of_a_gradient():
  """A convolution, its gradient in the image and in the kernel."""
  program = jax.make_jaxpr(jax.grad(
      lambda x, kernel: jax.lax.conv_general_dilated(
          x, kernel, (1, 1), 'SAME',
          dimension_numbers=('NHWC', 'HWIO', 'NHWC')).sum(), (0, 1)))(
              jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 5)))
  assert macs.of_program(program) == 3 * (2 * 8 * 8 * 3 * 3 * 3 * 5)
  image, kernel, result = (4 * n for n in (2 * 64 * 3, 9 * 15, 2 * 64 * 5))
  assert macs.bytes_moved(program) == 3 * (image + kernel + result)


def test_peak_of_a_chain():
  """Two arrays of 4,000 bytes at a time, three where one is used again."""
  chain = jax.make_jaxpr(lambda x: jnp.sin(jnp.cos(jnp.exp(x))))(
      jnp.zeros(1000))
  assert step_cost._peak(chain.jaxpr) == 8000
  again = jax.make_jaxpr(lambda x: jnp.sin(jnp.cos(x)) * x)(jnp.zeros(1000))
  assert step_cost._peak(again.jaxpr) == 12000


def test_bytes_of_collectives():
  text = '''
    %a = (f32[3,4]{1,0:T(8,128)}, bf16[2]{0}) all-reduce(%x, %y), to_apply=%sum
    %b = f32[]{:T(256)} all-reduce-start(%z), replica_groups={}
    %c = f32[7]{0} add(%p, %q)'''
  found = step_cost._COLLECTIVE.findall(text)
  assert [step_cost._bytes(one) for one in found] == [52, 4]


def test_roofline_and_exchange():
  cost = step_cost.StepCost(98.9e12, 4.8e9, 150e9, 1, 45e9)
  plan = step_cost.plan(cost, accelerators.parse('h200:8'), dtype='bfloat16')
  assert plan.seconds == pytest.approx(0.1 + 2 * 7 / 8 * 0.1)
  assert (plan.bound, plan.fits) == ('compute', False)
  assert plan.share_of_peak == pytest.approx(0.1 / plan.seconds)
  # From one node to two the network is slower.
  topology = accelerators.parse('h200:8')
  assert step_cost.scaled(plan, topology, 8) == pytest.approx(plan.seconds)
  assert step_cost.scaled(plan, topology, 16) == pytest.approx(
      0.1 + 2 * 15 / 16 * 45 / 50)


@pytest.mark.parametrize('text, match', [
    ('v5ee:2x4', "Unknown chip 'v5ee'.*Did you mean 'v5e'"),
    ('v5e:8', "'v5e:8' has no shape of v5e: write v5e:4x8"),
    ('v5e', 'has no shape'), ('h200:0', 'has no shape'),
    ('h200:2x4', 'write h200:8'), ('v5p:2x4', 'write v5p:2x2x4')])
def test_topologies_that_are_none(text, match):
  with pytest.raises(errors.UserError, match=match):
    accelerators.parse(text)


def test_a_batch_that_the_chips_do_not_divide():
  with pytest.raises(errors.UserError, match='3 is not a multiple of the 2'):
    counted('h200:2', batch_size=3)


@pytest.mark.parametrize('name, keys', [
    ('blur_classification', {'sharp'}), ('multiscale_gopro', {'blur', 'sharp'}),
    ('cycle_physics', {'blur', 'sharp'})])
def test_pictures_are_those_of_the_loader(name, keys):
  config = get_config(name).to_dict()
  method = methods.build(methods.complete(config))
  assert step_cost._pictures(config, method).keys() == keys


def test_a_compiler_that_is_not_installed():
  if importlib.util.find_spec('libtpu'):
    pytest.skip('libtpu is installed')
  with pytest.raises(errors.UserError, match=r'deblur-jax\[plan\].*--count'):
    accelerators.compiler_mesh(accelerators.parse('v5e:2x4'))
