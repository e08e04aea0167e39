"""Files by a deep image prior: what `deblur prior` does."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from deblur_jax import errors
from deblur_jax.app import fits, restoring
from deblur_jax.media import files, pictures


def run(
    source: str, *, task: str, out: str | None = None,
    overwrite: bool = False, mask: str | None = None, side: int = 512,
    max_pixels: int = pictures.MAX_PIXELS, settings: Mapping[str, Any],
    on_steps: Callable[[int, int], None] = lambda done, total: None
) -> restoring.Outcome:
  """Fits a prior to a photo and writes the result as a photo.

  Args:
    source: the photo; STREAM is stdin.
    task: a row of `fits.TASKS`.
    out, overwrite: see `files.plan`.
    mask: for inpaint, a picture: white where the photo is good.
    side: longest of the result: larger photos are made smaller first.
    max_pixels: of the photo and of the mask.
    settings: further ones of `fits.settings`.
    on_steps: called with (steps done, steps at most).

  Raises:
    UserError: what files, the mask or the settings refuse, before the fit; or
      nothing came of it.
  """
  start = time.perf_counter()
  config = fits.settings(task, **settings)
  if os.path.isdir(source):
    raise errors.UserError(
        f'{source} is a folder; a prior is fitted to one photo.')
  (job,), _ = files.plan(
      [source], out=out, overwrite=overwrite,
      suffix=fits.SUFFIXES[task] if out is None else None)
  files.check_folders([job.target])
  factor = settings.get('factor', 2)
  picture = restoring.read(job.source, max_pixels=max_pixels)
  form = restoring.form_of(job.target, picture)
  one = fits.problem(
      picture, task, side=side, factor=factor,
      mask=mask and pictures.read(mask, max_pixels=max_pixels))
  try:
    for seen in fits.run(config, one):
      on_steps(seen.steps, seen.total)
  except (MemoryError, RuntimeError) as error:
    if not errors.is_out_of_memory(error):
      raise
    raise errors.UserError(
        f'{source}: the memory does not hold a fit of {side} pixels; give a '
        'smaller --side.') from error
  if fits.is_dead(seen.image, one.batch['observed']):
    raise errors.UserError(
        f'{source}: nothing came of the fit; try --seed={config["seed"] + 1}.')
  restoring.write(
      job.target, pictures.encode(picture, seen.image, form=form),
      overwrite=overwrite)
  return restoring.Outcome(
      source, os.fspath(job.target), time.perf_counter() - start,
      (*picture.notes, *fits.smaller(picture, one),
       *pictures.lost(picture, form=form)))
