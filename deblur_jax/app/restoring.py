"""Restores files: the command `deblur restore`.

A file that fails does not stop the others: each outcome is reported at once.
Names, numbers, the model and the folders of results are checked before the
first file.
"""

import collections
import contextlib
import functools
import hashlib
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.app import blending, pace, pixel_count, sharpness
from deblur_jax.media import animations, output_files, pictures, videos
from deblur_jax.ops import bit_depth, frames
from deblur_jax.pretrained import zoo

STREAM = output_files.STREAM
MAX_STREAM = 2**29    # bytes of stdin
# Suffix of a video -> suffix of its result.
VIDEOS = {suffix: videos.target_suffix(f'film{suffix}')
          for suffix in videos.SUFFIXES}
WHOLE = blending.Blend()
SKIPPED = 'has a result, skipped'    # a note


class Network(NamedTuple):
  """A model, and how it is applied; see `tiling.build`.

  Attributes:
    model: a name or path, see `zoo.load`.
    tile: see `tiling.build`.
    overlap: see `tiling.build`.
    ensemble: see `tiling.build`.
    dtype: see `zoo.load`.
    local: see `restoration.local`.
    blur_threshold: a picture whose `sharpness.blur_effect` is lower looks sharp
      and is not changed. None is the value on the model's card, or 0 without
      one; 0 restores all pictures. Not for videos and regions.
  """

  model: str = zoo.DEFAULT
  tile: int | None = None
  overlap: int = 64
  ensemble: bool = False
  dtype: str | None = zoo.AUTO
  local: int = 0
  blur_threshold: float | None = None


class Written(NamedTuple):
  """Options of `pictures`, `videos` and `output_files.plan`.

  Attributes:
    suffix: of the names of results.
    ext: extension of the results.
    quality: of compressed pictures.
    crf: quality of videos.
    strip_gps: whether results have no place.
    overwrite: whether existing files are replaced.
    skip_existing: whether files that have a result already are left out.
    allow_truncated: whether incomplete pictures are restored.
    max_pixels: greatest size of a picture.
    first_frame: of animated pictures, the first alone.
    spelling: of the caller's options.
  """

  suffix: str | None = None
  ext: str | None = None
  quality: int | None = None
  crf: int | None = None
  strip_gps: bool = False
  overwrite: bool = False
  skip_existing: bool = False
  allow_truncated: bool = False
  max_pixels: int = pictures.MAX_PIXELS
  first_frame: bool = False
  spelling: output_files.Spelling = output_files.RESTORE


class Outcome(NamedTuple):
  """The outcome of one file.

  Attributes:
    source: the input.
    target: the file that was written or existed before; None without a file.
    seconds: for reading, restoring and writing.
    notes: lines for the user: what changed, which tiles were rejected.
    error: one line where it failed, or None.
  """

  source: str
  target: str | None
  seconds: float
  notes: tuple[str, ...] = ()
  error: str | None = None


@functools.lru_cache(maxsize=2)
def load_model(network: Network) -> Callable[..., Any]:
  """Loads a model as a function of pictures; kept for the next call.

  Returns:
    As of `tiling.build`; a picture without colour stays without colour.

  Raises:
    UserError: no such model, or what `tiling.build` refuses.
  """
  from deblur_jax.inference import restoration, tiling

  model = _loaded(network.model, network.dtype)
  method, exact = (one and restoration.local(one, network.local)
                   for one in (model.method, model.exact))
  restore = tiling.build(
      method, model.state, model.mesh, exact=exact,
      tile=network.tile, overlap=network.overlap, ensemble=network.ensemble,
      **model.tiling)

  def without_new_colour(image, *args):
    large = restore(image, *args)
    return large if _has_colour(image) else large._replace(
        image=_without_colour(large.image))

  return without_new_colour


def _has_colour(image):
  """Whether the channels differ in a picture or in any frame."""
  frames = image.reshape(*image.shape[:2], -1, 3)
  return bool((frames != frames[..., :1]).any())


def _without_colour(image):
  """Replaces each channel by the mean of the channels."""
  return np.broadcast_to(
      image.mean(axis=-1, keepdims=True), image.shape).copy()


@functools.lru_cache(maxsize=2)
def _loaded(model: str, dtype: str | None) -> zoo.Model:
  return zoo.load(model, dtype=dtype)


