"""Writes made pairs in GoPro's official layout, with a manifest.

  OUT/SPLIT/SEQUENCE/{blur or blur_gamma, sharp}/000012.png
  OUT/manifest.json    {'version', 'splits': {SPLIT: {'finished', 'subset',
                       'parameters', 'count', 'pairs': {name: source}}}}

Writing may be killed at any moment: files appear whole or not at all, and the
same command then makes the missing pairs, byte for byte as without a break.
The manifest is written first, so that a different command cannot continue by
mistake. Only one command at a time may write into a folder.
"""

import io
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Sequence

from PIL import Image

from deblur_jax import errors
from deblur_jax.data import beam_pipeline, images, make_blur, parallel_map
from deblur_jax.media import metadata
from deblur_jax.ops import atomic_files

VERSION = 1
MANIFEST = 'manifest.json'


def write(
    plan: make_blur.Plan, out: str | os.PathLike, *, split: str = 'train',
    workers: int | None = None, on_pair: Callable[[int], None] | None = None,
) -> int:
  """Makes the missing pairs of a plan.

  Args:
    plan: the pairs.
    out: the folder, made if it is missing.
    split: 'train' or 'test'; a folder may get both, one after the other.
    workers: number of threads, which does not change the files; None is one
      for each core.
    on_pair: called with the number of finished pairs.

  Returns:
    The number of pairs that were made.

  Raises:
    UserError: the folder has pairs of other parameters, or is part of the
      sources; or a source cannot be read. Finished pairs stay.
  """
  folder = _begin(plan, out, split)
  drawn = itertools.chain.from_iterable(work() for work in plan.works)
  threads = workers or parallel_map.cores()
  made = 0
  for done, is_new in enumerate(parallel_map.ordered(
      lambda pair: _finish(folder, plan.subset, *pair), drawn,
      workers=threads, ahead=threads), 1):
    made += is_new
    if on_pair:
      on_pair(done)
  _save(plan, out, split, finished=True)
  return made


def write_with_beam(
    plan: make_blur.Plan, out: str | os.PathLike, *, split: str = 'train',
    options: Sequence[str] = ()) -> None:
  """Writes the same files by an Apache Beam pipeline on many machines.

  A piece of work is a video, a photo, or a pair of a folder of frames.

  Args:
    plan: as of `write`; all machines share the file systems of the sources and
      of `out`.
    out: as of `write`.
    split: as of `write`.
    options: of the pipeline: ['--runner=FlinkRunner', ...]; Beam ignores
      unknown ones.

  Raises:
    UserError: as of `write`, or Beam is not installed or refuses its options.
  """
  beam, pipeline = beam_pipeline.make(
      options, what='--runner=beam',
      otherwise='leave it out: this machine makes the pairs')
  folder = _begin(plan, out, split)
  with pipeline:
    # Reshuffled, because a runner could otherwise fuse all into one piece.
    _ = (pipeline | beam.Create(plan.works) | beam.Reshuffle()
         | beam.Map(_finish_all, folder=folder, subset=plan.subset))
  _save(plan, out, split, finished=True)


def _finish_all(work, *, folder, subset):
  for pair in work():
    _finish(folder, subset, *pair)


def _finish(folder, subset, name, make) -> bool:
  """Makes one pair unless it exists and is whole; returns whether it did."""
  sequence, number = name.split('/')
  paths = {'sharp': folder / sequence / 'sharp' / f'{number}.png',
           'blur': folder / sequence / subset / f'{number}.png'}
  if _is_whole(paths):
    return False
  pictures = make()
  for side, path in paths.items():
    _write_picture(path, pictures[side])
  return True


def _is_whole(paths) -> bool:
  """Whether both files exist and match the checksums that a PNG contains."""
  try:
    for path in paths.values():
      with Image.open(path) as image:
        image.verify()
  except metadata.BROKEN:     # a missing file is an OSError
    return False
  return len(set(map(images.size, paths.values()))) == 1


def _write_picture(path, picture):
  encoded = io.BytesIO()
  # For photographs as small as at the default, 6, in half the time.
  Image.fromarray(picture).save(encoded, 'png', compress_level=3)
  _replace(path, encoded.getvalue())


def _replace(path, content):
  # A fixed part: killed many times, a command leaves one part a picture.
  atomic_files.write(path, content, part=path.with_name(f'.{path.name}.part'))


def _begin(plan, out, split) -> pathlib.Path:
  """The split's folder, after the manifest was compared or written."""
  errors.look_up(dict.fromkeys(('train', 'test')), split, what='split')
  out = pathlib.Path(out)
  if out.resolve().is_relative_to(plan.root.resolve()):
    raise errors.UserError(
        f'{out} is inside of {plan.root}, the folder of the sharp pictures: '
        'what is written would be read as one of them. Give another --out.')
  errors.make_folder(out)
  old = _load(out)['splits'].get(split)
  different = old and _differences(old, _entry(plan, finished=False))
  if different:
    raise errors.UserError(
        f'{out / MANIFEST} has other {split} pairs: {"; ".join(different)}. '
        'Give another --out, or delete that folder.')
  if old is None and (out / split).exists():
    raise errors.UserError(
        f'{out / split} exists, but {out / MANIFEST} does not list it: its '
        'pairs would be taken for new ones. Give another --out.')
  _save(plan, out, split, finished=False)
  return out / split


def _entry(plan, *, finished):
  return {'finished': finished, 'subset': plan.subset,
          'parameters': plan.parameters, 'count': len(plan.sources),
          'pairs': plan.sources}


def _differences(old, new) -> list[str]:
  """The differences of two entries in words: 'gamma is 2.2 there, 1.0 now'."""
  # Through JSON and back, so that tuples become lists as in the file.
  new = json.loads(json.dumps(new))
  there, now = _flat(old['parameters']), _flat(new['parameters'])
  words = [f'{key} is {there.get(key)} there, {now.get(key)} now'
           for key in sorted(there.keys() | now.keys())
           if there.get(key) != now.get(key)]
  if not words and old['pairs'] != new['pairs']:
    words = [f'{old["count"]} pairs there, {new["count"]} now, or of other '
             'sources']
  return words


def _flat(parameters):
  flat = {**parameters, **parameters.get('options', {})}
  flat.pop('options', None)
  # It was recorded as an option of one blur, also where nothing was cropped.
  if flat.get('margin') == 0:
    flat.pop('margin')
  return flat


def _load(out):
  path = out / MANIFEST
  try:
    manifest = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    return {'version': VERSION, 'splits': {}}
  except ValueError:
    raise errors.UserError(
        f'{path} is not JSON; delete that folder.') from None
  if not isinstance(manifest, dict) or manifest.get('version') != VERSION:
    raise errors.UserError(
        f'{path} is not a manifest of version {VERSION}; give another --out.')
  return manifest


def _save(plan, out, split, *, finished):
  manifest = _load(pathlib.Path(out))
  manifest['splits'][split] = _entry(plan, finished=finished)
  manifest['splits'] = dict(sorted(manifest['splits'].items()))
  _replace(pathlib.Path(out) / MANIFEST, json.dumps(manifest, indent=1) + '\n')
