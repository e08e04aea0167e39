"""Converts state dicts of PyTorch programs to our parameters, and back."""

import collections
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from deblur_jax import errors, models
from deblur_jax.pretrained.convert import name_maps
from deblur_jax.pretrained.convert.name_maps import Layout
from deblur_jax.state import Params

StateDict = Mapping[str, np.ndarray]


class Part(NamedTuple):
  """The arrays of a file that belong to one layout.

  Attributes:
    key: a name in `LAYOUTS`.
    prefix: of the names, such as 'G.module.'.
    arrays: all arrays with this prefix, by their names without it.
    network: keyword arguments of our network.
  """

  key: str
  prefix: str
  arrays: StateDict
  network: dict[str, Any]

  @property
  def layout(self) -> Layout:
    """The row of `LAYOUTS`."""
    return name_maps.LAYOUTS[self.key]


class Pair(NamedTuple):
  """An array of theirs and the corresponding one of ours.

  Attributes:
    theirs: their name.
    ours: our path.
    shape: of theirs.
    kind: a row of `name_maps.KINDS`; None for a bias.
  """

  theirs: str
  ours: tuple[str, ...]
  shape: tuple[int, ...]
  kind: name_maps.Kind | None


def find(
    arrays: StateDict, given: Mapping[str, Any], *, layout: str | None = None
) -> list[Part]:
  """Finds the layouts of a file's arrays, at most one for each role.

  Args:
    arrays: of the file.
    given: options of the layouts, such as rgb_range=1.
    layout: the name of the only layout to look for; None looks for all.

  Returns:
    The parts of the file.

  Raises:
    UserError: no layout fits, several fit equally, or a network or an option is
      invalid.
  """
  table = name_maps.LAYOUTS
  if layout is not None:
    table = {layout: errors.look_up(table, layout, what='layout')}
  for pattern, why in name_maps.REFUSED.items():
    if any(re.search(rf'(^|\.)({pattern})', name) for name in arrays):
      raise errors.UserError(f'it is of {why}.')
  candidates = [part for key in table for part in _parts(arrays, key)]
  candidates.sort(key=lambda part: -len(part.arrays))
  found = []
  for part in candidates:
    if any(_collide(part, other) for other in found):
      continue
    network = _options(part, given)
    if network is None:
      continue
    _refuse_ambiguous(part, candidates)
    found.append(part._replace(network=network))
  if not found:
    raise errors.UserError(_nothing(arrays, layout))
  return [_with_unknown(part, found, arrays) for part in found]


def pairs(layout: Layout, net: nn.Module) -> list[Pair]:
  """Lists the arrays of a network with their names in a layout.

  Args:
    layout: the layout.
    net: our network.

  Returns:
    A pair for each array.
  """
  there = flatten(_shapes(net))
  found = []
  for layer in layout.layers(net):
    kind, theirs, path = name_maps.KINDS[layer.kind], layer.theirs, layer.ours
    if kind.weight:
      theirs, path = f'{theirs}.weight', (*path, kind.weight)
    value = np.broadcast_to(np.float32(0), there.pop(path).shape)
    found.append(Pair(theirs, path, kind.to_theirs(value).shape, kind))
    path = (*layer.ours, 'bias')
    if path in there:
      shape = there.pop(path).shape
      found.append(Pair(f'{layer.theirs}.bias', path, shape, None))
  assert not there, f'{layout.about}: the layout has no names for {there}.'
  return found


def to_ours(part: Part, pairs_: list[Pair]) -> Params:
  """Converts the arrays of a file to our parameters.

  Args:
    part: the arrays.
    pairs_: of the network.

  Returns:
    The parameters, float32.

  Raises:
    UserError: an array is missing, is unknown, has another shape or values that
      are not finite.
  """
  _check(part, pairs_)
  flat = {}
  for pair in pairs_:
    value = part.arrays[pair.theirs].astype(np.float32)
    flat[pair.ours] = pair.kind.to_ours(value) if pair.kind else value
  broken = [pair.theirs for pair in pairs_
            if not np.isfinite(flat[pair.ours]).all()]
  if broken:
    raise errors.UserError(f'values that are not finite in {_some(broken)}.')
  return traverse_util.unflatten_dict(flat)


def is_unused(part: Part, name: str) -> bool:
  """Returns whether no output of their program depends on an array."""
  return bool(re.fullmatch(part.layout.unused, name))