def run(
    inputs: Sequence[str], *, network: Network, written: Written,
    out: str | None = None, blend: blending.Blend = WHOLE,
    on_model: Callable[[zoo.Model], None] = lambda model: None,
    on_estimate: Callable[[pace.Estimate | None], None] = lambda one: None,
    on_part: Callable[[str, float, float], None] = lambda name, done, of: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
  """Restores files, folders and videos.

  Args:
    inputs: paths; STREAM alone is stdin.
    network: the model.
    written: options of reading and writing.
    out: a file for one input, a folder for several; STREAM is stdout. None
      writes each result to the folder of its source.
    blend: the regions to restore, and the strength.
    on_model: called with the model once it is loaded.
    on_estimate: called once before the first file; with None where the time
      cannot be estimated.
    on_part: called with (name, work done, all work), in megapixels.
    on_outcome: called with each outcome at once.

  Returns:
    The outcomes of all files, those that were skipped or refused first. One
    without an error and without a target counts files that are no pictures.

  Raises:
    UserError: a mistake that is found before the first file is read.
  """
  plan = output_files.plan(
      inputs, out=out, suffix=written.suffix, ext=written.ext, others=VIDEOS,
      skip_existing=written.skip_existing, overwrite=written.overwrite,
      spelling=written.spelling)
  jobs = plan.jobs
  if jobs:
    _check_options(written, jobs)
    load_model(network)
    on_model(_loaded(network.model, network.dtype))
  outcomes = not_restored(plan, ', '.join(inputs))
  for outcome in outcomes:
    on_outcome(outcome)
  if jobs:
    work, estimate = _work(jobs, network, written, blend)
    on_estimate(estimate)
  for number, job in enumerate(jobs):
    name = os.fspath(job.source)
    on_share = lambda share, number=number, name=name: on_part(
        name, sum(work[:number]) + share * work[number], sum(work))
    on_share(0.0)
    outcomes.append(restore_file(job, network, written, blend, on_share))
    on_outcome(outcomes[-1])
    on_share(1.0)
  return outcomes


def restore_file(
    job: output_files.Job, network: Network, written: Written,
    blend: blending.Blend,
    on_share: Callable[[float], None] = lambda share: None) -> Outcome:
  """Restores one file; whatever goes wrong is its outcome.

  Args:
    job: the file and its target.
    network: the model.
    written: options of reading and writing.
    blend: the regions to restore, and the strength.
    on_share: called with the share of the work that is done, from 0 to 1.
  """
  name, start = os.fspath(job.source), time.perf_counter()
  try:
    notes = _one(job, network, written, blend, on_share)
    target, error = os.fspath(job.target), None
  except Exception as wrong:      # it must not stop the other files
    notes, target, error = (), None, errors.describe(
        wrong, name='stdin' if job.source == STREAM else name)
  return Outcome(name, target, time.perf_counter() - start, notes, error)


def not_restored(plan: output_files.Plan, names: str) -> list[Outcome]:
  """The outcomes of the files of a plan that are not jobs.

  Args:
    plan: the plan.
    names: of its inputs, where files are no pictures.
  """
  outcomes = [Outcome(os.fspath(job.source), os.fspath(job.target), 0.0,
                      (SKIPPED,)) for job in plan.skipped]
  outcomes += [Outcome(os.fspath(refused.source), None, 0.0, (), refused.reason)
               for refused in plan.refused]
  if plan.passed:
    outcomes.append(Outcome(names, None, 0.0, (_counted(plan.passed),)))
  return outcomes


def _check_options(written, jobs):
  """Refuses options that no input can have."""
  videos_, photos = (
      any((os.path.splitext(job.source)[1].lower() in VIDEOS) is wanted
          for job in jobs) for wanted in (True, False))
  for there, what, options in (
      (videos_, 'videos', ('crf',)), (photos, 'photos', (
          'ext', 'quality', 'allow_truncated'))):
    for option in options:
      if getattr(written, option) and not there:
        raise errors.UserError(
            f'--{option.replace("_", "-")} is for {what}, and no input is one.')


def _counted(passed) -> str:
  """'3 files are no pictures and are passed over: 2 .txt, 1 .xmp'."""
  kinds = collections.Counter(path.suffix.lower() for path in passed)
  return (f'{len(passed)} {"file is" if len(passed) == 1 else "files are"} no '
          'picture or video and passed over: ' + ', '.join(
              f'{count} {kind or "without a suffix"}'
              for kind, count in kinds.most_common()))


def _work(jobs, network, written, blend):
  """(megapixels of each job, the `pace.Estimate` of all)."""
  known = [None if job.source == STREAM else pixel_count.megapixels(
      job.source, regions=blend.regions, max_pixels=written.max_pixels,
      first_frame=written.first_frame)
           for job in jobs]
  counts = [one for one in known if one]
  usual = sum(counts) / len(counts) if counts else 1.0
  turns = pace.TURNS if network.ensemble else 1
  estimate = pace.estimate(
      pace_of(network), turns * sum(counts) if blend.strength else 0.0)
  return [one or usual for one in known], estimate


def pace_of(network: Network) -> pace.Pace | None:
  """The pace of a model on this machine, or None where it is unknown."""
  return pace.find(pace.key(network.model, network.dtype),
                   _loaded(network.model, network.dtype).card)


def _one(job, network, written, blend, on_share) -> tuple[str, ...]:
  """Restores one file; returns its notes."""
  if os.path.splitext(job.source)[1].lower() in VIDEOS:
    return _video(job, network, written, blend, on_share)
  if _may_move(job, written) and (
      animation := animations.read(job.source, max_pixels=written.max_pixels)):
    return _animation(job, animation, network, written, blend, on_share)
  picture = read(job.source, allow_truncated=written.allow_truncated,
                 max_pixels=written.max_pixels)
  form = form_of(job.target, picture, ext=written.ext)
  image, notes = restored(
      picture.image, network, lambda done, total: on_share(done / total),
      blend=blend, spelling=written.spelling)
  if image is picture.image and _may_be_copied(job, picture, form, written):
    data = pathlib.Path(job.source).read_bytes()
  else:
    data = pictures.encode(
        picture, image, form=form, quality=written.quality,
        strip_gps=written.strip_gps)
  write(job.target, data, overwrite=written.overwrite,
        spelling=written.spelling)
  return (*job.notes, *picture.notes, *pictures.lost(picture, form=form),
          *notes)


def _may_move(job, written) -> bool:
  """Whether an animated picture would be written as one."""
  return (STREAM not in (job.source, job.target) and not written.first_frame
          and pictures.SUFFIXES.get(os.path.splitext(job.target)[1].lower())
          in animations.FORMS)


def _animation(job, animation, network, written, blend, on_share):
  """Restores all frames, also those that look sharp: the next ones may not."""
  restored_, seen = [], []
  with measured(network) as meter:
    restore = meter.timed(load_model(network._replace(blur_threshold=None)))
    for number, frame in enumerate(animation.frames):
      image = bit_depth.to_float(frame[..., :3])
      blending.check(blend.regions, image.shape[:2])
      if blend.strength:
        large = blending.restore_in(restore, image, blend.regions)
        seen.append(large._replace(image=None))
        image = blending.mix(image, large.image, blend.strength)
      restored_.append(bit_depth.to_uint8(image))
      on_share((number + 1) / len(animation.frames))
  form = pictures.form_of(job.target)
  write(job.target, animations.encode(
      animation, restored_, form=form, quality=written.quality,
      strip_gps=written.strip_gps), overwrite=written.overwrite,
        spelling=written.spelling)
  return (*job.notes, *animation.still.notes,
          f'animated, {len(restored_)} frames as {form}',
          *pictures.lost(animation.still, form=form), *trust(*seen))


def _may_be_copied(job, picture, form, written) -> bool:
  """Whether an unchanged picture may be written as its file's own bytes."""
  # The form of a GIF is PNG, but its bytes are no PNG.
  suffix, wanted = (os.path.splitext(path)[1].lower()
                    for path in (job.source, job.target))
  return (job.source != STREAM and form == picture.form and suffix == wanted
          and not (written.strip_gps or written.quality or written.ext))


def restored(
    image: np.ndarray, network: Network,
    on_tile: Callable[[int, int], None] = lambda done, total: None, *,
    blend: blending.Blend = WHOLE,
    spelling: output_files.Spelling = output_files.RESTORE
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Restores a picture.

  Args:
    image: float32 [h, w, 3] in [0, 1].
    network: the model.
    on_tile: called with (tiles done, all tiles).
    blend: the regions to restore, and the strength.
    spelling: of the caller's options.

  Returns:
    The restored picture, or `image` itself where nothing changed; notes for
    the user.

  Raises:
    UserError: as of `load_model`, or a region outside of the picture.
  """
  if not blend.strength:
    blending.check(blend.regions, image.shape[:2])
    return image, ()
  if not blend.regions and (effect := _of_sharp(image, network)) is not None:
    return image, (
        f'left as it was: it looks sharp (blur effect {effect:.2f}); '
        f'{spelling.blur_threshold} restores it anyway',)
  # The compiled program does not depend on the threshold.
  with measured(network) as meter:
    large = blending.restore_in(
        meter.timed(load_model(network._replace(blur_threshold=None))), image,
        blend.regions, on_tile)
  if large.rejected == large.tiles:
    return image, trust(large)
  return blending.mix(image, large.image, blend.strength), trust(large)


def _of_sharp(image, network) -> float | None:
  """The blur effect of a picture that looks sharp, else None."""
  threshold = network.blur_threshold
  if threshold is None:
    threshold = _loaded(network.model, network.dtype).card.get(
        'blur_threshold', 0)
  if not threshold:
    return None
  effect = sharpness.blur_effect(image)
  return effect if effect < threshold else None


@contextlib.contextmanager
def measured(network: Network) -> Iterator[pace.Meter]:
  """Yields a meter; its pace is recorded at the end."""
  meter = pace.Meter()
  try:
    yield meter
  finally:
    turns = pace.TURNS if network.ensemble else 1
    pace.record(pace.key(network.model, network.dtype), meter.seconds,
                turns * meter.megapixels)


def read(source: str | os.PathLike, **options) -> pictures.Picture:
  """Reads a picture; STREAM is stdin. See `pictures.read`."""
  return pictures.read(_stdin() if source == STREAM else source, **options)


def _stdin() -> bytes:
  """All bytes of stdin, which may never end."""
  found = sys.stdin.buffer.read(MAX_STREAM + 1)
  if len(found) > MAX_STREAM:
    raise errors.UserError(
        f'stdin has more than {MAX_STREAM >> 20} MiB: give the picture as a '
        'file.')
  return found


def form_of(
    target: str | os.PathLike, picture: pictures.Picture, *,
    ext: str | None = None) -> str:
  """The form in which a picture is written.

  Args:
    target: the file, or STREAM.
    picture: keeps its own form on stdout.
    ext: extension of another form for stdout.

  Raises:
    UserError: the form is unknown or cannot hold the picture.
  """
  if target == STREAM and not ext:
    form = picture.form
  else:
    form = pictures.form_of(
        f'x.{ext.lstrip(".")}' if target == STREAM else target)
  pictures.check_form(picture, form)
  return form


def write(
    target: str | os.PathLike, data: bytes, **options) -> None:
  """Writes a file; STREAM is stdout. See `output_files.write`."""
  if target != STREAM:
    output_files.write(target, data, **options)
    return
  sys.stdout.buffer.write(data)
  sys.stdout.buffer.flush()


def _video(job, network, written, blend, on_share):
  window = _loaded(network.model, network.dtype).method.window
  seen = []    # the counts of each frame, without its picture
  with measured(network) as meter:
    restore = meter.timed(load_model(network))

    def fn(batch):
      frame, = batch
      blur = frames.middle(frame)
      if not blend.strength:
        blending.check(blend.regions, blur.shape[:2])
        return blur[None]
      large = blending.restore_in(restore, frame, blend.regions)
      seen.append(large._replace(image=None))
      return blending.mix(blur, large.image, blend.strength)[None]

    # One at a time: repeated frames that fill a batch must not be counted.
    done = videos.restore(
        job.source, job.target, fn, batch=1, window=window,
        overwrite=written.overwrite, strip_gps=written.strip_gps,
        crf=written.crf, made_by=_made_by(network, blend),
        max_pixels=written.max_pixels,
        on_frame=lambda done, total: on_share(done / total if total else 0.0))
  return (*job.notes, *done.notes, *trust(*seen))


def _made_by(network, blend=WHOLE) -> str:
  """Identifies the model and the options that made the frames of a video."""
  import jax

  # Not the path alone: a run may be trained further, or replaced.
  digest = hashlib.sha256()
  state = _loaded(network.model, network.dtype).state
  for leaf in jax.tree.leaves(state.replace(opt_state={})):
    digest.update(np.asarray(leaf))
  return f'{network} {blend} {digest.hexdigest()}'


def trust(*large) -> tuple[str, ...]:
  """Notes about tiles that were recomputed or rejected.

  Args:
    *large: a `tiling.Large` for each picture or frame.
  """
  tiles, recomputed, rejected = (
      sum(getattr(one, name) for one in large)
      for name in ('tiles', 'recomputed', 'rejected'))
  notes = []
  if recomputed:
    notes.append(
        f'{recomputed} of {tiles} tiles were computed again in float32')
  if rejected:
    notes.append(f'{rejected} of {tiles} tiles are left as they were: the '
                 'result of the model was not the same picture')
  return tuple(notes)
