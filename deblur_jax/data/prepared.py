"""A set that is decoded once: one file of raw bytes, and an index.

`pixels.bin` has the pairs one after the other, each uint8 [h, w, 6] (blur, then
sharp; [h, w, 3] for sets of one picture). `index.json` has the offset, the size
and the CRC-32 of each. A crop then reads a few pages instead of decoding two
PNGs. Writing may be killed at any moment: the index lists only pairs that are
on disk, and the same command continues after them.
"""

import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Callable

import numpy as np

from deblur_jax import errors
from deblur_jax.data import parallel_map, sources
from deblur_jax.ops import atomic_files, process_locks

VERSION = 1


def pictures(*, root: str) -> sources.Source:
  """Opens the source that `write` made: views of a memory map.

  Args:
    root: the folder.

  Raises:
    UserError: no prepared set, or an incomplete or damaged one.
  """
  index = _load(pathlib.Path(root))
  pairs = index['pairs']
  if len(pairs) < index['total']:
    raise errors.UserError(
        f'{root} holds {len(pairs)} of {index["total"]} pairs; run the same '
        'prepare_data command again to finish it.')
  keys = tuple(index['keys'])
  pixels = _map(pathlib.Path(root), pairs, len(keys))

  def read(i):
    view = pixels[_span(pairs[i], len(keys))].reshape(_shape(pairs[i], keys))
    return {key: view[..., 3 * k:3 * k + 3] for k, key in enumerate(keys)}

  def sizes(i):
    return dict.fromkeys(keys, (pairs[i]['height'], pairs[i]['width']))

  places = np.array([
      [pair['offset'], pair['height'], pair['width']] for pair in pairs])
  return sources.Source(
      [pair['name'] for pair in pairs], read,
      f'{index["where"]}, prepared in {root}', keys, sizes,
      packed=sources.Packed(pathlib.Path(pixels.filename), places),
      prepared=(str(root),), subset=index['options'].get('subset'))


def write(
    source: sources.Source, root: str | os.PathLike, *,
    workers: int | None = None, on_pair: Callable[[int], None] | None = None,
):
  """Decodes a source into a folder, after the pairs of an earlier call.

  Args:
    source: the source.
    root: the folder to write; made if it is missing.
    workers: number of threads; None is one for each core.
    on_pair: called with the number of finished pairs, also at the start.

  Raises:
    UserError: the folder has another set, another process prepares it, a
      picture is damaged, or the disk is full. Finished pairs stay.
  """
  if source.parts:
    raise errors.UserError(
        f'{source.where}: prepare a set of pairs or of photos, and take halves '
        'when training on it.')
  root = errors.make_folder(root)
  on_pair = on_pair or (lambda done: None)
  with process_locks.held(root / '.lock', busy=(
      f'Another process prepares {root}; wait for it, or give another folder.'
  )):
    _write_pairs(source, root, workers, on_pair)


def _write_pairs(source, root, workers, on_pair):
  index = _begin(source, root)
  try:
    _check_space(source, root, len(index['pairs']))
    with open(root / 'pixels.bin', 'ab', buffering=0) as file:
      _drop_lost(index['pairs'], len(source.keys), file)
      _append(source, index, file, root, workers, on_pair)
  except OSError as error:
    if not errors.is_disk_full(error):
      raise
    raise errors.UserError(
        f'No space left for {root / "pixels.bin"}: {len(index["pairs"])} of '
        f'{index["total"]} pairs are there; make room and run the same command '
        f'again to resume ({error.strerror}).') from None


def check(root: str | os.PathLike, *, workers: int | None = None) -> list[str]:
  """Finds the pairs whose bytes have changed since they were written.

  Args:
    root: the folder.
    workers: number of threads; None is one for each core.

  Returns:
    The names of the pairs.

  Raises:
    UserError: no prepared set, or its files do not match.
  """
  root = pathlib.Path(root)
  index = _load(root)
  pairs, keys = index['pairs'], index['keys']
  pixels = _map(root, pairs, len(keys))
  sums = parallel_map.ordered(
      lambda pair: zlib.crc32(pixels[_span(pair, len(keys))]), pairs,
      workers=workers, ahead=8)
  return [pair['name'] for pair, crc in zip(pairs, sums, strict=True)
          if crc != pair['crc32']]


