"""What the page does with uploads: models, fits and reports, without Gradio."""

import collections
import contextlib
import math
import os
import pathlib
import secrets
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deblur_jax import errors
from deblur_jax.app import blending, pace, prior_fit, restoring
from deblur_jax.data import images, sampler
from deblur_jax.media import output_files, pictures
from deblur_jax.ops import bit_depth
from deblur_jax.pretrained import zoo
from deblur_jax.priors import tasks

MAX_PIXELS = 25_000_000
SHOWN = 4_000_000     # pixels of a picture on the page; downloads are whole
SIDE = 256            # of a fit
RECENT = 3            # results that a slow browser may still ask for


class Result(NamedTuple):
  """A restored picture as the page gives it.

  Attributes:
    shown: PNG files before and after.
    file: to be downloaded, in the form of the upload.
    notes: lines for the user.
  """

  shown: tuple[str, str]
  file: str
  notes: tuple[str, ...]


class Restorers:
  """Models by the names that the page shows.

  The first model and those that are runs are loaded at once, so that mistakes
  are found before the page is served; the others when they are first used.
  Pictures go through a model one at a time.

  Args:
    models: names or folders of runs, before the models of the package; the
      first is the default. The page shows the last part of a folder's path.
    dtype: see `zoo.load`.
    tile: see `tiling.build`.

  Raises:
    UserError: no model, or a model that cannot be loaded.
  """

  def __init__(
      self, models: Sequence[str | os.PathLike] = (), *,
      dtype: str | None = zoo.AUTO, tile: int | None = None):
    self._dtype, self._tile = dtype, tile
    self._made: dict[str, Any] = {}
    self._lock = threading.Lock()
    given = list(dict.fromkeys(map(os.fspath, models)))
    self._sources = {_label(one, given): one for one in given}
    self._sources |= {one: one for one in zoo.names()
                      if one not in self._sources}
    self.names = list(self._sources)
    if not self.names:
      raise errors.UserError(
          'There is no model: give the folder of a run, such as runs/mine.')
    for name in self.names[:max(1, len(given))]:
      self._load(name)

  def restore(
      self, name: str, image: np.ndarray, *,
      regions: Sequence[blending.Region] = (),
      on_tile: Callable[[int, int], None] = lambda done, total: None):
    """A `tiling.Large` of a picture; UserErrors as of `blending`."""
    network = self._network(name)
    with self._lock, restoring.measured(network) as meter:
      return blending.restore_in(
          meter.timed(self._load(name)), image, regions, on_tile)

  def estimate(self, name: str, megapixels: float) -> pace.Estimate | None:
    """How long a model takes for so many megapixels; None if not known."""
    network = self._network(name)
    card = zoo.card(name) if name in zoo.names() else {}
    return pace.estimate(pace.find(
        pace.key(network.model, network.dtype), card), megapixels)

  def _network(self, name):
    if name not in self._sources:
      raise errors.UserError(f'There is no model {name!r} on this page.')
    return restoring.Network(
        self._sources[name], tile=self._tile, dtype=self._dtype)

  def _load(self, name):
    if name not in self._made:
      self._made[name] = restoring.load_model(self._network(name))
    return self._made[name]


class Restored:
  """A restored picture, to be mixed with the upload at any strength.

  Args:
    upload: the file.
    image: float32 [h, w, 3] in [0, 1], the output of the network; kept in a
      file.
    notes: lines for the user.
    kept: folder for that file; no request can read it.
    max_pixels: of the upload.
  """

  def __init__(
      self, upload: str, image: np.ndarray, *, notes: Sequence[str],
      kept: str, max_pixels: int = MAX_PIXELS):
    self._upload, self._notes, self._max_pixels = upload, notes, max_pixels
    self._file = os.path.join(kept, f'{secrets.token_hex(16)}.npy')
    self._given: collections.deque[str] = collections.deque()
    np.save(self._file, image)

  def result(self, strength: float = 1.0, *, folder: str) -> Result:
    """The `Result` of a strength; removes the oldest of RECENT results.

    Args:
      strength: 0 is the upload, 1 the output of the network.
      folder: in which a new one is made.

    Raises:
      UserError: the files were removed, a strength out of range.
    """
    blend = blending.build(None, strength)
    picture = read(self._upload, max_pixels=self._max_pixels)
    try:
      image = np.load(self._file, mmap_mode='r')
    except FileNotFoundError:
      raise errors.UserError(
          'The restored photo is no longer kept: restore it again.') from None
    result = give(
        picture, picture.image,
        blending.mix(picture.image, image, blend.strength),
        upload=self._upload, folder=folder, notes=self._notes)
    _forget(self._given, result)
    return result

  def forget(self) -> None:
    """Removes the kept file."""
    with contextlib.suppress(OSError):
      os.unlink(self._file)


