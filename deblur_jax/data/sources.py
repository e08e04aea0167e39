"""Sources: what a data set is to the rest of the code, and the plain ones.

A `Source` is a list of names and a way to read the pictures of each. Here are
the sources without a special layout: folders of pairs, folders of photos, and
data sets that TFDS prepared. `layouts` has the public data sets.
"""

import functools
import json
import logging
import math
import pathlib
import shlex
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.data import images

Sides = Mapping[str, Mapping[str, pathlib.Path]]  # 'blur' -> name -> path


class Packed(NamedTuple):
  """Decoded pictures in one file; the keys of a name share its last axis.

  Attributes:
    path: the file of uint8.
    places: int64 [n, 3]: offset in bytes, height and width of each name; there
      lies [height, width, 3 * keys].
  """

  path: pathlib.Path
  places: np.ndarray


class Source(NamedTuple):
  """Pictures in a fixed order.

  `files`, `records` and `packed` say where the pixels of `read` are stored, for
  loaders that read them without Python; None where `read` computes them.

  Attributes:
    names: one for each pair, unique, the same on every machine: 'SEQ/000047'.
    read: i -> {key: uint8 [h, w, 3]}, all of one size, with the keys below. It
      raises a UserError that names the file if the file is damaged.
    where: the set in words, for messages: 'GoPro train (blur) in DIR'.
    keys: ('blur', 'sharp') for pairs; ('sharp',) for pictures that the training
      step blurs; ('blur',) for real blurred pictures without ground truth.
      Video sources may have the neighbouring frames too, see `neighbours`.
    sizes: i -> {key: (height, width)} from the headers of the files; None where
      only decoding gives the size.
    files: i -> {key: path}, if these files are plain (see `decoding.Header`);
      otherwise None.
    records: i -> {key: the bytes of a picture file}.
    packed: all pictures in one file.
    prepared: the folders of its prepared sets.
    options: the keywords of `open_source`, for messages and records.
    subset: 'blur' or 'blur_gamma' where the set is one of GoPro's two; else
      None.
    parts: {key: its source} of a set without pairs; empty for others. `read`
      then returns one of these keys. The key 'to_blur' is a sharp picture that
      the training step blurs.
  """

  names: list[str]
  read: Callable[[int], dict[str, np.ndarray]]
  where: str
  keys: tuple[str, ...] = ('blur', 'sharp')
  sizes: Callable[[int], dict[str, tuple[int, int]]] | None = None
  files: Callable[[int], dict[str, pathlib.Path] | None] | None = None
  records: Callable[[int], dict[str, bytes]] | None = None
  packed: Packed | None = None
  prepared: tuple[str, ...] = ()
  options: Mapping[str, Any] = types.MappingProxyType({})
  subset: str | None = None
  parts: Mapping[str, 'Source'] = types.MappingProxyType({})


class Problem(NamedTuple):
  """A fault of one picture or pair, or of the whole set (`name` is '').

  Attributes:
    kind: 'missing', 'size', 'corrupt', 'small', 'swapped', ...
    name: of the picture or pair; '' for the whole set.
    detail: a line for the user.
  """

  kind: str
  name: str
  detail: str

  def __str__(self):
    return f'{self.name}: {self.detail}' if self.name else self.detail


class BadPairs(errors.UserError):
  """Some pairs are incomplete or wrong.

  Attributes:
    problems: all of them.
    source: the source of the other pairs.
  """

  def __init__(
      self, problems: Sequence[Problem], source: Source, *,
      crop: int | None = None):
    first = '; '.join(map(str, problems[:3]))
    more = ', ...' if len(problems) > 3 else ''
    count = f'{len(problems)} problem{"s" if len(problems) > 1 else ""}'
    super().__init__(
        f'{source.where}: {count}: {first}{more}. '
        f'See them all: {verify_command(source.options, crop=crop)}')
    self.problems = list(problems)
    self.source = source


def verify_command(
    options: Mapping[str, Any], *, crop: int | None = None) -> str:
  """Returns the command that lists every fault of a source.

  Args:
    options: the keywords of `open_source`.
    crop: side of the training crops in pixels, if it matters.
  """
  words = ['python', '-m', 'experiments.verify_data']
  if not options:
    words.append('--root=DIR')
  flags = {'name': '--source=', 'root': '--root=', 'split': '--split=',
           'subset': '--subset='}
  for key, value in options.items():
    words.append(f'{flags.get(key, f"--option={key}=")}{value}')
  if crop is not None:
    words.append(f'--crop={crop}')
  return ' '.join(map(shlex.quote, words))