def _drop_lost(pairs, count, file):
  """Cuts index and file after the last pair that is whole in both."""
  size = os.fstat(file.fileno()).st_size
  while pairs and _end(pairs, count) > size:
    pairs.pop()
  file.truncate(_end(pairs, count))


def _append(source, index, file, root, workers, on_pair):
  pairs, keys = index['pairs'], source.keys
  todo = range(len(pairs), len(source.names))
  saved = len(pairs)
  on_pair(saved)
  reads = parallel_map.ordered(source.read, todo, workers=workers, ahead=8)
  try:
    for number, pair in zip(todo, reads, strict=True):
      both = np.concatenate([pair[key] for key in keys], axis=-1)
      entry = {
          'name': source.names[number], 'offset': _end(pairs, len(keys)),
          'height': both.shape[0], 'width': both.shape[1],
          'crc32': zlib.crc32(both)}
      _write(file, both)
      pairs.append(entry)
      on_pair(len(pairs))
      # Less often as the index grows, so that rewriting it stays cheap.
      if len(pairs) - saved >= max(8, saved // 50):
        saved = _save(index, file, root)
  finally:
    reads.close()
    # Removing an incomplete pair makes room for the index on a full disk.
    file.truncate(_end(pairs, len(keys)))
    _save(index, file, root)


def _write(file, array):
  rest = memoryview(array).cast('B')
  while rest:
    rest = rest[file.write(rest):]


def _save(index, file, root) -> int:
  """Writes the index after the pixels; returns its number of pairs."""
  os.fsync(file.fileno())
  atomic_files.write(root / 'index.json', json.dumps(index, indent=1),
                     part=root / 'index.json.part', durable=True)
  return len(index['pairs'])


def _begin(source, root):
  index = {
      'version': VERSION, 'where': source.where,
      'options': {k: str(v) for k, v in source.options.items()},
      'keys': list(source.keys), 'total': len(source.names), 'pairs': []}
  if not (root / 'index.json').exists():
    return index
  old = _load(root)
  done = [pair['name'] for pair in old['pairs']]
  same = all(old[key] == index[key] for key in ('options', 'keys', 'total'))
  if not same or done != source.names[:len(done)]:
    raise errors.UserError(
        f'{root} holds another set ({old["where"]}); give another folder, or '
        'delete that one.')
  return old


def _check_space(source, root, done):
  if source.sizes is None:
    return
  needed = sum(
      3 * height * width for i in range(done, len(source.names))
      for height, width in source.sizes(i).values())
  free = shutil.disk_usage(root).free
  if needed > free:
    raise errors.UserError(
        f'{root} has {free / 2**30:.1f} GiB free, and {source.where} needs '
        f'{needed / 2**30:.1f} GiB more.')


def _load(root):
  path = root / 'index.json'
  try:
    index = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    raise errors.UserError(
        f'No prepared set in {root} (no index.json); make one with python -m '
        'experiments.prepare_data.') from None
  except ValueError:
    raise errors.UserError(f'{path} is not JSON; prepare it again.') from None
  if not isinstance(index, dict) or index.get('version') != VERSION:
    raise errors.UserError(
        f'{path} is not the index of a prepared set of version {VERSION}.')
  return index


def _map(root, pairs, sides):
  path = root / 'pixels.bin'
  size = path.stat().st_size if path.exists() else 0
  if not pairs or size < _end(pairs, sides):
    raise errors.UserError(
        f'{path} has {size} bytes, not the {_end(pairs, sides)} of its index; '
        'delete the folder and prepare it again.')
  return np.memmap(path, np.uint8, 'r')


def _shape(pair, keys):
  return pair['height'], pair['width'], 3 * len(keys)


def _span(pair, sides):
  size = 3 * sides * pair['height'] * pair['width']
  return slice(pair['offset'], pair['offset'] + size)


def _end(pairs, sides):
  return _span(pairs[-1], sides).stop if pairs else 0
