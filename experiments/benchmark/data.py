r"""Measures pairs a second of the loaders, a line of JSON for each storage.

  python -m experiments.benchmark data --source=gopro --root=GOPRO_Large \
      --subset=blur --storage=files,prepared,tfds

The source is read as its files, decoded once (`experiments.prepare_data`), and
as a TFDS data set (GoPro only); the last two are written to a temporary folder.
The loaders `tf_data` and `threads` make batches of crops, and so does
`numpy_function`, a pipeline of tf.data that calls `Source.read` in Python. They
take turns: in each round each starts anew, and its --batches are timed after
two others. `ratio` is the median over the rounds of tf_data's pairs a second
over the other's; `cpu_ms` is the processor time of a pair.
"""

import itertools
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags

from deblur_jax import data, errors
from deblur_jax.data import parallel_map, prepared, sampler
from experiments import source_flags
from experiments.benchmark import timing

STORAGES = ('files', 'prepared', 'tfds')


def define_flags() -> None:
  """Those of this subject."""
  flags.DEFINE_string('root', None, 'Folder of the data set.')
  flags.DEFINE_list('storage', list(STORAGES[:2]), f'Of {", ".join(STORAGES)}.')
  flags.DEFINE_integer('batch_size', 16, 'Crops.', lower_bound=1)
  flags.DEFINE_integer('crop', 256, 'Side of a crop, pixels.', lower_bound=1)
  flags.DEFINE_integer('batches', 8, 'Timed in a round.', lower_bound=1)
  flags.DEFINE_integer('repeats', 5, 'Timed rounds.', lower_bound=1)


def main(argv):
  """Prints a line for each storage."""
  del argv
  values = flags.FLAGS
  options = source_flags.options(root=values.root)
  if 'name' not in options:
    raise errors.UserError(
        f'--source is missing; known: {", ".join(sorted(data.SOURCES))}.')
  for storage in values.storage:
    errors.look_up(dict.fromkeys(STORAGES), storage, what='storage')
  with tempfile.TemporaryDirectory() as folder:
    for storage in values.storage:
      source = stored(options, storage, pathlib.Path(folder, storage))
      rates = compare(
          source, crop=values.crop, batch_size=values.batch_size,
          count=values.batches, repeats=values.repeats)
      print(json.dumps({'storage': storage, 'pairs': len(source.names),
                        'cores': parallel_map.cores(), **rates}), flush=True)


def stored(
    options: dict[str, Any], storage: str, folder: pathlib.Path) -> data.Source:
  """Opens a source in one of STORAGES.

  Args:
    options: the keywords of `data.open_source`.
    storage: a name in STORAGES.
    folder: is written, if `storage` is not 'files'.

  Raises:
    UserError: as of `data.open_source`; TFDS of another set than GoPro.
  """
  source = data.open_source(**options)
  if storage == 'files':
    return source
  if storage == 'prepared':
    prepared.write(source, folder)
    return data.open_source(name='prepared', root=folder)
  if options['name'] != 'gopro':
    raise errors.UserError('--storage=tfds is for --source=gopro only.')
  from deblur_jax.data import gopro_tfds
  gopro_tfds.prepare(options['root'], folder, subset=options['subset'])
  return data.open_source(
      name='tfds', dataset=f'gopro_large/{options["subset"]}', data_dir=folder,
      split=options.get('split', 'train'))


def compare(
    source: data.Source, *, crop: int, batch_size: int, count: int, repeats: int
) -> dict[str, Any]:
  """Pairs a second of the loaders for one source.

  Args:
    source: the source.
    crop: side of the crops, pixels.
    batch_size: crops in a batch.
    count: batches that are timed in a round.
    repeats: timed rounds.

  Returns:
    pairs_per_second, spread (least and most) and cpu_ms by the loader's name,
    and ratio, by the name of the loader that tf_data is compared with.
  """
  build = lambda backend: data.build(
      source, backend=backend, crop=crop, batch_size=batch_size).batches
  starts = {'tf_data': build('tf_data'), 'threads': build('threads'),
            'numpy_function': _numpy_function(source, crop, batch_size)}
  busy = {name: [] for name in starts}
  firsts = itertools.count(0, count)

  def one(name):
    batches = starts[name](next(firsts))
    _take(batches, timing.WARM_UP)
    before = time.process_time()
    seconds = timing.seconds(lambda: _take(batches, count))
    busy[name].append(time.process_time() - before)
    return seconds

  times = timing.in_turns(
      {name: lambda name=name: one(name) for name in starts}, repeats=repeats)
  pairs = count * batch_size
  rates = {name: [pairs / seconds for seconds in found]
           for name, found in times.items()}
  return {
      'pairs_per_second': {
          name: statistics.median(found) for name, found in rates.items()},
      'spread': {name: (min(found), max(found))
                 for name, found in rates.items()},
      'ratio': {
          name: statistics.median(np.divide(rates['tf_data'], found).tolist())
          for name, found in rates.items() if name != 'tf_data'},
      'cpu_ms': {
          name: 1e3 * statistics.median(found[timing.WARM_UP:]) / pairs
          for name, found in busy.items()}}


def _take(batches, count):
  """Iterates over `count` batches."""
  for _ in itertools.islice(batches, count):
    pass


def _numpy_function(
    source, crop, batch_size) -> Callable[[int], Iterator[dict]]:
  """A tf.data pipeline around `Source.read`: first batch -> batches."""
  import tensorflow as tf
  plan = sampler.make(size=len(source.names), crop=crop, batch_size=batch_size,
                      seed=0, process_index=0, process_count=1)

  def read(count):
    numbers, fractions = sampler.draw(plan, int(count), 1)
    pair = sampler.cut(source.read(int(numbers[0])), fractions[0], crop,
                       name='')
    return [pair[key] for key in source.keys]

  @tf.autograph.experimental.do_not_convert
  def sample(count):
    return tf.numpy_function(read, [count], [tf.uint8] * len(source.keys))

  def start(first):
    counts = tf.data.Dataset.range(first * batch_size, np.iinfo(np.int64).max)
    crops = counts.map(sample, num_parallel_calls=parallel_map.cores())
    return crops.batch(batch_size).prefetch(2).as_numpy_iterator()

  return start
