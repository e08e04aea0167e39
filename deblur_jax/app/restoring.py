"""Files in, restored files out: what `deblur restore` does.

One file that fails does not stop the others: what was wrong is told at the end.
The network is made ready when the first file was read, so that a mistake in a
name costs no time.
"""

import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors, zoo
from deblur_jax.io import files, pictures, videos

STREAM = files.STREAM
# Suffix of a video -> that of its result.
VIDEOS = {suffix: videos.target_suffix(f'film{suffix}')
          for suffix in videos.SUFFIXES}


class Network(NamedTuple):
  """Which model, and how pictures go through it; see `tiling.build`."""

  model: str = zoo.DEFAULT
  tile: int | None = None
  overlap: int = 64
  ensemble: bool = False
  dtype: str | None = None
  local: int = 0       # see `inference.local`


class Written(NamedTuple):
  """See `pictures.encode`, `videos.restore` and `files.plan`."""

  suffix: str | None = None
  ext: str | None = None
  quality: int | None = None
  crf: int | None = None     # of videos
  strip_gps: bool = False
  overwrite: bool = False
  skip_existing: bool = False
  allow_truncated: bool = False


class Outcome(NamedTuple):
  """What became of a file.

  target: what was written, or was there before; None where nothing is.
  notes: lines for the user: what is not as it was, what was not trusted.
  error: one line, where it failed.
  """

  source: str
  target: str | None
  seconds: float
  notes: tuple[str, ...] = ()
  error: str | None = None


@functools.lru_cache(maxsize=2)
def opened(network: Network) -> Callable[..., Any]:
  """What `tiling.build` gives; kept for the next call."""
  from deblur_jax import inference, tiling

  model = _loaded(network.model, network.dtype)
  method, exact = (one and inference.local(one, network.local)
                   for one in (model.method, model.exact))
  return tiling.build(
      method, model.state, model.mesh, exact=exact,
      tile=network.tile, overlap=network.overlap, ensemble=network.ensemble)


@functools.lru_cache(maxsize=2)
def _loaded(model: str, dtype: str | None) -> zoo.Model:
  return zoo.load(model, dtype=dtype)


def run(
    inputs: Sequence[str], *, network: Network, written: Written,
    out: str | None = None,
    on_part: Callable[[str, float, int], None] = lambda name, done, of: None
) -> list[Outcome]:
  """Restores files, folders and videos.

  Args:
    inputs: paths; STREAM alone is stdin.
    network, written: how.
    out: a file for one input, a folder for several; STREAM is stdout. By
      default each result lies beside its source.
    on_part: called with (name, files done, with the share of the present one,
      all files).

  Raises:
    UserError: what is wrong before any file is read.
  """
  jobs, skipped = files.plan(
      inputs, out=out, suffix=written.suffix, ext=written.ext, others=VIDEOS,
      skip_existing=written.skip_existing, overwrite=written.overwrite)
  outcomes = [Outcome(os.fspath(job.source), os.fspath(job.target), 0.0,
                      ('has a result, passed over',)) for job in skipped]
  for number, job in enumerate(jobs):
    name = os.fspath(job.source)
    on_share = lambda share, number=number, name=name: on_part(
        name, number + share, len(jobs))
    on_share(0.0)
    start = time.perf_counter()
    try:
      notes = _one(job, network, written, on_share)
      target, error = os.fspath(job.target), None
    except errors.UserError as wrong:
      notes, target, error = (), None, str(wrong)
    outcomes.append(Outcome(
        name, target, time.perf_counter() - start, notes, error))
    on_share(1.0)
  return outcomes


def _one(job, network, written, on_share) -> tuple[str, ...]:
  """Restores one file; the notes."""
  if os.path.splitext(job.source)[1].lower() in VIDEOS:
    return _video(job, network, written, on_share)
  source = sys.stdin.buffer.read() if job.source == STREAM else job.source
  picture = pictures.read(source, allow_truncated=written.allow_truncated)
  form = _form(job.target, written.ext, picture)
  large = opened(network)(
      picture.image, lambda done, total: on_share(done / total))
  data = pictures.encode(
      picture, large.image, form=form, quality=written.quality,
      strip_gps=written.strip_gps)
  if job.target == STREAM:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
  else:
    files.write(job.target, data, overwrite=written.overwrite)
  return (*picture.notes, *pictures.lost(picture, form=form), *trust(large))


def _form(target, ext, picture) -> str:
  """Of stdout that of the input, unless `ext` names another."""
  if target != STREAM:
    return pictures.form_of(target)
  return pictures.form_of(f'x.{ext.lstrip(".")}') if ext else picture.form


def _video(job, network, written, on_share):
  restore = opened(network)
  window = _loaded(network.model, network.dtype).method.window
  fn = lambda frames: np.stack([restore(frame).image for frame in frames])
  done = videos.restore(
      job.source, job.target, fn, window=window, overwrite=written.overwrite,
      strip_gps=written.strip_gps, crf=written.crf, made_by=_made_by(network),
      on_frame=lambda done, total: on_share(done / total if total else 0.0))
  return done.notes


def _made_by(network) -> str:
  """Tells the frames of one model and its options from those of others."""
  told = (zoo.card(network.model)['sha256'] if network.model in zoo.names()
          else os.path.abspath(network.model))
  return f'{network} {told}'


def trust(large) -> tuple[str, ...]:
  """What a user should know of tiles that were not as they should be."""
  notes = []
  if large.again:
    notes.append(f'{large.again} of {large.tiles} tiles were done again in '
                 'float32')
  if large.kept:
    notes.append(f'{large.kept} of {large.tiles} tiles are left as they were: '
                 'what the model made of them was not the same picture')
  return tuple(notes)
