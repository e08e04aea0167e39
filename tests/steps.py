"""A small config of each method, and its step: compiled once for all tests.

Workers of xdist share what they compile: a step that is taken here and there is
one program, if all of it is the same. What a test wants to be otherwise it puts
into the state.
"""

import functools

import helpers
import jax
import numpy as np
from helpers import changed, tiny

from deblur_jax import methods
from deblur_jax.training import loop, parallel

START = 1   # of what cycle_physics learns from sharp pictures
SMALL = dict(name='single_scale', blocks=0, features=2)
CONFIGS = {
    'blur_classification': helpers.get_config('blur_classification').to_dict(),
    'blind_deconvolution': tiny(
        nets={}, optim={}, method=dict(
            name='blind_deconvolution', size=5, sparse=8e-3,
            deconvolution=dict(name='wiener'))),
    'adversarial': tiny(
        nets=dict(generator=SMALL, discriminator=dict(
            name='patchgan', depth=1, features=4)),
        optim=dict(generator=dict(lr=1e-3), discriminator=dict(lr=1e-3)),
        method=dict(name='adversarial', content='l1',
                    discriminator=dict(gan='wgan', penalty=10.0))),
    'cycle': changed('cycle_unpaired', **{'method.ema': 0.5}),
    'cycle_physics': changed(
        'cycle_physics', **{'method.ema': 0.5, 'method.start_steps': START}),
    'distill': tiny(
        nets=dict(net=SMALL, teacher=SMALL | dict(features=3)), method=dict(
            name='distill', teacher=dict(path=None), layers_weight=1.0,
            layers=[['head', 'head']])),
    'quantize': tiny(
        nets=dict(net=SMALL), method=dict(
            name='quantize', init_from=dict(path=None), learn=True)),
    'kernel_estimation': helpers.get_config('kernel_estimation').to_dict(),
    'blur_translation': helpers.get_config('blur_translation').to_dict(),
    'prune': tiny(
        nets=dict(net=SMALL), method=dict(
            name='prune', init_from=dict(path=None), loss='l1', share=0.5)),
    'supervised': tiny()}


def batch_of(size=16, count=4):
  random = np.random.default_rng(0)
  sharp = random.random((count, size, size, 3), np.float32)
  kernel = np.zeros((count, 5, 5), np.float32)
  kernel[:, 2, 2:4] = 0.5
  return {'blur': (sharp + np.roll(sharp, 1, 2)) / 2, 'sharp': sharp,
          'kernel': kernel, 'blur_type': np.arange(count, dtype=np.int32)}


@functools.cache
def built(name, devices=2):
  """A method, its first state as NumPy, its step: compiled once for all."""
  method = methods.build(CONFIGS[name])
  mesh = parallel.data_mesh(jax.devices()[:devices])
  state = loop.init(method, jax.random.key(0), 16, mesh)
  step = loop.make_step(method, lambda key, batch: batch, mesh)
  return method, jax.tree.map(np.asarray, state), step, mesh


def parts_of(name, devices=2):
  method, start, step, mesh = built(name, devices)
  # A copy, for what is donated may be overwritten.
  start = jax.tree.map(np.array, start)
  state = parallel.put(start, parallel.replicated(mesh))
  key = jax.device_put(jax.random.key(1), parallel.replicated(mesh))
  batch = parallel.put(batch_of(), parallel.split_batch(mesh))
  return method, state, step, batch, key, mesh