def from_files(
    sides: Sides, *, where: str, names: Sequence[str] | None = None) -> Source:
  """Builds a source of picture files.

  Args:
    sides: {'blur': {name: path}, 'sharp': {name: path}}, or one of the two.
    where: the set in words.
    names: the names to use; by default all names that any side has.

  Raises:
    UserError: there is no picture, or no complete pair.
    BadPairs: a name lacks a side. The error holds the source of the complete
      pairs.
  """
  if names is None:
    names = sorted(set().union(*sides.values()))
  if not names:
    raise errors.UserError(f'{where}: no pictures there.')
  whole = [n for n in names if all(n in files for files in sides.values())]
  paths = [{key: files[n] for key, files in sides.items()} for n in whole]
  source = from_paths(whole, paths, where=where, keys=tuple(sides))
  problems = [
      Problem('missing', name, f'no {key} picture')
      for name in names for key, files in sides.items() if name not in files]
  if not whole:
    raise errors.UserError(
        f'{where}: no name has both pictures; the first is {problems[0]}.')
  if problems:
    raise BadPairs(problems, source)
  return source


def from_paths(
    names: Sequence[str], paths: Sequence[Mapping[str, pathlib.Path]], *,
    where: str, keys: tuple[str, ...]) -> Source:
  """Builds a source from one {key: path} for each name.

  The sizes come from the headers of the files, which are read once.
  """
  header = functools.cache(images.header)

  def read(i):
    pictures = {key: images.read(path) for key, path in paths[i].items()}
    check_equal({k: p.shape[:2] for k, p in pictures.items()}, paths[i])
    return pictures

  def sizes(i):
    return {key: header(path).size for key, path in paths[i].items()}

  def files(i):
    plain = all(header(path).plain for path in paths[i].values())
    return dict(paths[i]) if plain else None

  return Source(list(names), read, where, keys, sizes, files)


def scaled(source: Source, scale: float) -> Source:
  """Resizes all pictures of a source; see `data.open_source`.

  Raises:
    UserError: `scale` is not in (0, 1].
  """
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
      files=None, records=None, packed=None,
      parts={key: scaled(part, scale) for key, part in source.parts.items()},
      where=f'{source.where}, scaled by {scale:g}')


def part(source: Source, ends: Sequence[float]) -> Source:
  """Takes a contiguous share of a source's names; see `data.open_source`.

  The names are not shuffled first, because neighbours often show one scene.

  Raises:
    UserError: `ends` are not two increasing numbers in [0, 1], or no name lies
      between them.
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
  shifted = lambda fn: fn and (lambda i: fn(first + i))
  return source._replace(
      names=source.names[first:last], read=shifted(source.read),
      sizes=shifted(source.sizes), files=shifted(source.files),
      records=shifted(source.records),
      packed=source.packed and source.packed._replace(
          places=source.packed.places[first:last]),
      where=f'{source.where}, names {first} to {last - 1}')


def tolerant(source: Source, share: float) -> Source:
  """Lets the next whole picture stand for one that is damaged.

  The replacements depend on the files only, so a resumed run has the same. Each
  damaged picture is logged once. Pictures are read with Python, and their sizes
  are known when they are decoded.

  Args:
    source: the source.
    share: of the names, in [0, 1): that may be damaged, rounded up.

  Raises:
    UserError: a share outside of [0, 1). Reading raises one when more names are
      damaged.
  """
  if isinstance(share, bool) or not isinstance(share, int | float) or not (
      0 <= share < 1):
    raise errors.UserError(
        'data.max_damaged must be a share of the names, at least 0 and below '
        f'1, such as 0.001; got {errors.shown(share)}.')
  if not share:
    return source
  count = len(source.names)
  most = math.ceil(share * count)
  damaged, lock = set(), threading.Lock()    # loaders read with threads

  def passed_over(i, error):
    with lock:
      if i in damaged:
        return
      if len(damaged) >= most:
        raise errors.UserError(
            f'{source.where}: more than {most} of {count} names are damaged '
            f'(data.max_damaged={share}), such as {source.names[i]}: {error}'
        ) from error
      damaged.add(i)
      logging.warning(
          '%s is damaged and passed over, %d of at most %d: %s',
          source.names[i], len(damaged), most, error)

  def read(i):
    for other in (*range(i, count), *range(i)):
      if other not in damaged:
        try:
          return source.read(other)
        except errors.UserError as error:
          passed_over(other, error)
    raise errors.UserError(f'{source.where}: all pictures are damaged.')

  return source._replace(
      read=read, sizes=None, files=None, records=None, packed=None,
      parts={key: tolerant(part, share) for key, part in source.parts.items()})


def check_equal(
    sizes: Mapping[str, tuple[int, int]], names: Mapping[str, Any]) -> None:
  """Raises a UserError unless the pictures of a pair have one size."""
  if len(set(sizes.values())) > 1:
    each = ', '.join(f'{names[k]} is {w}x{h}' for k, (h, w) in sizes.items())
    raise errors.UserError(f'The pictures of a pair differ in size: {each}.')


def folder_pairs(*, blur: str, sharp: str) -> Source:
  """Opens two folders with equal paths below them: blur/a.jpg, sharp/a.png."""
  sides = {'blur': images.find(blur), 'sharp': images.find(sharp)}
  return from_files(sides, where=f'pairs of {blur} and {sharp}')


def pairs_by_name(
    *, root: str, blur: str = '{}_blur', sharp: str = '{}_sharp') -> Source:
  """Opens a folder with both pictures of a pair: 1_blur.jpg and 1_sharp.png.

  Args:
    root: the folder, with its sub-folders.
    blur: the name of a blurred picture without its suffix; {} stands for the
      name of the pair.
    sharp: the same of the sharp picture.

  Raises:
    UserError: a template without one {}, or with the same names for both.
    BadPairs: as `from_files`.
  """
  templates = {'blur': blur, 'sharp': sharp}
  for key, template in templates.items():
    if template.count('{}') != 1:
      raise errors.UserError(
          f'pairs_by_name: {key}={errors.shown(template)} must have {{}} once, '
          f"where the name of the pair stands, such as '{{}}_{key}'.")
  if blur == sharp:
    raise errors.UserError(
        f'pairs_by_name: blur and sharp are both {errors.shown(blur)}; they '
        'must differ.')
  sides = {key: {} for key in templates}
  for found, path in images.require(root).items():
    folder, _, stem = found.rpartition('/')
    for key, template in templates.items():
      before, after = template.split('{}')
      name = stem.removeprefix(before).removesuffix(after)
      if name and template.replace('{}', name) == stem:
        sides[key]['/'.join(filter(None, (folder, name)))] = path
        break
  return from_files(sides, where=f'pairs {blur}, {sharp} in {root}')


def side_by_side(*, root: str, sharp_side: str) -> Source:
  """Opens files that hold both pictures side by side.

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

  return Source(names, read, f'pairs side by side in {root}', sizes=sizes)


