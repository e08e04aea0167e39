"""Files by a deep image prior: what `deblur prior` does."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from deblur_jax import errors
from deblur_jax.app import fits
from deblur_jax.app.restoring import Outcome
from deblur_jax.io import files, pictures


def run(
    source: str, *, task: str, out: str | None = None,
    suffix: str | None = None, overwrite: bool = False,
    mask: str | None = None, side: int | None = None,
    settings: Mapping[str, Any],
    on_steps: Callable[[int, int], None] = lambda done, total: None
) -> Outcome:
  """Fits a prior to a photo and writes the result as a photo.

  Args:
    source: the photo.
    task: a row of `fits.TASKS`.
    out, suffix, overwrite: see `files.plan`.
    mask: for inpaint, a picture: white where the photo is good.
    side: of larger photos: they are made smaller first.
    settings: further ones of `fits.settings`.
    on_steps: called with (steps done, steps at most).

  Raises:
    UserError: what files, the mask or the settings refuse.
  """
  start = time.perf_counter()
  (job,), _ = files.plan([source], out=out, suffix=suffix, overwrite=overwrite)
  config = fits.settings(task, **settings)
  factor = settings.get('factor', 2)
  picture = pictures.read(os.fspath(job.source))
  longest = max(picture.image.shape[:2]) * (factor if task == 'sr' else 1)
  one = fits.problem(
      picture, task, side=side or longest, factor=factor,
      mask=mask and pictures.read(mask))
  for seen in fits.run(config, one):
    on_steps(seen.steps, seen.total)
  if fits.is_dead(seen.image, one.batch['blur']):
    raise errors.UserError(
        f'{source}: nothing came of the fit; try --seed={config["seed"] + 1}.')
  form = pictures.form_of(job.target)
  files.write(job.target, pictures.encode(picture, seen.image, form=form),
              overwrite=overwrite)
  return Outcome(source, os.fspath(job.target), time.perf_counter() - start, (
      *picture.notes, *pictures.lost(picture, form=form)))