def restore(
    upload: str, model: str, restorers: Restorers, *, kept: str,
    regions: Sequence[blending.Region] = (), max_pixels: int = MAX_PIXELS,
    on_tile: Callable[[int, int], None] = lambda done, total: None
) -> Restored:
  """Restores an upload by a model.

  Args:
    upload: the file.
    model: one of the names.
    restorers: the models.
    kept: see `Restored`.
    regions: see `blending.restore_in`.
    max_pixels: of the upload.
    on_tile: see `tiling.build`.

  Raises:
    UserError: no picture, too large a one, a region that is not inside.
  """
  picture = read(upload, max_pixels=max_pixels)
  large = restorers.restore(
      model, picture.image, regions=regions, on_tile=on_tile)
  return Restored(
      upload, large.image, kept=kept, max_pixels=max_pixels,
      notes=(*picture.notes, *restoring.trust(large)))


def fitted(
    upload: str, task: str, *, folder: str, mask: str | None = None,
    side: int = SIDE, max_pixels: int = MAX_PIXELS, variant: str = 'quick',
    pause: float = 0.5, **options) -> Iterator[tuple[Result, np.ndarray]]:
  """Fits a prior to an upload.

  Args:
    upload: the file.
    task: a row of `tasks.QUICK`.
    folder: for the results.
    mask: a file, for inpaint.
    side: longest side of the result in pixels.
    max_pixels: of the uploads.
    variant: of `tasks.config`.
    pause: least seconds between two results, in which a browser loads them; the
      last one does not wait.
    **options: of `tasks.config`.

  Yields:
    (`Result`, losses of all steps) after the first chunk, then at most one in
    `pause` seconds, and after the last chunk.

  Raises:
    UserError: uploads, a mask or options that are refused.
  """
  config = tasks.quick(task, variant, **options)
  picture = read(upload, max_pixels=max_pixels)
  known = read(mask, max_pixels=max_pixels) if mask else None
  factor = config['method'].get('factor', 1)
  problem = prior_fit.problem(
      picture, task, side=side, factor=factor, mask=known)
  before = prior_fit.before(problem, factor=factor)
  notes = [*picture.notes, *prior_fit.smaller(picture, problem)]
  given = collections.deque()
  for seen in _paced(prior_fit.fit(config, problem), pause):
    lines = [f'step {seen.steps} of {seen.total}', *notes]
    if seen.failure:
      lines.append(f'the fit failed: {seen.failure}; try another seed')
    result = give(picture, before, seen.image, upload=upload, folder=folder,
                  notes=lines, suffix=tasks.TASKS[task].suffix)
    _forget(given, result)
    yield result, seen.losses


def read(upload: str, *, max_pixels: int = MAX_PIXELS) -> pictures.Picture:
  """Reads an uploaded picture.

  Raises:
    UserError: with the name of the file, without its folder.
  """
  try:
    return pictures.read(upload, max_pixels=max_pixels)
  except errors.UserError as error:
    raise errors.UserError(
        str(error).replace(f'{os.path.dirname(upload)}{os.sep}', '')) from None


def give(
    picture: pictures.Picture, before: np.ndarray, after: np.ndarray, *,
    upload: str, folder: str, notes: Sequence[str] = (),
    suffix: str = output_files.SUFFIX) -> Result:
  """Writes the pictures that the page shows and the download.

  Args:
    picture: of the upload.
    before: the picture, float32 [h, w, 3] in [0, 1].
    after: the result, of the same shape.
    upload: its file, whose name the download gets.
    folder: in which a new one is made.
    notes: further lines for the user.
    suffix: of the download's name.
  """
  new = pathlib.Path(folder, secrets.token_hex(16))
  new.mkdir()
  path = new / _name(upload, suffix, picture.form)
  path.write_bytes(pictures.encode(picture, after))
  notes = list(notes)
  if before.shape[0] * before.shape[1] > SHOWN:
    notes.append('shown smaller here; the download is whole')
  shown = []
  for name, image in (('before', before), ('after', after)):
    show(image, new / f'{name}.png', icc=picture.icc)
    shown.append(str(new / f'{name}.png'))
  return Result(tuple(shown), str(path), tuple(notes))


