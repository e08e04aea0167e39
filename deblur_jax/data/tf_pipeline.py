"""Crops by tf.data: reading, decoding, cutting and batching in its own threads.

The sampler draws the pictures and corners of SEGMENT batches at once, as for
the other backends, and they enter the pipeline as tensors. The operations that
follow depend on where the source stores its pixels:

  files    tf.io.read_file, then TensorFlow's decoder, which gives the same
           samples as Pillow's for plain files (see `decoding.Header`)
  records  TensorFlow's decoder; Python only fetches the bytes from TFDS
  packed   slices of a memory map, which is a tensor without a copy
  else     `Source.read`, which is Python

Python reads a batch that failed again, and names the damaged file. If Pillow
can read it, being less strict than TensorFlow, the run continues with Python.
"""

import logging
import mmap
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from deblur_jax import errors
from deblur_jax.data import images, parallel_map, sampler, sources
from deblur_jax.state import Batch

SEGMENT = 512        # batches in one tf.data.Dataset
PACKED = 'packed'    # key of crops whose last axis has all keys of the source

# (number, fractions [2], crop) -> {key: uint8 tensor}, see `sampler.draw`.
Cut = Callable[[Any, Any, int], dict[str, Any]]


def cuts(tf, source: sources.Source, *, crop: int) -> list[Cut]:
  """Chooses how TensorFlow cuts the crops of a source.

  Args:
    tf: the module tensorflow.
    source: the source; the headers of its files are read.
    crop: the largest side of the crops, pixels.

  Returns:
    The best way, then what to do if it fails. A crop is [crop, crop, 3] for
    each key, or for a packed source [crop, crop * channels] under PACKED.

  Raises:
    UserError: a damaged header; a packed picture is smaller than `crop`.
  """
  if source.packed:
    for name, size in zip(source.names, source.packed.places[:, 1:],
                          strict=True):
      sampler.check_crop(size, crop, name=name)
    return [_from_packed(tf, source.packed, channels=3 * len(source.keys))]
  if source.records:
    return [_from_records(tf, source), _by_python(tf, source)]
  if source.files:
    files = list(parallel_map.ordered(
        source.files, range(len(source.names)), workers=None, ahead=64))
    if all(files):
      return [_from_files(tf, files), _by_python(tf, source)]
  return [_by_python(tf, source)]


def batches(
    tf, source: sources.Source, plan: sampler.Plan, first: int,
    ways: Sequence[Cut], *, workers: int | None, prefetch: int | None,
) -> Iterator[Batch]:
  """Yields the batches of a plan, from batch `first` on.

  Args:
    tf: the module tensorflow.
    source: the source.
    plan: of the stage.
    first: number of the first batch.
    ways: of `cuts`.
    workers: number of threads; None is one for each core.
    prefetch: number of batches read ahead; None leaves it to tf.data.

  Raises:
    UserError: a file is damaged, or a picture is smaller than the crop.
  """
  cut, *others = ways
  while True:
    numbers, fractions = _draw(plan, first)
    data = _dataset(tf, numbers, fractions, cut, plan,
                    workers=workers, prefetch=prefetch)
    failed, done = None, 0
    try:
      for batch in data.as_numpy_iterator():
        yield batch
        done += 1
    except tf.errors.OpError as error:
      failed = error
    if failed:
      rows = slice(done * plan.rows, (done + 1) * plan.rows)
      for number, fraction in zip(numbers[rows], fractions[rows], strict=True):
        _read(source, number, fraction, plan.crop)
      if not others:
        raise failed
      logging.warning(
          'TensorFlow cannot read a file that Pillow reads (%s); from here on '
          'Python reads, which is slower.', errors.first_line(failed))
      cut, *others = others
    first += done


def _draw(plan, first):
  """Numbers [n] and fractions [n, 2] of the samples of SEGMENT batches."""
  drawn = [
      sampler.draw(plan, plan.position(batch * plan.rows), plan.rows)
      for batch in range(first, first + SEGMENT)]
  return tuple(np.concatenate(part) for part in zip(*drawn, strict=True))


