"""Makes folders of runs as training and evaluation leave them, in no time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import skimage
from scipy import ndimage

from deblur_jax import methods, metrics
from deblur_jax.evaluation import test_sets
from deblur_jax.training import checkpoint, loop, parallel, workdir

STEPS = 40
TEST = {'name': 'builtin', 'split': 'test'}


@functools.cache
def _measure():
  return jax.jit(lambda a, b: {
      name: fn(a[None], b[None])[0] for name, fn in metrics.STANDARD.items()})


@functools.cache
def _pairs():
  pairs = {}
  for name in ('coffee', 'rocket'):
    sharp = getattr(skimage.data, name)()[60:160, 100:228] / np.float32(255)
    blur = ndimage.uniform_filter(sharp, (1, 7, 1))
    pairs[f'set/{name}'] = (blur, sharp)
  return pairs


def config(*, scales=1, seed=0, lr=1e-4, test=None, total_steps=STEPS):
  """A small config, as plain dicts."""
  return {
      'seed': seed, 'total_steps': total_steps, 'log_every': 10,
      'method': {'name': 'supervised'},
      'nets': {'net': {'name': 'multiscale', 'scales': scales}},
      'optim': {'net': {'lr': lr}}, 'data': {'test': test or TEST}}


def train(folder, settings, *, steps=STEPS):
  """What is left after so many steps of training."""
  folder.mkdir(parents=True)
  workdir.write_config(folder, settings)
  log = workdir.MetricsLog(folder, finished=0)
  for step in range(10, steps + 1, 10):
    log.write(step, {'loss': 1 / step, 'val_psnr_uint8': 20 + step / 10})
  log.close()
  if steps == settings['total_steps']:
    workdir.write_json(folder / 'summary.json', {
        'steps': steps, 'parameters': 1_234_567, 'macs_256': 335.9e9,
        'step_seconds': 0.25, 'train_seconds': 0.25 * steps,
        'peak_memory_bytes': 2**31, 'device': 'cpu', 'devices': 1})


def evaluated(folder, settings, *, strength, step=STEPS):
  """eval.json and pictures of restoration by an unsharp mask."""
  rows = []
  pictures = folder / 'eval_pictures'
  pictures.mkdir(exist_ok=True)
  for name, (blur, sharp) in _pairs().items():
    detail = blur - ndimage.gaussian_filter(blur, (0, 2, 0))
    restored = np.clip(blur + strength * detail, 0, 1)
    measure = lambda image, sharp=sharp: jax.tree.map(
        float, _measure()(jnp.asarray(image), jnp.asarray(sharp)))
    rows.append({'name': name, **measure(restored), 'seconds': 0.5,
                 'input': measure(blur)})
    test_sets.save_pictures(pictures, name, {
        'blur': blur, 'restored': restored, 'sharp': sharp})
  result = test_sets.summarise(rows) | {
      'step': step, 'test': settings['data']['test']}
  workdir.write_json(folder / 'eval.json', result)
  return result


def finished(folder, *, strength=0.5, **options):
  """A whole run; returns its eval.json."""
  settings = config(**options)
  train(folder, settings)
  return evaluated(folder, settings, strength=strength)


def untrained(folder, settings, *, scale=1.0, step=0):
  """A run of one network with a checkpoint of a step; its parameters.

  `scale` is of these: a residual network with small ones changes little.
  """
  method = methods.build(settings)
  crop = settings['data']['loader']['crop']
  state = loop.init(method, jax.random.key(0), crop, parallel.data_mesh())
  state = state.replace(
      step=step + state.step,
      params=jax.tree.map(lambda x: scale * x, state.params))
  checkpoints = checkpoint.Checkpoints(folder / workdir.CHECKPOINTS)
  checkpoints.save(step, state, None)
  checkpoints.close()
  workdir.write_config(folder, settings)
  params, = state.params.values()
  return jax.tree.map(np.asarray, params)
