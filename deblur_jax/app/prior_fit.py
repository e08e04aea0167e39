"""Fits a deep image prior to one photo: what `deblur prior` and the page do.

The presets are the quick ones of `priors.tasks`: half of the papers' channels
and fewer steps.
"""

import functools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from deblur_jax import errors, methods
from deblur_jax.app import restoring
from deblur_jax.data import images
from deblur_jax.inference import restoration
from deblur_jax.media import output_files, pictures
from deblur_jax.priors import problems, results, solve, tasks
from deblur_jax.training import loop, parallel

MIN_SIDE = 8      # pixels of the longest side that a fit sees


class Progress(NamedTuple):
  """A fit after some of its steps.

  Attributes:
    steps: finished ones.
    total: the largest number of steps.
    image: float32 [h, w, 3] in [0, 1], the result at this step.
    losses: of all finished steps.
    failure: after the last step why the fit failed, see `results.failure`.
  """

  steps: int
  total: int
  image: np.ndarray
  losses: np.ndarray
  failure: str = ''


def run(
    source: str, *, task: str, out: str | None = None,
    overwrite: bool = False, mask: str | None = None, side: int = 512,
    max_pixels: int = pictures.MAX_PIXELS, variant: str = 'quick',
    on_steps: Callable[[int, int], None] = lambda done, total: None, **options
) -> restoring.Outcome:
  """Fits a prior to a photo and writes the result as a photo.

  Args:
    source: the photo; STREAM is stdin.
    task: a row of `tasks.QUICK`.
    out: see `output_files.plan`.
    overwrite: see `output_files.plan`.
    mask: for inpaint, a picture of the size of the photo, white where the
      photo is good.
    side: longest side of the result in pixels; a larger photo is made smaller
      first.
    max_pixels: of the photo and of the mask.
    variant: of `tasks.config`.
    **options: of `tasks.config`.
    on_steps: called with the finished steps and the largest number of steps.

  Raises:
    UserError: files, a mask or options that are refused before the fit; not
      enough memory; a fit that failed.
  """
  start = time.perf_counter()
  config = tasks.quick(task, variant, **options)
  if os.path.isdir(source):
    raise errors.UserError(
        f'{source} is a folder; a prior is fitted to one photo.')
  plan = output_files.plan(
      [source], out=out, overwrite=overwrite,
      suffix=tasks.TASKS[task].suffix if out is None else None,
      spelling=output_files.ONE_RESULT)
  if plan.refused:
    raise errors.UserError(plan.refused[0].reason)
  job, = plan.jobs
  picture = restoring.read(job.source, max_pixels=max_pixels)
  form = restoring.form_of(job.target, picture)
  one = problem(
      picture, task, side=side, factor=config['method'].get('factor', 1),
      mask=mask and pictures.read(mask, max_pixels=max_pixels))
  try:
    for progress in fit(config, one):
      on_steps(progress.steps, progress.total)
  except (MemoryError, RuntimeError) as error:
    if not errors.is_out_of_memory(error):
      raise
    raise errors.UserError(
        f'{source}: not enough memory for a fit of {side} pixels; give a '
        'smaller --side.') from error
  if progress.failure:
    raise errors.UserError(
        f'{source}: the fit failed: {progress.failure}; try '
        f'--seed={config["seed"] + 1}.')
  restoring.write(
      job.target, pictures.encode(picture, progress.image, form=form),
      overwrite=overwrite, spelling=output_files.ONE_RESULT)
  return restoring.Outcome(
      source, os.fspath(job.target), time.perf_counter() - start,
      (*job.notes, *picture.notes, *smaller(picture, one),
       *pictures.lost(picture, form=form)))