def show(
    image: np.ndarray, path: pathlib.Path, *, icc: bytes | None,
    pixels: int = SHOWN) -> None:
  """Writes a PNG for the page.

  Args:
    image: float32 [h, w, 3] in [0, 1].
    path: the file.
    icc: the colour profile.
    pixels: at most so many; a larger image is made smaller.
  """
  share = min(1.0, (pixels / (image.shape[0] * image.shape[1])) ** 0.5)
  if share < 1:
    image = images.resize_planes(image, size=tuple(
        max(1, round(share * side)) for side in image.shape[:2]))
  Image.fromarray(bit_depth.to_uint8(image)).save(
      path, icc_profile=icc, compress_level=1)


def line(error: BaseException) -> str:
  """An error as one line for the page; the traceback of a bug is on stderr."""
  if isinstance(error, errors.UserError):
    return ' '.join(str(error).split())
  traceback.print_exception(error, file=sys.stderr)
  return (f'Something is wrong with the program ({type(error).__name__}); its '
          'window says more.')


def curves(folder: str | os.PathLike) -> tuple[str, bytes | None]:
  """Reads a folder of runs and writes nothing.

  Returns:
    Their table as Markdown, or the reason why there is none; their curves as a
    PNG.
  """
  from deblur_jax.evaluation.report import (
      conditions,
      figures,
      render,
      rows,
      runs,
  )

  study = runs.read_study(pathlib.Path(folder))
  states = '\n'.join(f'* {run.folder.name}: {runs.state(run)}'
                     for run in study.runs)
  try:
    table = render.to_markdown(rows.build(study))
  except errors.UserError as error:
    table = line(error)
  return f'{table}\n\n{states}', figures.curves(
      {label: [run.metrics for run in group]
       for label, group in runs.group(study).items()},
      loss=conditions.losses_are_comparable(study))


def chart(losses: np.ndarray) -> str:
  """An SVG of the logarithm of a loss over the steps."""
  values = np.log(np.maximum(np.asarray(losses, np.float64), 1e-12))
  values = values[np.isfinite(values)]
  if len(values) < 2:
    return ''
  steps = np.array(sampler.evenly_spaced(range(len(values)), 300))
  low, high = values.min(), values.max()
  ys = 58 - 56 * (values[steps] - low) / max(high - low, 1e-9)
  xs = 2 + 296 * steps / (len(values) - 1)
  points = ' '.join(f'{x:.1f},{y:.1f}' for x, y in zip(xs, ys, strict=True))
  return (
      '<svg viewBox="0 0 300 60" role="img" aria-label="loss" '
      'style="width:100%;height:8em;padding-top:2em;box-sizing:border-box" '
      'preserveAspectRatio="none"><polyline '
      'fill="none" stroke="currentColor" stroke-width="1" vector-effect='
      f'"non-scaling-stroke" points="{points}"/></svg>')


def _paced(items: Iterable, pause: float) -> Iterator:
  """Leaves out what comes within `pause` seconds, but not the last."""
  due, waits = -math.inf, []
  for item in items:
    waits = [item]
    if time.monotonic() >= due:
      yield waits.pop()
      due = time.monotonic() + pause
  yield from waits


def _forget(given, result) -> None:
  """Adds a result; removes the oldest if there are more than RECENT."""
  given.append(os.path.dirname(result.file))
  if len(given) > RECENT:
    shutil.rmtree(given.popleft(), ignore_errors=True)


def _label(model, models) -> str:
  """The last part of a path, or the path if another ends in the same part."""
  last = pathlib.Path(model).name
  return last if [pathlib.Path(one).name
                  for one in models].count(last) == 1 else model


def _name(upload, suffix, form) -> str:
  """The name of the result of an upload."""
  path = pathlib.Path(upload)
  ext = path.suffix
  if pictures.SUFFIXES.get(ext.lower()) != form:
    ext = next(known for known, of in pictures.SUFFIXES.items() if of == form)
  return f'{path.stem}{suffix}{ext}'
