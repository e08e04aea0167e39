"""Frames of film beside each blurred picture: what networks of videos take.

A name is that of a sequence and the number of a frame: 'GOPR0372_07_00/000047',
'GOPR0372_07_00-000047' and 'film_7' all are. So GoPro, REDS and what
experiments.make_pairs makes of film need nothing else.
"""

import collections
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deblur_jax import errors
from deblur_jax.data import sources


def around(source: sources.Source, window: int) -> sources.Source:
  """Each pair with the blurred frames around it.

  Before the first frame of a sequence and behind its last one these are
  repeated. Neighbours are decoded with the pair, unless the set is prepared.

  Args:
    source: pairs, named after sequences and frames.
    window: odd, the frames that belong together; the pair's is in the middle.

  Returns:
    The source with further keys: of five frames 'before_2', 'before_1',
    'after_1' and 'after_2', as large as 'blur'.

  Raises:
    UserError: a window that is not odd, no pairs, no two of one sequence.
  """
  if not isinstance(window, int) or window < 1 or window % 2 == 0:
    raise errors.UserError(
        f'data.window must be odd and at least 1, got {window!r}.')
  if window == 1:
    return source
  if source.parts or {*source.keys} != {'blur', 'sharp'}:
    raise errors.UserError(
        f'data.window: {source.where} has no blurred frames with a sharp one '
        'each; make some of film with experiments.make_pairs --frames.')
  near = _near(source.names, window, source.where)
  others = {key: offset for key, offset in _offsets(window) if offset}
  # In turn, as they are validated and put into memory, each is read once.
  once = functools.lru_cache(maxsize=2 * window)(source.read)

  def read(i):
    return dict(once(i)) | {
        key: once(near[i][offset])['blur'] for key, offset in others.items()}

  def sizes(i):
    return dict(source.sizes(i)) | {
        key: source.sizes(near[i][offset])['blur']
        for key, offset in others.items()}

  return source._replace(
      read=read, sizes=source.sizes and sizes, keys=(*source.keys, *others),
      where=f'{source.where}, {window} frames each')


def window_of(keys: Iterable[str]) -> int:
  """How many frames belong together in a source, or batch, with such keys."""
  return 1 + 2 * sum(key.startswith('before_') for key in keys)


def check(source: sources.Source, window: int, *, where: str) -> None:
  """A UserError unless a source has as many frames as a network takes.

  Args:
    source: with or without neighbours.
    window: of the network.
    where: the source's place in the config.
  """
  found = window_of(source.keys)
  if found != window:
    raise errors.UserError(
        f'The network takes {window} frame{"s" if window > 1 else ""}, but '
        f'{where}.window is {found}: set {where}.window={window}.')


def frames(pictures: Mapping[str, Any]) -> list[Any]:
  """The blurred picture of a pair or batch among its neighbours, in order."""
  return [pictures[key] for key, _ in _offsets(window_of(pictures))]


def _offsets(window: int) -> list[tuple[str, int]]:
  """[(key, how many frames later)], in the order of time."""
  half = window // 2
  return [(f'before_{-k}' if k < 0 else f'after_{k}' if k else 'blur', k)
          for k in range(-half, half + 1)]


def _near(names: Sequence[str], window: int, where) -> list[dict[int, int]]:
  """For each name: how many frames later -> the number of that name."""
  sequences = collections.defaultdict(list)
  for i, name in enumerate(names):
    stem, number = re.fullmatch(r'(.*?)(\d*)', name).groups()
    sequences[stem].append((int(number or 0), i))
  if len(sequences) == len(names):
    raise errors.UserError(
        f'data.window={window}: no two names of {where} are frames of one '
        f'sequence, such as SEQUENCE/000001; the first is {names[0]!r}.')
  half, near = window // 2, [{} for _ in names]
  for numbered in sequences.values():
    order = [i for _, i in sorted(numbered)]
    for place, i in enumerate(order):
      for k in range(-half, half + 1):
        near[i][k] = order[min(max(place + k, 0), len(order) - 1)]
  return near