def problem(
    picture: pictures.Picture, task: str, *, side: int = 256, factor: int = 1,
    mask: pictures.Picture | None = None) -> problems.Problem:
  """The problem of a picture, with the name 'picture'.

  Args:
    picture: the picture.
    task: a row of `tasks.TASKS`.
    side: longest side of the result in pixels; a larger picture is made
      smaller.
    factor: how many times larger the result is.
    mask: for inpaint, white where the picture is good.

  Raises:
    UserError: a mask that is missing, not for this task, of another size, or of
      one colour; a factor that leaves fewer than MIN_SIDE pixels of the longest
      side.
  """
  tasks.check_options(task, {'mask': mask})
  image = picture.image
  if factor > 1 and side // factor < MIN_SIDE:
    raise errors.UserError(
        f'{side} pixels would be made of {side // factor}: take a smaller '
        f'factor than {factor}, or a larger side.')
  share = min(1.0, side // factor / max(image.shape[:2]))
  size = tuple(max(1, round(share * one)) for one in image.shape[:2])
  batch = {'observed': _resized(image, size)}
  if 'mask' in tasks.TASKS[task].needs:
    known = images.resize_planes(
        _known(mask, image), size=size, resample=Image.Resampling.BOX)
    # A pixel that is partly in a hole is not known.
    batch['mask'] = (known > 0.999).astype(np.float32)
    batch['observed'] = batch['observed'] * batch['mask']
  return problems.Problem('picture', batch)


def smaller(
    picture: pictures.Picture, one: problems.Problem) -> tuple[str, ...]:
  """A note where a problem has fewer pixels than its picture."""
  if one.batch['observed'].shape == picture.image.shape:
    return ()
  height, width = one.batch['observed'].shape[:2]
  return (f'made smaller, to be fitted: {width}x{height}',)


def before(one: problems.Problem, *, factor: int = 1) -> np.ndarray:
  """The picture of a problem [h, w, 3], as large as the result."""
  observed = one.batch['observed']
  return _resized(observed, [factor * side for side in observed.shape[:2]])


def fit(config: Mapping[str, Any], one: problems.Problem) -> Iterator[Progress]:
  """Fits a problem on one device.

  Args:
    config: see `tasks.config`.
    one: the problem.

  Yields:
    The fit after each chunk.

  Raises:
    UserError: a config or a problem that cannot be fitted.
  """
  solve.check(config)
  method, begin, run_chunk, mesh = program(compiled_by(config))
  key, total = jax.random.key(config['seed']), config['total_steps']
  batch = {name: value[None] for name, value in one.batch.items()}
  batch['seed'] = np.array([config['seed']], np.int32)
  for fitted in restoration.fit_in_chunks(
      method, batch, key, total, mesh, chunk=config['chunk'],
      run_chunk=run_chunk, state=begin(key, batch)):
    curve = {name: values[:, 0] for name, values in fitted.curve.items()}
    steps = len(curve['loss'])
    image = np.asarray(method.restore(fitted.state, batch['observed']))[0]
    ends = steps == total or curve['stopped'][-1]
    yield Progress(
        steps, total, np.clip(image, 0, 1), curve['loss'],
        results.failure(image, one.batch['observed'], curve) if ends else '')


def compiled_by(config: Mapping[str, Any]) -> str:
  """The part of a config on which the compiled program depends, as JSON.

  The seed is data, and the number of steps counts for schedules alone.

  Args:
    config: see `tasks.config`.
  """
  own = dict(config, seed=0)
  if not any({'schedule', 'warmup_steps'} & set(one)
             for one in config['optim'].values()):
    own['total_steps'] = config['chunk']
  return json.dumps(own)


@functools.lru_cache(maxsize=4)
def program(config: str):
  """(method, its init, a chunk of steps, mesh of one device); `config` is JSON.

  Cached: pictures of one size are compiled once.
  """
  config = json.loads(config)
  method = methods.build(config)
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  init = loop.on_mesh(method.init, mesh)
  # By way of NumPy, so that no buffer is twice in the state that is donated.
  begin = lambda key, batch: jax.tree.map(np.asarray, init(key, batch))
  return method, begin, loop.make_chunk(
      method, steps=config['chunk'], mesh=mesh), mesh


def _resized(image, size):
  """[h, w, c] of another size (height, width), in [0, 1]."""
  if tuple(size) == image.shape[:2]:
    return image
  return np.clip(images.resize_planes(image, size=tuple(size)), 0, 1)


def _known(mask, image) -> np.ndarray:
  """[h, w, 1] of 0 and 1."""
  if mask is None:
    raise errors.UserError(
        'This task needs a mask: a picture of the size of the photo, white '
        'where the photo is good.')
  known = (mask.image.mean(axis=-1, keepdims=True) > 0.5).astype(np.float32)
  problems.check_mask(known, image, 'The mask')
  if known.all():
    raise errors.UserError(
        'The mask is white everywhere: make black what is to be filled.')
  return known
