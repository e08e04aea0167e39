"""Neighbouring frames of each blurred picture, for networks of videos.

A name consists of a sequence and the number of a frame: 'GOPR0372_07_00/000047'
or 'film_7'. GoPro, REDS and the frames of `experiments.make_pairs` are named in
this way.
"""

import collections
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deblur_jax import errors
from deblur_jax.data import sources


def around(source: sources.Source, window: int) -> sources.Source:
  """Adds the neighbouring blurred frames to each pair.

  The first and the last frame of a sequence are repeated beyond its ends.
  Neighbours are decoded with the pair, unless the set is prepared.

  Args:
    source: pairs, named after sequences and frames.
    window: number of frames, odd; the frame of the pair is in the middle.

  Returns:
    The source with additional keys, for five frames 'before_2', 'before_1',
    'after_1' and 'after_2', of the same size as 'blur'.

  Raises:
    UserError: a window that is not odd, a source without pairs, or without two
      frames of one sequence.
  """
  if not isinstance(window, int) or window < 1 or window % 2 == 0:
    raise errors.UserError(
        f'data.window must be odd and at least 1, got {window!r}.')
  if window == 1:
    return source
  if source.parts or {*source.keys} != {'blur', 'sharp'}:
    raise errors.UserError(
        f'data.window: {source.where} has no pairs of frames; make some with '
        'experiments.make_pairs --frames.')
  near = _near(source.names, window, source.where)
  others = {key: offset for key, offset in _offsets(window) if offset}
  # Read in order, as the resident backend does, each is read once.
  once = functools.lru_cache(maxsize=2 * window)(source.read)

  def beside(fn):
    """Adds the neighbours to what fn gives for a name."""
    def around_one(i):
      found = {offset: fn(near[i][offset]) for offset in (0, *others.values())}
      if not all(found.values()):
        return None
      return dict(found[0]) | {
          key: found[offset]['blur'] for key, offset in others.items()}
    return fn and around_one

  return source._replace(
      read=beside(once), sizes=beside(source.sizes),
      files=beside(source.files), records=None, packed=None,
      keys=(*source.keys, *others),
      where=f'{source.where}, {window} frames each')


def window_of(keys: Iterable[str]) -> int:
  """The number of frames in a source or batch with these keys."""
  return 1 + 2 * sum(key.startswith('before_') for key in keys)


def check(source: sources.Source, window: int, *, where: str) -> None:
  """Checks that a source has as many frames as a network takes.

  Args:
    source: with or without neighbours.
    window: number of frames that the network takes.
    where: the key of the source in the config.

  Raises:
    UserError: the numbers differ.
  """
  found = window_of(source.keys)
  if found != window:
    raise errors.UserError(
        f'The network takes {window} frame{"s" if window > 1 else ""}, but '
        f'{where}.window is {found}: set {where}.window={window}.')


def frames(pictures: Mapping[str, Any]) -> list[Any]:
  """The blurred pictures of a pair or batch, in the order of time."""
  return [pictures[key] for key, _ in _offsets(window_of(pictures))]


def _offsets(window: int) -> list[tuple[str, int]]:
  """[(key, offset in frames)], in the order of time."""
  half = window // 2
  return [(f'before_{-k}' if k < 0 else f'after_{k}' if k else 'blur', k)
          for k in range(-half, half + 1)]


def _near(names: Sequence[str], window: int, where) -> list[dict[int, int]]:
  """For each name: {offset in frames: number of the name there}."""
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
