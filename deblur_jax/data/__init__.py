"""Data for training and testing: `open_source`, then `build` a loader."""

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deblur_jax import errors
from deblur_jax.config import call, check_table
from deblur_jax.data import (
    builtin,
    layouts,
    loaders,
    mixture,
    neighbours,
    prepared,
    sampler,
    sources,
    unpaired,
)

Source = sources.Source
Problem = sources.Problem
BadPairs = sources.BadPairs
Loader = loaders.Loader
LOADERS = loaders.LOADERS
build = loaders.build
stages = sampler.stages

HINTS = {
    'subset': "'blur' (linear averages) or 'blur_gamma' (gamma 2.2); every "
              'number depends on it',
    'root': 'the folder of the data set',
    'sources': "dict(a=dict(name='gopro', ...), ...)",
    'sharp_side': "'left' or 'right'",
}


def open_side(config: Mapping[str, Any], side: str) -> Source:
  """Opens a data set of a config.

  Args:
    config: plain dicts, see configs/.
    side: 'train' or 'test'.

  Raises:
    UserError: as `open_source`; of a missing folder the message has the key.
    BadPairs: as `open_source`.
  """
  leaf, where = config['data'][side], f'data.{side}'
  try:
    return call(open_source, leaf, where=where)
  except errors.NoFolder as error:
    keys = [(len(str(value)), key) for key, value in _texts(leaf)
            if value and error.folder.is_relative_to(value)]
    if not keys:
      raise
    raise errors.UserError(
        f'No folder {error.folder}: set --config.{where}.{max(keys)[1]}.'
    ) from error


def _texts(leaf, prefix='') -> Iterator[tuple[str, str]]:
  """The dotted keys and values of a source that may be folders."""
  for key, value in leaf.items():
    if isinstance(value, Mapping):
      yield from _texts(value, f'{prefix}{key}.')
    elif isinstance(value, str | os.PathLike) and key != 'name':
      yield prefix + key, os.fspath(value)


def open_source(
    *, name: str, scale: float = 1.0, part: Sequence[float] = (0.0, 1.0),
    window: int = 1, halves: bool = False, max_damaged: float = 0.0,
    **kwargs) -> Source:
  """Opens a source by its name in SOURCES.

  No picture is decoded.

  Args:
    name: a row of SOURCES.
    scale: in (0, 1]; 0.5 halves both sides of each picture, bicubic and
      antialiased, as DeblurGAN's authors prepare GoPro.
    part: the first and last share of the names, in their order. Where a set
      has no test set of its own: (0, 0.9) to train and (0.9, 1) to test.
    window: number of blurred video frames, odd, the pair's in the middle; the
      others have keys of their own, see `neighbours.around`. For networks that
      take several frames.
    halves: makes a set without pairs: the blurred pictures of the first half
      of the names and the sharp ones of the second, see `unpaired.halves`.
    max_damaged: share of the names whose pictures may be damaged, such as
      0.001; the next name stands for each, see `sources.tolerant`. For
      training only.
    **kwargs: the keywords of the row's function.

  Raises:
    UserError: unknown or missing keyword, missing or empty folder, a scale
      outside (0, 1], a part without names.
    BadPairs: some pairs are incomplete; the error has the others.
  """
  fn = errors.look_up(SOURCES, name, what='source')
  for key, parameter in inspect.signature(fn).parameters.items():
    needed = (parameter.kind is parameter.KEYWORD_ONLY
              and parameter.default is parameter.empty)
    if needed and key not in kwargs:
      hint = f': {HINTS[key]}' if key in HINTS else ''
      raise errors.UserError(f'The source {name!r} needs data.{key}{hint}.')
  options = {'name': name, **kwargs}
  if scale != 1:
    options['scale'] = scale
  if part != (0.0, 1.0):
    options['part'] = part
  if window != 1:
    options['window'] = window
  if halves:
    options['halves'] = halves
  if max_damaged:
    options['max_damaged'] = max_damaged

  def ready(source):
    source = sources.scaled(sources.part(source, part), scale)
    source = unpaired.halves(source) if halves else source
    # Last: a frame at the edge of a part must not see frames of another part.
    source = neighbours.around(source, window)
    source = sources.tolerant(source, max_damaged)
    return source._replace(options=options)

  try:
    return ready(call(fn, kwargs, where='data'))
  except BadPairs as error:
    raise BadPairs(error.problems, ready(error.source)) from None


def mix(*, sources: Mapping[str, Mapping[str, Any]]) -> Source:
  """Opens several sources of pairs as one.

  Args:
    sources: name -> the keywords of `open_source` and `weight`, the number of
      times that an epoch has each of its pairs (1 by default).

  Raises:
    UserError: as `open_source` and `mixture.pairs`; one of them has a window.
  """
  options = {name: dict(check_table(leaf, where=f'data.sources.{name}'))
             for name, leaf in sources.items()}
  weights = {name: leaf.pop('weight', 1) for name, leaf in options.items()}
  if any('window' in leaf for leaf in options.values()):
    raise errors.UserError(
        'data.sources: window is one option for all sources: put it beside '
        'sources.')
  return mixture.pairs(
      {name: call(open_source, leaf, where=f'data.sources.{name}')
       for name, leaf in options.items()}, weights)


SOURCES = {
    'blurred_photos': sources.blurred_photos,
    'builtin': builtin.pictures,
    'folder_pairs': sources.folder_pairs,
    'gopro': layouts.gopro,
    'hide': layouts.hide,
    'kohler': layouts.kohler,
    'mixture': mix,
    'pairs_by_name': sources.pairs_by_name,
    'photos': sources.photos,
    'prepared': prepared.pictures,
    'realblur': layouts.realblur,
    'reds': layouts.reds,
    'side_by_side': sources.side_by_side,
    'tfds': sources.tfds_pairs,
    'unpaired': unpaired.folders,
}
