"""A trained network out of a run's folder, for methods that begin with one."""

import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from deblur_jax import checkpoint, models, parallel, types, workdir
from deblur_jax.types import Params

# The network that restores, as the methods call it.
ROLES = ('net', 'gen', 'to_sharp')


def network(path: str | pathlib.Path, *, role: str = '') -> dict[str, Any]:
  """The keywords of `models.build` for the network with which a run restores.

  Args:
    path: the run's folder.
    role: which of its `nets`; '' is that one of ROLES which it has.

  Raises:
    UserError: no run there, or no such network in it.
  """
  config = workdir.read_json(pathlib.Path(path) / workdir.CONFIG)
  return dict(config['nets'][_role(config, path, role)])


def weights(
    net: nn.Module, path: str | pathlib.Path, *, which: str = 'last',
    role: str = '') -> Params:
  """The parameters of that network, NumPy; averaged where the run averages.

  Args:
    net: the network as it is built here.
    path, role: as of `network`.
    which: 'last' or 'best' checkpoint, or a step.

  Raises:
    UserError: no checkpoint, or `net` is not that network.
  """
  folder = pathlib.Path(path)
  config = workdir.read_json(folder / workdir.CONFIG)
  role = _role(config, path, role)
  checkpoints = checkpoint.Checkpoints(
      folder / workdir.CHECKPOINTS, read_only=True)
  state = checkpoints.read(
      checkpoints.find(which), parallel.replicated(parallel.data_mesh()))
  checkpoints.close()
  averaged = state['extra'].get('ema') or {}
  params = jax.tree.map(np.asarray, averaged.get(role, state['params'][role]))
  here, there = map(_shapes, (models.shapes(net), params))
  if here != there:
    name = min(name for name in here.keys() | there.keys()
               if here.get(name) != there.get(name))
    raise types.UserError(
        f'{path} has another network: {name} is '
        f'{there.get(name, "absent")} there, {here.get(name, "absent")} here; '
        'see nets in its config.json.')
  return params


def check_alike(
    net: nn.Module, path: str | pathlib.Path, *, role: str = '',
    but: tuple[str, ...] = ()) -> nn.Module:
  """The network of a run, which may differ from `net` in the options `but`.

  Raises:
    UserError: it differs in others.
  """
  theirs = models.build(**network(path, role=role))
  if type(net) is not type(theirs):
    raise types.UserError(
        f'nets.net is a {type(net).__name__}, but {path} has a '
        f'{type(theirs).__name__}.')
  # How it computes does not matter.
  but = (*but, 'parent', 'name', 'dtype', 'remat', 'dropout')
  for option in net.__dataclass_fields__:
    here, there = (_plain(getattr(one, option)) for one in (net, theirs))
    if option not in but and here != there:
      raise types.UserError(
          f'nets.net.{option} is {here}, but {there} in {path}.')
  return theirs


def _role(config: Mapping[str, Any], path, role: str) -> str:
  nets = config['nets']
  if role:
    types.require(nets, role, where=f'{path}: nets')
    return role
  for role in ROLES:
    if role in nets:
      return role
  raise types.UserError(
      f'{path} has no network that restores, one of {", ".join(ROLES)}: its '
      f'method is {config["method"].get("name")}.')


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
  return {'/'.join(part.key for part in path): tuple(leaf.shape)
          for path, leaf in jax.tree.leaves_with_path(params)}


def _plain(value):
  return list(value) if isinstance(value, list | tuple) else value
