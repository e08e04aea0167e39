"""Fits of a deep image prior to one picture, to be watched while they run.

The settings are smaller than those of configs/prior_TASK.py, which are the
papers': half of the channels and fewer steps, so that one may wait for them.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deblur_jax import errors
from deblur_jax.media import files, pictures

TASKS = {
    'denoise': 'take noise away',
    'sr': 'make it larger',
    'inpaint': 'fill what a mask has black',
    'blind': 'sharpen, whatever blurred it'}
LEAST = 8      # pixels of the longest side that a fit sees
SUFFIXES = {  # of the names of results beside their photos
    'denoise': '_denoised', 'sr': '_larger', 'inpaint': '_filled',
    'blind': files.SUFFIX}


class Seen(NamedTuple):
  """A fit after some of its steps.

  steps: done.
  total: at most.
  image: float32 [h, w, 3] in [0, 1], what would be the result now.
  losses: of all steps.
  """

  steps: int
  total: int
  image: np.ndarray
  losses: np.ndarray


def settings(
    task: str, *, steps: int = 1000, chunk: int = 10, seed: int = 0,
    factor: int = 2, kernel_size: int = 15, channels: int = 64, levels: int = 5
) -> dict[str, Any]:
  """A config of `solve.run`.

  Args:
    task: one of TASKS.
    steps: rounded up to a multiple of `chunk`.
    chunk: steps from one look at the fit to the next.
    seed: of the first parameters and of the noise.
    factor: for sr.
    kernel_size: for blind; odd, and rather too large than too small.
    channels, levels: of the network.

  Raises:
    UserError: an unknown task, numbers that cannot be.
  """
  make = errors.look_up(_SETTINGS, task, what='task')
  if steps < 1 or chunk < 1:
    raise errors.UserError('A fit takes at least 1 step.')
  if not 0 <= seed < 2**31:
    raise errors.UserError(f'The seed must be 0 to {2**31 - 1}, got {seed}.')
  if task == 'blind' and (kernel_size < 3 or kernel_size % 2 == 0):
    raise errors.UserError(
        f'The kernel\'s size must be odd and at least 3, got {kernel_size}.')
  net = {'name': 'skip', 'down': (channels,) * levels, 'channels': 3,
         'dtype': 'float32'}
  total = -(-steps // chunk) * chunk
  made = make(net, total, factor=factor, kernel_size=kernel_size)
  return {'seed': seed, 'total_steps': total, 'chunk': chunk, **made}


def problem(
    picture: pictures.Picture, task: str, *, side: int = 256, factor: int = 2,
    mask: pictures.Picture | None = None):
  """What is to be fitted, a `problems.Problem` named 'picture'.

  Args:
    picture: what was observed.
    task: one of TASKS.
    side: the longest of the result; larger pictures are made smaller.
    factor: for sr.
    mask: for inpaint: white where the picture is known.

  Raises:
    UserError: a mask that lacks, or is of another size, or of one colour; a
      factor that leaves fewer than LEAST pixels of the longest side.
  """
  from deblur_jax.priors import problems

  image = picture.image
  if task == 'sr' and side // factor < LEAST:
    raise errors.UserError(
        f'{side} pixels would be made of {side // factor}: take a smaller '
        f'factor than {factor}, or a larger side.')
  size = _size(image.shape[:2], side // factor if task == 'sr' else side)
  batch = {'observed': resized(image, size)}
  if task == 'inpaint':
    known = _known(mask, image.shape[:2])
    # A pixel that is partly of the hole is not known.
    known = resized(known, size, resample=Image.Resampling.BOX) > 0.999
    batch['mask'] = known[..., :1].astype(np.float32)
    batch['observed'] = batch['observed'] * batch['mask']
  return problems.Problem('picture', batch)


def smaller(picture: pictures.Picture, one) -> tuple[str, ...]:
  """A note, where a problem has less pixels than its picture."""
  if one.batch['observed'].shape == picture.image.shape:
    return ()
  height, width = one.batch['observed'].shape[:2]
  return (f'made smaller, to be fitted: {width}x{height}',)


def observed(one, task: str, *, factor: int = 2) -> np.ndarray:
  """What stands beside the result, of its size."""
  blur = one.batch['observed']
  if task != 'sr':
    return blur
  return resized(blur, [factor * side for side in blur.shape[:2]])


def run(config: Mapping[str, Any], one) -> Iterator[Seen]:
  """Fits a problem; gives the fit after each chunk.

  Raises:
    UserError: what the config or the method refuses.
  """
  import jax

  from deblur_jax.inference import batches
  from deblur_jax.priors import solve

  solve.check(config)
  method, begin, run_chunk, mesh = program(json.dumps(config))
  key = jax.random.key(config['seed'])
  batch = {name: value[None] for name, value in one.batch.items()}
  batch['seed'] = np.array([config['seed']], np.int32)
  state, losses, chunk = begin(key, batch), [], config['chunk']
  for done in range(chunk, config['total_steps'] + 1, chunk):
    fitted = batches.fit_images(
        method, batch, key, chunk, mesh, chunk=chunk, run_chunk=run_chunk,
        state=state)
    state = fitted.state
    losses.append(fitted.curve['loss'][:, 0])
    image = np.asarray(method.restore(state, batch['observed']))[0]
    yield Seen(done, config['total_steps'], np.clip(image, 0, 1),
               np.concatenate(losses))
    if fitted.curve['stopped'][-1, 0]:
      return


def is_dead(image: np.ndarray, seen: np.ndarray) -> bool:
  """Whether nothing came of a fit: see `results.is_flat`."""
  from deblur_jax.priors import results

  return results.is_flat(image, seen)


def resized(
    image: np.ndarray, size, *, resample=Image.Resampling.LANCZOS
) -> np.ndarray:
  """[h, w, c] of another size (height, width), in [0, 1]."""
  if tuple(size) == image.shape[:2]:
    return image
  planes = [np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(
      size[::-1], resample)) for plane in np.moveaxis(image, -1, 0)]
  return np.clip(np.stack(planes, axis=-1), 0, 1)


@functools.lru_cache(maxsize=4)
def program(config: str):
  """(method, its init, chunk of steps, mesh) of a config as JSON.

  They are kept, so that one size of picture is compiled once for many fits.
  """
  import jax

  from deblur_jax import methods
  from deblur_jax.training import loop, parallel

  config = json.loads(config)
  method = methods.build(config)
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  init = loop.on_mesh(method.init, mesh)
  # By way of numpy, so that no buffer stands twice in what is donated.
  begin = lambda key, batch: jax.tree.map(np.asarray, init(key, batch))
  return method, begin, loop.make_chunk(
      method, steps=config['chunk'], mesh=mesh), mesh


def _size(size, side):
  """(height, width) with the longest at most `side`."""
  share = min(1.0, side / max(size))
  return tuple(max(1, round(share * one)) for one in size)


def _known(mask, size) -> np.ndarray:
  """[h, w, 3] of 0 and 1."""
  if mask is None:
    raise errors.UserError(
        'This task needs a mask: a picture of the same size, white where the '
        'photo is good.')
  if mask.image.shape[:2] != size:
    raise errors.UserError(
        f'The mask is {mask.image.shape[1]}x{mask.image.shape[0]}, the picture '
        f'{size[1]}x{size[0]}: make them of one size.')
  known = (mask.image.mean(axis=-1, keepdims=True) > 0.5).astype(np.float32)
  if known.min() == known.max():
    raise errors.UserError(
        'The mask is of one colour: make black what is to be filled, and white '
        'what is good.')
  return np.repeat(known, 3, axis=-1)


# ---- (network, steps, options) -> the parts of a config

def _denoise(net, steps, *, factor, kernel_size):
  del factor, kernel_size, steps
  return _deep(net | {'depth': 32, 'skip': 4, 'upsample': 'bilinear'},
               jitter=1 / 30, result='best_average', stopping={'name': 'emv'})


def _larger(net, steps, *, factor, kernel_size):
  del kernel_size, steps
  return _deep(net | {'depth': 32, 'skip': 4, 'upsample': 'bilinear'},
               jitter=0.03, result='average', factor=factor)


def _fill(net, steps, *, factor, kernel_size):
  del factor, kernel_size, steps
  skip = net['down'][0]
  return _deep(net | {'depth': 32, 'skip': skip, 'upsample': 'nearest'},
               jitter=0.03, result='average')


def _deep(net, *, jitter, result, stopping=None, factor=1):
  return {
      'method': {
          'name': 'deep_prior', 'loss': 'mse', 'code': 'noise',
          'jitter': jitter, 'average': 0.99, 'result': result,
          'factor': factor, 'stopping': stopping or {'name': 'fixed'}},
      'nets': {'net': net}, 'optim': {'net': {'name': 'adam', 'lr': 1e-2}}}


def _sharpen(net, steps, *, factor, kernel_size):
  del factor
  attention = tuple(range(2, len(net['down'])))
  falling = {'name': 'adam', 'schedule': 'step',
             'boundaries': (0.4, 0.6, 0.8), 'factor': 0.5}
  return {
      'method': {
          'name': 'blind_prior', 'losses_in_turn': ('mse', 'ssim'),
          'turn': max(1, steps // 5), 'jitter': 1e-3, 'average': 0.99,
          'result': 'last', 'stopping': {'name': 'fixed'}},
      'nets': {
          'image': net | {'depth': 8, 'skip': 16, 'attention': attention,
                          'upsample': 'bilinear'},
          'kernel': {'name': 'kernel_net', 'size': (kernel_size,) * 2}},
      'optim': {'image': falling | {'lr': 1e-2},
                'kernel': falling | {'lr': 1e-4}}}


_SETTINGS = {
    'blind': _sharpen, 'denoise': _denoise, 'inpaint': _fill, 'sr': _larger}