def photos(*, root: str) -> Source:
  """Opens sharp photos below a folder; the training step blurs them."""
  return from_files({'sharp': images.find(root)}, where=f'photos in {root}')


def blurred_photos(*, root: str) -> Source:
  """Opens real blurred photos below a folder, without ground truth."""
  return from_files(
      {'blur': images.find(root)}, where=f'blurred photos in {root}')


def tfds_pairs(
    *, dataset: str, data_dir: str, split: str = 'train', blur: str = 'blur',
    sharp: str = 'sharp',
) -> Source:
  """Opens a data set that TFDS prepared as array_record.

  Args:
    dataset: its name in TFDS: 'gopro_large/blur'.
    data_dir: the folder that it was prepared in.
    split: 'train' or 'test'.
    blur: name of the image feature with the blurred picture.
    sharp: name of the image feature with the sharp picture.

  Raises:
    UserError: TFDS is not installed, or no such data set, split or feature.
  """
  builder = _tfds_builder(dataset, data_dir)
  records = _tfds_records(builder, split, (blur, sharp))
  names = _tfds_names(builder, split, len(records))

  def encoded(i):
    record = records[i]
    return {'blur': record[blur], 'sharp': record[sharp]}

  def read(i):
    pictures = {key: images.from_bytes(content, name=f'{names[i]} ({key})')
                for key, content in encoded(i).items()}
    check_equal({k: p.shape[:2] for k, p in pictures.items()},
                {key: f'{names[i]} ({key})' for key in pictures})
    return pictures

  # The builder's config of gopro_large is the subset.
  name, _, config = dataset.partition('/')
  return Source(
      names, read, f'{dataset} {split} in {data_dir}', records=encoded,
      subset=config if name == 'gopro_large' else None)


def _tfds_builder(dataset, data_dir):
  with errors.needs_extra('TensorFlow Datasets', extra='train'):
    import tensorflow_datasets as tfds
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
  errors.look_up(dict(builder.info.splits), split, what='split')
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
  """The names in the builder's metadata, else 'train/000000', ..."""
  path = pathlib.Path(builder.data_path) / 'metadata.json'
  if path.is_file():
    found = json.loads(path.read_text(encoding='utf-8'))
    names = found.get('names', {}).get(split, [])
    if len(names) == count:
      return names
  return [f'{split}/{i:06d}' for i in range(count)]
