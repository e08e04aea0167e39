"""Pruning of trained weights: single values, or whole channels.

Pure functions on the parameters of one network. Zeros alone make a network
neither smaller nor faster. Fewer channels are a smaller network, whose kernels
are cut out of the larger one's.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.models import channel_groups
from deblur_jax.state import Array, Params

Kept = dict[str, np.ndarray]   # group -> the channels to keep, ascending


def magnitude(
    params: Params, *, share: float, per_layer: bool = False) -> Params:
  """Masks that keep the largest values of all kernels.

  Args:
    params: of a network.
    share: of the values of kernels to prune, in [0, 1); biases and norms stay.
    per_layer: whether each kernel loses this share, or all together do.

  Returns:
    A tree as `params`, of bools; false is pruned.
  """
  kernels = [leaf for path, leaf in jax.tree.leaves_with_path(params)
             if _is_kernel(path)]
  common = None if per_layer else _threshold(kernels, share)

  def mask(path, leaf):
    if not _is_kernel(path):
      return jnp.ones(leaf.shape, bool)
    least = _threshold([leaf], share) if per_layer else common
    return jnp.abs(leaf) > least

  return jax.tree_util.tree_map_with_path(mask, params)


def apply(params: Params, masks: Params) -> Params:
  """Sets pruned values to zero.

  Args:
    params: of a network.
    masks: of `magnitude`.

  Returns:
    The parameters.
  """
  return jax.tree.map(lambda leaf, mask: leaf * mask, params, masks)


def choose(params: Params, wires: channel_groups.Wires, thin: Params) -> Kept:
  """The strongest channels of each group, as many as a thinner network has.

  The strength of a channel is the norm of all kernels that make it.

  Args:
    params: of the wide network.
    wires: its `channel_groups.wires`.
    thin: the parameters of the thin network, or their shapes.

  Returns:
    Group -> the channels to keep, ascending.

  Raises:
    UserError: the thin network has more channels somewhere.
  """
  strength, wanted = {}, {}
  for path, wire in wires.items():
    wide, goal = (_layer(tree, path)['kernel'] for tree in (params, thin))
    groups = wire.makes or ()
    power = np.square(np.asarray(wide, np.float32))
    power = power.sum(axis=tuple(range(power.ndim - 1)))
    for group, part in zip(groups, np.split(power, max(len(groups), 1)),
                           strict=False):
      strength[group] = strength.get(group, 0) + part
      wanted[group] = goal.shape[-1] // len(groups)
  kept = {}
  for group, values in strength.items():
    count = wanted[group]
    if count > len(values):
      raise errors.UserError(
          f'Pruning makes a network thinner: {group} has {len(values)} '
          f'channels, and {count} in nets.net.')
    kept[group] = np.sort(np.argsort(-values, kind='stable')[:count])
  return kept


def cut(params: Params, wires: channel_groups.Wires, kept: Kept) -> Params:
  """The parameters of the thin network, cut out of those of the wide one.

  Args:
    params: of the wide network.
    wires: its `channel_groups.wires`.
    kept: of `choose`.

  Returns:
    The tree of the thin network, NumPy.
  """
  sizes = _sizes(params, wires)

  def shorten(path, leaf):
    reads, makes = _groups(path, leaf, wires)
    for axis, groups in ((-2, reads), (-1, makes)):
      if groups:
        leaf = np.take(leaf, _places(groups, kept, sizes), axis=axis)
    return leaf

  return jax.tree_util.tree_map_with_path(
      shorten, jax.tree.map(np.asarray, params))


def share_of_zeros(params: Params) -> Array:
  """The share of zeros among the values of all kernels.

  Args:
    params: of a network.

  Returns:
    A number in [0, 1].
  """
  kernels = [leaf for path, leaf in jax.tree.leaves_with_path(params)
             if _is_kernel(path)]
  zeros = sum(jnp.sum(leaf == 0) for leaf in kernels)
  return zeros / sum(leaf.size for leaf in kernels)


def _threshold(kernels, share):
  """The largest magnitude among the smallest `share` of values, or -1."""
  values = jnp.sort(jnp.concatenate([jnp.abs(k).ravel() for k in kernels]))
  count = math.floor(share * values.size)
  return values[count - 1] if count else -1.0


def _is_kernel(path) -> bool:
  return path[-1].key == 'kernel'


def _layer(tree, path):
  for name in path:
    tree = tree[name]
  return tree


def _sizes(params, wires) -> dict[str, int]:
  """The number of channels of each group, before any are cut."""
  sizes = {channel_groups.RGB: 3}
  for path, wire in wires.items():
    for group in wire.makes or ():
      kernel = _layer(params, path)['kernel']
      sizes[group] = kernel.shape[-1] // len(wire.makes)
  return sizes


def _groups(path, leaf, wires):
  """(groups along the axis before the last, along the last) of a leaf."""
  wire = wires.get(tuple(part.key for part in path[:-1]))
  if wire is None:
    return None, None
  # A kernel [3, 3, c] is depthwise.
  return wire.reads if leaf.ndim == 4 else None, wire.makes


def _places(groups, kept, sizes):
  """The kept channels of groups that are concatenated."""
  places, begin = [], 0
  for group in groups:
    places.append(begin + kept.get(group, np.arange(sizes[group])))
    begin += sizes[group]
  return np.concatenate(places)
