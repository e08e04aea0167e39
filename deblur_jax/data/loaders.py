"""Batches of crops, by three backends.

  tf_data   a pipeline of tf.data, see tf_pipeline.py; needs TensorFlow
  threads   the same with Python threads
  resident  the whole set lies in accelerator memory as uint8, and the jitted
            step crops it; batches hold only numbers of pictures and corners

All three give the same crops in the same order.
"""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from deblur_jax import errors
from deblur_jax.config import call
from deblur_jax.data import parallel_map, sampler, sources, tf_pipeline
from deblur_jax.ops import bit_depth
from deblur_jax.state import Batch


class Loader(NamedTuple):
  """The batches of a run.

  Attributes:
    batches: first step i -> batches i, i + 1, ...: NumPy arrays whose first
      axis has the rows of this process only.
    unpack: a (global) batch merged with the constants -> float32
      [n, crop, crop, 3] in [0, 1] under the source's keys; pure and jittable.
    constants: () -> arrays for every device, put there once; {} unless
      resident. The call decodes the pictures.
    names: i -> the names of the pictures in batch i, those of this process.
  """

  batches: Callable[[int], Iterator[Batch]]
  unpack: Callable[[Batch], Batch]
  constants: Callable[[], dict[str, np.ndarray]] = dict
  names: Callable[[int], list[str]] = lambda i: []


def build(
    source: sources.Source, *, backend: str = 'tf_data', crop: int = 256,
    batch_size: int = 16, progressive: Sequence[Sequence[int]] = (),
    seed: int = 0, process_index: int = 0, process_count: int = 1, **options,
) -> Loader:
  """Builds the loader of a source; batch i is a pure function of (seed, i).

  It decodes no picture. From a source without pairs each part is drawn
  separately, part k with the seed seed + k 2^32.

  Args:
    source: the source.
    backend: a row of LOADERS.
    crop: height and width of the crops, pixels.
    batch_size: rows of a batch of all processes together; each process reads
      its share of the rows.
    progressive: rows (step, crop, batch size) in the order of their steps: the
      sizes after that step instead of `crop` and `batch_size`. Each row makes
      the training step compile once more.
    seed: the seed of the order and of the corners.
    process_index: number of this process, from 0.
    process_count: number of processes, which share the rows.
    **options: the options of the chosen loader.

  Raises:
    UserError: an unknown backend or option, TensorFlow is missing, sizes that
      do not fit together, a set that is too large for `resident`.
  """
  if source.parts:
    return _side_by_side([
        build(part, backend=backend, crop=crop, batch_size=batch_size,
              progressive=progressive, seed=seed + (k << 32),
              process_index=process_index, process_count=process_count,
              **options) for k, part in enumerate(source.parts.values())])
  make = errors.look_up(LOADERS, backend, what='data.loader.backend')
  plan = sampler.make(
      size=len(source.names), crop=crop, batch_size=batch_size, seed=seed,
      process_index=process_index, process_count=process_count)
  plans = sampler.in_stages(plan, progressive)
  loader = call(make, options, args=(source, plans), where='data.loader')
  return loader._replace(names=functools.partial(_names, source, plans))


def _names(source, plans, batch) -> list[str]:
  plan = next(
      plan for plan in plans if plan.end is None or batch < plan.end)
  numbers, _ = sampler.draw(
      plan, plan.position(batch * plan.rows), plan.rows)
  return [source.names[number] for number in numbers]


def threads(
    source, plans, *, workers: int | None = None, prefetch: int = 2,
) -> Loader:
  """Reads with threads.

  Args:
    source: the source.
    plans: of `sampler.in_stages`.
    workers: number of threads; None is one for each core.
    prefetch: number of batches read ahead.

  Raises:
    UserError: a number below 1.
  """
  _check_counts(workers=workers, prefetch=prefetch)

  def read(plan, first):
    samples = parallel_map.ordered(
        functools.partial(_sample, source, plan),
        itertools.count(first * plan.rows),
        workers=workers, ahead=prefetch * plan.rows)
    with contextlib.closing(samples):
      while True:
        rows = list(itertools.islice(samples, plan.rows))
        yield {key: np.stack([row[key] for row in rows])
               for key in source.keys}

  return Loader(_one_after_another(plans, read), _to_float)


def tf_data(
    source, plans, *, workers: int | None = None, prefetch: int | None = None,
) -> Loader:
  """Reads with a pipeline of tf.data, see `tf_pipeline`.

  Args:
    source: the source.
    plans: of `sampler.in_stages`.
    workers: number of threads; None is one for each core.
    prefetch: number of batches read ahead; None leaves it to tf.data.

  Raises:
    UserError: TensorFlow is not installed, or a number below 1.
  """
  _check_counts(workers=workers, prefetch=prefetch)
  tf = _tensorflow()
  crop = max(plan.crop for plan in plans)
  cuts = functools.cache(lambda: tf_pipeline.cuts(tf, source, crop=crop))

  def read(plan, first):
    return tf_pipeline.batches(
        tf, source, plan, first, cuts(), workers=workers, prefetch=prefetch)

  unpack = functools.partial(_split, keys=source.keys)
  return Loader(_one_after_another(plans, read),
                unpack if source.packed else _to_float)


