"""Weights to begin with: of a run's network, a shipped model's, or a file's."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from deblur_jax import models, parallel, types, workdir
from deblur_jax.ops import arrays, weight_files
from deblur_jax.types import Params

# The network that restores, as the methods call it.
ROLES = ('net', 'gen', 'to_sharp')


class Start(NamedTuple):
  """Where weights lie: what `start` and `teacher` of methods are made of.

  path: a run's folder; or NAME.safetensors of a shipped model, beside its card
    NAME.json; or an .npz of parameters by network, as
    `experiments.prior --params` and `experiments.prior_start` write it. None
    for weights by chance: where a checkpoint follows, and for trials.
  which: of a run, the 'last' or 'best' checkpoint, or a step.
  role: which of its networks; '' is that one of `ROLES` which it has.
  """

  path: str | None
  which: str = 'last'
  role: str = ''


def read(options: Mapping[str, Any], *, where: str) -> Start:
  """The Start of a config's leaf; `where` is its place, 'method.start'.

  Raises:
    UserError: not of this form.
  """
  if not isinstance(options, Mapping):
    raise types.UserError(
        f'{where} must be a dict with a path, such as dict(path={options!r}); '
        f'on the command line --config.{where}.path={options}.')
  return types.call(Start, options, where=where)


def network(start: Start) -> dict[str, Any]:
  """The keywords of `models.build` for the network of a run or shipped model.

  Raises:
    UserError: no run or card there, or no such network in it.
  """
  nets = _networks(start)
  return dict(nets[_role(start, nets)])


def weights(
    net: nn.Module, start: Start, *, where: str = 'nets.net') -> Params | None:
  """The parameters, NumPy; averaged where a run averages. None without a path.

  Args:
    net: the network as it is built here.
    start: where they are.
    where: the place of `net` in the config.

  Raises:
    UserError: no checkpoint or file, or `net` is not that network.
  """
  if start.path is None:
    return None
  if not _is_file(start):     # which knows no options
    check_alike(net, start, where=where)
  role, found = _found(start)
  types.check_same_shapes(
      {role: found}, {role: models.shapes(net)}, what=str(start.path))
  return found


def any_weights(start: Start) -> Params:
  """As `weights`, of whatever network there is at the path."""
  return _found(start)[1]


def check_alike(
    net: nn.Module, start: Start, *, but: tuple[str, ...] = (),
    where: str = 'nets.net') -> nn.Module:
  """The network at the path, which may differ from `net` in the options `but`.

  Raises:
    UserError: it differs in others.
  """
  theirs = models.build(**network(start))
  if type(net) is not type(theirs):
    raise types.UserError(
        f'{where} is a {type(net).__name__}, but {start.path} has a '
        f'{type(theirs).__name__}.')
  # How it computes does not matter.
  but = (*but, 'parent', 'name', 'dtype', 'remat', 'dropout')
  for option in net.__dataclass_fields__:
    here, there = (_plain(getattr(one, option)) for one in (net, theirs))
    if option not in but and here != there:
      raise types.UserError(
          f'{where}.{option} is {here}, but {there} in {start.path}.')
  return theirs


def _is_file(start):
  return str(start.path).endswith('.npz')


def _is_shipped(start):
  return str(start.path).endswith('.safetensors')


def _found(start) -> tuple[str, Params]:
  if _is_file(start):
    found = arrays.load_tree(
        start.path, what='parameters by network, or the folder of a run')
  elif _is_shipped(start):
    weight_files.check_sha256(start.path, _card(start)['sha256'])
    found = {ROLES[0]: weight_files.read_tree(
        start.path, what='the weights of a shipped model')}
  else:
    found = _restored(start)
  role = _role(start, found)
  return role, found[role]


def _networks(start) -> dict[str, Any]:
  """Of each network the keywords of `models.build`, by role."""
  if _is_file(start):
    raise types.UserError(
        f'{start.path} does not tell its network: give the folder of a run.')
  if _is_shipped(start):
    return {ROLES[0]: _card(start)['net']}
  return workdir.read_json(pathlib.Path(start.path) / workdir.CONFIG)['nets']


def _card(start) -> dict[str, Any]:
  """Of a shipped model, with its net and its sha256."""
  path = pathlib.Path(start.path).with_suffix('.json')
  if not path.exists():
    raise types.UserError(
        f'{start.path} does not tell its network: there is no card beside '
        f'it, {path.name}.')
  card = workdir.read_json(path)
  types.require(card, 'sha256', where=str(path))
  types.require(types.require(card, 'net', where=str(path)), 'name',
                where=f'{path}.net')
  return card


def _restored(start) -> dict[str, Params]:
  """The parameters of a run with which it restores, by network."""
  from deblur_jax import checkpoint  # orbax takes seconds

  _networks(start)   # first, what is missing where there is no run
  checkpoints = checkpoint.Checkpoints(
      pathlib.Path(start.path) / workdir.CHECKPOINTS, read_only=True)
  state = checkpoints.read(
      checkpoints.find(start.which),
      parallel.replicated(parallel.data_mesh()))
  checkpoints.close()
  averaged = state['extra'].get('ema') or {}
  return jax.tree.map(np.asarray, {**state['params'], **averaged})


def _role(start, nets: Mapping[str, Any]) -> str:
  if start.role:
    types.require(nets, start.role, where=f'{start.path}: nets')
    return start.role
  for role in ROLES:
    if role in nets:
      return role
  raise types.UserError(
      f'{start.path} has no network that restores, one of {", ".join(ROLES)}, '
      f'but {", ".join(nets) or "none"}.')


def _plain(value):
  return list(value) if isinstance(value, list | tuple) else value
