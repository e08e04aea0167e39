"""Functions are traced for the platform of their mesh, not of this machine."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType
from steps import CONFIGS

from deblur_jax import methods
from deblur_jax.ops import conv, depthwise, platforms
from deblur_jax.training import loop, parallel

KERNELS = {    # the function, and the shape of its kernel
    conv.conv: (3, 3, 4, 4), conv.conv_transpose: (3, 3, 4, 4),
    depthwise.depthwise: (3, 3, 4)}


def mesh_of(platform):
  """Eight devices that this machine need not have."""
  return AbstractMesh(
      (8,), (parallel.AXIS,), axis_types=(AxisType.Auto,),
      abstract_device=AbstractDevice(platform, None, platform))


def shape(mesh, *sides, split=False):
  where = parallel.split_batch(mesh) if split else parallel.replicated(mesh)
  return jax.ShapeDtypeStruct(sides, jnp.float32, sharding=where)


def operations(fn, *args, platform):
  """The kinds of operations in the program for a platform."""
  lowered = jax.jit(fn).trace(*args).lower(lowering_platforms=(platform,))
  return set(re.findall(r'stablehlo\.(\w+)', lowered.as_text()))


def test_without_a_mesh_it_is_this_machines():
  assert platforms.platform(np.zeros(3), jnp.zeros(3)) == 'cpu'


@pytest.mark.parametrize('fn', KERNELS)
def test_gradients_have_the_form_of_their_platform(fn):
  energy = lambda x, kernel: (fn(x, kernel, stride=2) ** 2).sum()
  for platform in ('cpu', 'cuda', 'tpu'):
    mesh = mesh_of(platform)
    found = operations(
        jax.grad(energy, argnums=1), shape(mesh, 8, 16, 16, 4, split=True),
        shape(mesh, *KERNELS[fn]), platform=platform)
    # CPUs sum strip by strip.
    assert ('while' in found) == (platform == 'cpu'), platform


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_a_step_has_no_form_of_cpus(platform):
  method, mesh = methods.build(CONFIGS['supervised']), mesh_of(platform)
  key = jax.eval_shape(lambda: jax.random.key(0))
  key = jax.ShapeDtypeStruct(
      key.shape, key.dtype, sharding=parallel.replicated(mesh))
  batch = {name: shape(mesh, 8, 16, 16, 3, split=True)
           for name in ('blur', 'sharp')}
  step = loop.make_step(method, lambda key, batch: batch, mesh)
  found = operations(step, loop.abstract_state(method, 16, mesh), batch, key,
                     platform=platform)
  assert 'convolution' in found
  assert 'dot_general' not in found    # the weight gradients of CPUs