def _dataset(tf, numbers, fractions, cut, plan, *, workers, prefetch):
  @tf.autograph.experimental.do_not_convert
  def sample(number, fraction):
    return cut(number, fraction, plan.crop)

  data = tf.data.Dataset.from_tensor_slices((numbers, fractions))
  data = data.map(sample, num_parallel_calls=workers or tf.data.AUTOTUNE,
                  deterministic=True)
  data = data.batch(plan.rows, drop_remainder=True)
  options = tf.data.Options()
  options.threading.private_threadpool_size = workers or parallel_map.cores()
  return data.prefetch(prefetch or tf.data.AUTOTUNE).with_options(options)


def _from_files(tf, files) -> Cut:
  paths = {key: tf.constant([os.fsencode(paths[key]) for paths in files])
           for key in files[0]}

  def cut(number, fraction, crop):
    contents = {key: tf.io.read_file(tf.gather(names, number))
                for key, names in paths.items()}
    return _decoded(tf, contents, fraction, crop)

  return cut


def _from_records(tf, source) -> Cut:
  def fetch(number):
    contents = source.records(int(number))
    return [
        images.as_plain(contents[key], name=f'{source.names[number]} ({key})')
        for key in source.keys]

  def cut(number, fraction, crop):
    contents = tf.numpy_function(
        fetch, [number], [tf.string] * len(source.keys))
    contents = {key: tf.ensure_shape(content, ())
                for key, content in zip(source.keys, contents, strict=True)}
    return _decoded(tf, contents, fraction, crop)

  return cut


def _from_packed(tf, packed, *, channels) -> Cut:
  pixels = tf.experimental.dlpack.from_dlpack(
      _writable_map(packed.path).__dlpack__())
  places = tf.constant(packed.places)

  def cut(number, fraction, crop):
    offset, *size = tf.unstack(tf.gather(places, number))
    top, left = tf.unstack(_corner(tf, fraction, tf.stack(size), crop))
    row = size[1] * channels
    band = tf.slice(pixels, [offset + top * row], [crop * row])
    return {PACKED: tf.slice(
        tf.reshape(band, [crop, row]), [0, left * channels],
        [crop, crop * channels])}

  return cut


def _writable_map(path) -> np.ndarray:
  """The bytes of a file as memory that TensorFlow takes, which is writable.

  Nothing is written. Without NORESERVE the system refuses a file that is larger
  than its memory, because every page could become a copy.
  """
  if not hasattr(mmap, 'MAP_PRIVATE'):    # Windows
    return np.memmap(path, np.uint8, 'c')
  no_reserve = getattr(mmap, 'MAP_NORESERVE',     # named since Python 3.13
                       0x4000 if sys.platform == 'linux' else 0)
  with open(path, 'rb') as file:
    return np.frombuffer(mmap.mmap(
        file.fileno(), 0, flags=mmap.MAP_PRIVATE | no_reserve,
        prot=mmap.PROT_READ | mmap.PROT_WRITE), np.uint8)


def _by_python(tf, source) -> Cut:
  def cut(number, fraction, crop):
    def read(number, fraction):
      pictures = _read(source, number, fraction, crop)
      return [pictures[key] for key in source.keys]

    pictures = tf.numpy_function(
        read, [number, fraction], [tf.uint8] * len(source.keys))
    return {key: tf.ensure_shape(picture, (crop, crop, 3))
            for key, picture in zip(source.keys, pictures, strict=True)}

  return cut


def _read(source, number, fraction, crop):
  return sampler.cut(source.read(int(number)), fraction, crop,
                     name=source.names[number])


def _decoded(tf, contents, fraction, crop):
  # This operation decodes PNG, too. Its default transform is faster, and not
  # Pillow's. Decoding the crop alone gives other colours at its border.
  pictures = {
      key: tf.io.decode_jpeg(content, channels=3, dct_method='INTEGER_ACCURATE')
      for key, content in contents.items()}
  size, *sizes = (tf.shape(picture, tf.int64)[:2]
                  for picture in pictures.values())
  for other in sizes:
    tf.debugging.assert_equal(size, other)
  top, left = tf.unstack(_corner(tf, fraction, size, crop))
  return {key: tf.slice(picture, [top, left, 0], [crop, crop, 3])
          for key, picture in pictures.items()}


def _corner(tf, fraction, size, crop):
  """`sampler.corner` as operations: int64 [2], (top, left)."""
  ways = tf.cast(size - crop + 1, tf.float64)
  corner = tf.minimum(tf.floor(fraction * ways), ways - 1)
  return tf.cast(corner, tf.int64)