def to_theirs(params: Params, pairs_: list[Pair]) -> StateDict:
  """Converts our parameters to a state dict.

  Args:
    params: of the network.
    pairs_: of the network.

  Returns:
    {name: float32 array}, in the order of the layout.
  """
  flat = flatten(params)
  arrays = {}
  for pair in pairs_:
    value = np.asarray(flat[pair.ours], np.float32)
    value = pair.kind.to_theirs(value) if pair.kind else value
    arrays[pair.theirs] = np.ascontiguousarray(value)
  return arrays


def flatten(params: Params) -> dict[tuple[str, ...], Any]:
  """Flattens nested dicts to one with paths as keys."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  return {tuple(part.key for part in path): leaf for path, leaf in leaves}


def _shapes(net) -> Params:
  return jax.eval_shape(lambda key: models.init(net, key), jax.random.key(0))


def _parts(arrays, key) -> list[Part]:
  """The arrays with names of a layout, grouped by their prefix."""
  groups = collections.defaultdict(dict)
  for name, array in arrays.items():
    match = re.fullmatch(rf'((?:.*?\.)??)({name_maps.LAYOUTS[key].names})',
                         name)
    if match:
      groups[match[1]][match[2]] = array
  return [Part(key, prefix, group, {}) for prefix, group in groups.items()]


def full_names(part: Part) -> set[str]:
  """Returns the names of a part's arrays in the file."""
  return {part.prefix + name for name in part.arrays}


def _refuse_ambiguous(part, candidates) -> None:
  equal = [other for other in candidates
           if len(other.arrays) == len(part.arrays)
           and other.layout.role == part.layout.role]
  keys = sorted({other.key for other in equal})
  if len(keys) > 1:
    raise errors.UserError(
        f'its names fit {" and ".join(keys)} equally: choose one by --layout.')
  if len(equal) > 1:
    places = ' and '.join(sorted(f'{other.prefix}*' for other in equal))
    raise errors.UserError(
        f'it holds {part.key} more than once, as {places}: give a file with '
        'one of them.')


def _collide(part, other) -> bool:
  return (part.layout.role == other.layout.role
          or not full_names(part).isdisjoint(full_names(other)))


def _options(part, given):
  """Keyword arguments of the network; None if it is another one."""
  make = part.layout.options
  known = inspect.signature(make).parameters
  shapes = {name: array.shape for name, array in part.arrays.items()}
  options = make(shapes, **{k: v for k, v in given.items() if k in known})
  return options and {'name': part.layout.network} | options


def _with_unknown(part, parts, arrays) -> Part:
  """Adds arrays of the same prefix that belong to no part, for `_check`."""
  known = set().union(*map(full_names, parts))
  unknown = {
      name.removeprefix(part.prefix): array for name, array in arrays.items()
      if name.startswith(part.prefix) and name not in known}
  return part._replace(arrays={**part.arrays, **unknown})


def _check(part, pairs_) -> None:
  """Raises a UserError unless all names and shapes are right."""
  expected = {pair.theirs: pair.shape for pair in pairs_}
  there = {name: array.shape for name, array in part.arrays.items()
           if not is_unused(part, name)}
  missing = [name for name in expected if name not in there]
  more = [name for name in there if name not in expected]
  other = [f'{name} {there[name]} instead of {shape}'
           for name, shape in expected.items()
           if there.get(name, shape) != shape]
  wrong = [f'{what} {_some(names)}' for what, names in (
      ('missing:', missing), ('unknown:', more), ('of another shape:', other)
  ) if names]
  if wrong:
    raise errors.UserError(
        f'it is similar to {part.key} ({part.layout.about}), but differs: '
        f'{"; ".join(wrong)}.')


def _nothing(arrays, layout) -> str:
  if layout is None:
    return (f'its names ({_some(list(arrays))}) fit no layout; known: '
            f'{", ".join(name_maps.LAYOUTS)}.')
  example = name_maps.LAYOUTS[layout].example
  near = [part.key for part in sorted(
      (part for key in name_maps.LAYOUTS for part in _parts(arrays, key)),
      key=lambda part: -len(part.arrays))]
  hint = f' Did you mean {near[0]!r}?' if near else ''
  return (f'none of its names is of {layout}, such as {example}; they are '
          f'{_some(list(arrays))}.{hint}')


def _some(names: Iterable[str]) -> str:
  names = list(names)
  more = f' and {len(names) - 4} more' if len(names) > 4 else ''
  return ', '.join(names[:4]) + more
