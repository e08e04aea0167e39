"""Data sets of no special layout: folders of pairs, of photos, and TFDS."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from deblur_jax import errors
from deblur_jax.data import images
from deblur_jax.data import source as source_lib

Sides = Mapping[str, Mapping[str, pathlib.Path]]  # 'blur' -> name -> path


def from_files(sides: Sides, *, where: str, names=None) -> source_lib.Source:
  """A source of one file a picture.

  Args:
    sides: {'blur': {name: path}, 'sharp': {name: path}}, or one of the two.
    where: the set in words.
    names: the names that are wanted; by default all that any side has.

  Raises:
    UserError: there is no picture at all.
    BadPairs: a name lacks a side; it holds the source of the whole pairs.
  """
  if names is None:
    names = sorted(set().union(*sides.values()))
  if not names:
    raise errors.UserError(f'{where}: no pictures there.')
  whole = [n for n in names if all(n in files for files in sides.values())]
  paths = [{key: files[n] for key, files in sides.items()} for n in whole]
  source = from_paths(whole, paths, where=where, keys=tuple(sides))
  problems = [
      source_lib.Problem('missing', name, f'no {key} picture')
      for name in names for key, files in sides.items() if name not in files]
  if not whole:
    raise errors.UserError(
        f'{where}: no name has both pictures; the first is {problems[0]}.')
  if problems:
    raise source_lib.BadPairs(problems, source)
  return source


def from_paths(names, paths, *, where, keys) -> source_lib.Source:
  """A source from one {key: path} a name; sizes come from the headers."""
  def read(i):
    pictures = {key: images.read(path) for key, path in paths[i].items()}
    check_equal({k: p.shape[:2] for k, p in pictures.items()}, paths[i])
    return pictures

  def sizes(i):
    return {key: images.size(path) for key, path in paths[i].items()}

  return source_lib.Source(list(names), read, where, keys, sizes)


def scaled(source: source_lib.Source, scale: float) -> source_lib.Source:
  """The same source, its pictures resized; see `data.open_source`."""
  try:
    scale = float(scale)
  except ValueError:
    scale = 0.0
  if not 0 < scale <= 1:
    raise errors.UserError('data.scale must be a number above 0, at most 1.')
  if scale == 1:
    return source

  def smaller(size):
    return tuple(max(round(side * scale), 1) for side in size)

  def read(i):
    return {key: images.resize(picture, size=smaller(picture.shape[:2]))
            for key, picture in source.read(i).items()}

  def sizes(i):
    return {key: smaller(size) for key, size in source.sizes(i).items()}

  return source._replace(
      read=read, sizes=sizes if source.sizes else None,
      parts={key: scaled(part, scale) for key, part in source.parts.items()},
      where=f'{source.where}, scaled by {scale:g}')


def part(
    source: source_lib.Source, ends: Sequence[float]) -> source_lib.Source:
  """Some of a source's names in a row; see `data.open_source`.

  Neighbours are often of one scene, so nothing is mixed before.
  """
  try:
    begin, end = map(float, ends)
  except (TypeError, ValueError):
    begin = end = 0.0
  if not 0 <= begin < end <= 1:
    raise errors.UserError(
        'data.part must be two shares of the names, such as (0, 0.9), got '
        f'{ends}.')
  count = len(source.names)
  first, last = round(begin * count), round(end * count)
  if (first, last) == (0, count):
    return source
  if first == last:
    raise errors.UserError(
        f'data.part={ends}: none of the {count} names of {source.where}.')
  return source._replace(
      names=source.names[first:last], read=lambda i: source.read(first + i),
      sizes=source.sizes and (lambda i: source.sizes(first + i)),
      where=f'{source.where}, names {first} to {last - 1}')


def check_equal(sizes: Mapping[str, tuple[int, int]], names: Mapping[str, Any]):
  """UserError unless the pictures of a pair have one size."""
  if len(set(sizes.values())) > 1:
    each = ', '.join(f'{names[k]} is {w}x{h}' for k, (h, w) in sizes.items())
    raise errors.UserError(f'The pictures of a pair differ in size: {each}.')


def folder_pairs(*, blur: str, sharp: str) -> source_lib.Source:
  """Two folders with equal paths below them: blur/a/b.jpg, sharp/a/b.png."""
  sides = {'blur': images.find(blur), 'sharp': images.find(sharp)}
  return from_files(sides, where=f'pairs of {blur} and {sharp}')


def side_by_side(*, root: str, sharp_side: str) -> source_lib.Source:
  """Files that hold both pictures, one beside the other.

  Args:
    root: the folder.
    sharp_side: 'left' or 'right'; no default, because data sets differ in it.
  """
  errors.look_up({'left': 0, 'right': 0}, sharp_side, what='data.sharp_side')
  files = images.require(root)
  names, paths = list(files), list(files.values())
  order = ('sharp', 'blur') if sharp_side == 'left' else ('blur', 'sharp')

  def half(width, path):
    if width % 2:
      raise errors.UserError(f'{path} is {width} wide, which has no halves.')
    return width // 2

  def read(i):
    both = images.read(paths[i])
    middle = half(both.shape[1], paths[i])
    return dict(zip(order, (both[:, :middle], both[:, middle:]), strict=True))

  def sizes(i):
    height, width = images.size(paths[i])
    return dict.fromkeys(order, (height, half(width, paths[i])))

  return source_lib.Source(
      names, read, f'pairs side by side in {root}', sizes=sizes)


def photos(*, root: str) -> source_lib.Source:
  """Sharp photos anywhere below a folder, to be blurred while training."""
  return from_files({'sharp': images.find(root)}, where=f'photos in {root}')


def blurred_photos(*, root: str) -> source_lib.Source:
  """Really blurred photos anywhere below a folder, without a truth."""
  return from_files(
      {'blur': images.find(root)}, where=f'blurred photos in {root}')


def tfds_pairs(
    *, dataset: str, data_dir: str, split: str = 'train', blur: str = 'blur',
    sharp: str = 'sharp',
) -> source_lib.Source:
  """A data set that TFDS has prepared as array_record; needs no TensorFlow.

  Args:
    dataset: as TFDS names it: 'gopro_large/blur'.
    data_dir: where it was prepared.
    split: 'train' or 'test'.
    blur, sharp: the names of its two image features.
  """
  builder = _tfds_builder(dataset, data_dir)
  records = _tfds_records(builder, split, (blur, sharp))
  names = _tfds_names(builder, split, len(records))

  def read(i):
    record = records[i]
    pictures = {
        key: images.from_bytes(record[feature], name=f'{names[i]} ({key})')
        for key, feature in (('blur', blur), ('sharp', sharp))}
    check_equal({k: p.shape[:2] for k, p in pictures.items()},
                {key: f'{names[i]} ({key})' for key in pictures})
    return pictures

  # Of gopro_large the builder's config is the subset.
  name, _, config = dataset.partition('/')
  return source_lib.Source(
      names, read, f'{dataset} {split} in {data_dir}',
      subset=config if name == 'gopro_large' else None)


def _tfds_builder(dataset, data_dir):
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise errors.UserError(
        f'The source tfds needs tensorflow-datasets ({error}).') from None
  try:
    builder = tfds.builder(dataset, data_dir=data_dir)
  except (tfds.core.DatasetNotFoundError, ValueError) as error:
    builder, reason = None, str(error).splitlines()[0]
  else:
    reason = 'it is not prepared there'
  if builder is None or not builder.data_path.exists():
    raise errors.UserError(
        f'No TFDS data set {dataset} in {data_dir}: {reason}. GoPro is prepared'
        ' by python -m experiments.prepare_data --tfds')
  return builder


def _tfds_records(builder, split, features):
  import tensorflow_datasets as tfds
  errors.look_up(builder.info.splits, split, what='split')
  for feature in features:
    errors.look_up(builder.info.features, feature, what='feature')
  try:
    return builder.as_data_source(
        split, decoders=dict.fromkeys(features, tfds.decode.SkipDecoding()))
  except NotImplementedError:
    raise errors.UserError(
        f'{builder.data_path} is not stored as array_record; prepare it with '
        "file_format='array_record'.") from None


def _tfds_names(builder, split, count) -> list[str]:
  """The names kept in the builder's metadata, else 'train/000000', ..."""
  path = pathlib.Path(builder.data_path) / 'metadata.json'
  if path.is_file():
    names = json.loads(path.read_text()).get('names', {}).get(split, [])
    if len(names) == count:
      return names
  return [f'{split}/{i:06d}' for i in range(count)]