def resident(
    source, plans, *, limit_gib: float | None = None,
    workers: int | None = None,
) -> Loader:
  """Keeps all pictures in device memory, padded to the largest size.

  Args:
    source: the source, read once and completely.
    plans: the stages of the batches.
    limit_gib: the most memory in GiB on each device; None sets no limit.
    workers: threads that read (a core each if None).

  Raises:
    UserError: a picture is smaller than a crop, the set needs more memory than
      `limit_gib`, or there are fewer workers than one.
  """
  _check_counts(workers=workers)
  count, channels = len(source.names), 3 * len(source.keys)

  @functools.cache
  def find_sizes():
    sizes = np.array([_size(source, i) for i in range(count)])
    for name, size in zip(source.names, sizes, strict=True):
      sampler.check_crop(size, max(plan.crop for plan in plans), name=name)
    height, width = sizes.max(axis=0)
    gib = count * height * width * channels / 2 ** 30
    if limit_gib is not None and gib > limit_gib:
      raise errors.UserError(
          f'{source.where} needs {gib:.2f} GiB on every device, more than '
          f'data.loader.limit_gib={limit_gib}; take the loader threads or '
          'tf_data.')
    return sizes

  if source.sizes:    # from the headers: nothing is decoded
    find_sizes()

  def constants():
    height, width = find_sizes().max(axis=0)
    # Columns and channels are one axis: TPUs would pad an axis of 6 to the
    # width of a vector register.
    pictures = np.zeros((count, height, width * channels), np.uint8)
    reads = parallel_map.ordered(source.read, range(count), workers=workers,
                                 ahead=8)
    for row, pair in zip(pictures, reads, strict=True):
      both = np.concatenate([pair[key] for key in source.keys], axis=-1)
      flat = both.reshape(both.shape[0], -1)
      row[:flat.shape[0], :flat.shape[1]] = flat
    return {'pictures': pictures}

  def read(plan, first):
    sizes = find_sizes()
    # The side of the crops must be static under jit: it is a shape.
    side = np.zeros((plan.rows, plan.crop), np.bool_)
    for batch in itertools.count(first):
      start = plan.position(batch * plan.rows)
      numbers, fractions = sampler.draw(plan, start, plan.rows)
      yield {'number': numbers.astype(np.int32), 'side': side,
             'corner': sampler.corner(fractions, sizes[numbers], plan.crop)}

  unpack = functools.partial(_cut_resident, keys=source.keys)
  return Loader(_one_after_another(plans, read), unpack, constants)


def _check_counts(**counts):
  for name, count in counts.items():
    if count is not None and count < 1:
      raise errors.UserError(
          f'data.loader.{name} must be 1 or more, not {count}.')


def _one_after_another(plans, read):
  """Joins the stages: first -> the batches of read(plan, first) of each."""
  def batches(first):
    for plan in plans:
      if plan.end is None or first < plan.end:
        count = None if plan.end is None else plan.end - first
        with contextlib.closing(read(plan, first)) as stage:
          yield from itertools.islice(stage, count)
        first = plan.end

  return lambda first: parallel_map.closed_when_dropped(batches(first))


def _side_by_side(parts: Sequence[Loader]) -> Loader:
  """Joins loaders with different keys into one; numbers their arrays."""
  numbered = lambda arrays: {
      f'{k}/{name}': array for k, part in enumerate(arrays)
      for name, array in part.items()}

  def batches(first):
    return map(numbered, zip(*(part.batches(first) for part in parts),
                             strict=True))

  def unpack(batch):
    unpacked = {}
    for k, part in enumerate(parts):
      unpacked |= part.unpack({
          name.removeprefix(f'{k}/'): array for name, array in batch.items()
          if name.startswith(f'{k}/')})
    return unpacked

  return Loader(
      batches, unpack,
      lambda: numbered([part.constants() for part in parts]),
      lambda i: [name for part in parts for name in part.names(i)])


def _sample(source, plan, count) -> dict[str, np.ndarray]:
  numbers, fractions = sampler.draw(plan, plan.position(count), 1)
  number = int(numbers[0])
  return sampler.cut(source.read(number), fractions[0], plan.crop,
                     name=source.names[number])


def _tensorflow():
  # TensorFlow has no convolution here; without this its import prints a notice.
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  with errors.needs_extra(
      'TensorFlow', extra='train',
      otherwise="set data.loader.backend='threads'"):
    import tensorflow as tf
  with contextlib.suppress(RuntimeError):  # TensorFlow's devices are in use
    tf.config.set_visible_devices([], 'GPU')  # JAX needs the memory
  return tf


def _size(source, number) -> tuple[int, int]:
  if source.sizes is None:
    return next(iter(source.read(number).values())).shape[:2]
  return next(iter(source.sizes(number).values()))


def _to_float(batch):
  return {key: bit_depth.to_float(batch[key]) for key in batch}


def _cut_resident(batch, *, keys):
  channels, crop = 3 * len(keys), batch['side'].shape[1]

  def one(number, corner):
    start = (number, corner[0], corner[1] * channels)
    cut = jax.lax.dynamic_slice(
        batch['pictures'], start, (1, crop, crop * channels))
    return cut[0]

  packed = jax.vmap(one)(batch['number'], batch['corner'])
  return _split({tf_pipeline.PACKED: packed}, keys=keys)


def _split(batch, *, keys):
  packed = batch[tf_pipeline.PACKED]        # [n, crop, crop * channels]
  crops = packed.reshape(*packed.shape[:2], packed.shape[1], -1)
  return _to_float({key: crops[..., 3 * k:3 * k + 3]
                    for k, key in enumerate(keys)})


LOADERS = {'tf_data': tf_data, 'threads': threads, 'resident': resident}
