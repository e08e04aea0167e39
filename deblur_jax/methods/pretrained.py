"""First weights of a network: from a run, a bundled model or a file."""

import logging
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from deblur_jax import errors, models
from deblur_jax.config import call, require
from deblur_jax.methods import weight_fading
from deblur_jax.models import maxim_files
from deblur_jax.ops import array_files, weight_files
from deblur_jax.pretrained import cards
from deblur_jax.state import Array, Params, check_same_shapes
from deblur_jax.training import parallel, workdir

# The network that restores, as the methods call it.
ROLES = ('net', 'generator', 'to_sharp')


class Start(NamedTuple):
  """Where weights are: the leaves init_from, teacher, restorer of methods.

  Attributes:
    path: a run's folder; the name of a bundled model, from any working
      directory; the card NAME.json of such a model, or NAME.safetensors beside
      it; MAXIM's weights, see `models.maxim_files`; or an .npz of parameters by
      network, as `experiments.prior --params` and `experiments.prior_start`
      write it. None for random weights: a checkpoint replaces them, or it is a
      trial.
    which: of a run, the 'last' or 'best' checkpoint, or a step.
    role: which of its networks; '' takes the one of `ROLES` that it
      has.
  """

  path: str | None
  which: str = 'last'
  role: str = ''


def read(
    options: Mapping[str, Any], *, where: str = 'method.init_from') -> Start:
  """Reads a leaf of a config.

  Args:
    options: the leaf.
    where: its place in the config, for messages.

  Raises:
    UserError: not of this form.
  """
  if not isinstance(options, Mapping):
    raise errors.UserError(
        f'{where} must be a dict with a path, such as dict(path={options!r}); '
        f'on the command line --config.{where}.path={options}.')
  return call(Start, options, where=where)


def restorer(nets: Mapping[str, Any], *, where: str) -> str:
  """The name of the network that restores.

  Args:
    nets: by name.
    where: the config or run that has them, for the message.

  Raises:
    UserError: no such network.
  """
  for role in ROLES:
    if role in nets:
      return role
  raise errors.UserError(
      f'{where} has no network that restores, one of {", ".join(ROLES)}, '
      f'but {", ".join(nets) or "none"}.')


def network(start: Start) -> dict[str, Any]:
  """The keywords of `models.build` for the network of a run, model or file.

  Raises:
    UserError: no run or card there, or no such network in it.
  """
  nets = _networks(start)
  return dict(nets[_role(start, nets)])


def weights(
    net: nn.Module, start: Start, *, where: str = 'nets.net',
    incomplete: bool = False) -> Params | None:
  """The parameters, NumPy; averaged where a run averages. None without a path.

  Args:
    net: the network as it is built here; it may read less than there is.
    start: where they are.
    where: the place of `net` in the config.
    incomplete: whether parameters that only training reads may be missing;
      `begin` draws them.

  Raises:
    UserError: no checkpoint or file, or `net` is not that network.
  """
  if start.path is None:
    return None
  if _form(start) != 'parameters':     # which knows no options
    check_alike(net, start, where=where)
  role, found = _found(start)
  found = models.own(net, found)
  expected, names = _flat(models.shapes(net)), _flat(found).keys()
  missing = [name for name in expected if name not in names]
  if incomplete and set(missing) <= models.training_only(net):
    if missing:
      logging.warning(
          '%s lacks %s: only training needs them; they start at random values',
          start.path, maxim_files.some(missing))
  elif missing:
    raise errors.UserError(
        f'{start.path} lacks {len(missing)} of the {len(expected):,} arrays of '
        f'{where}: {maxim_files.some(missing)}.')
  there = {name: leaf for name, leaf in expected.items()
           if name not in missing}
  check_same_shapes(
      {role: found}, {role: traverse_util.unflatten_dict(there, sep='/')},
      what=str(start.path))
  return found


def begin(net: nn.Module, known: Params | None, key: Array) -> Params:
  """First parameters: those that `weights` found, and the rest random.

  Args:
    net: the network.
    known: of `weights`.
    key: PRNG key of the random ones.
  """
  if known and models.training_only(net) <= _flat(known).keys():
    return known
  return models.init(net, key, known=known)


def any_weights(start: Start) -> Params:
  """As `weights`, for the network at the path, without a check."""
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
    raise errors.UserError(
        f'{where} is a {type(net).__name__}, but {start.path} has a '
        f'{type(theirs).__name__}.')
  # How it computes does not matter, nor over what it averages in restoring.
  but = (*but, 'parent', 'name', 'dtype', 'remat', 'dropout', 'local')
  but += models.fewer(net, theirs)
  for option in net.__dataclass_fields__:
    here, there = (_plain(getattr(one, option)) for one in (net, theirs))
    if option not in but and here != there:
      raise errors.UserError(
          f'{where}.{option} is {here}, but {there} in {start.path}.')
  return theirs


def _form(start) -> str:
  """What lies at the path: 'run', 'card', 'maxim' or 'parameters'."""
  path = pathlib.Path(start.path)
  if (path / workdir.CONFIG).exists():
    return 'run'
  if _card_path(start):
    return 'card'
  if maxim_files.holds(path):
    return 'maxim'
  if path.suffix in maxim_files.SUFFIXES and not path.exists():
    raise errors.UserError(f'No file {path}: it should be weights of a model.')
  if path.suffix == '.npz':
    return 'parameters'
  if path.suffix == '.safetensors':
    raise errors.UserError(
        f'{path} does not say what network it is of: no card beside it, '
        f'{path.with_suffix(".json").name}, and it is not of MAXIM.')
  if path.name == str(start.path) and not path.exists():
    cards.card(start.path)    # the error that names the nearest one
  return 'run'


def _card_path(start) -> pathlib.Path | None:
  """The path of a bundled model's card, by name, card or weights."""
  path = pathlib.Path(start.path)
  if start.path in cards.names():
    return cards.SHIPPED / f'{start.path}.json'
  card = path.with_suffix('.json')
  if path.suffix in ('.json', '.safetensors') and card.is_file():
    return card
  return None


def _found(start) -> tuple[str, Params]:
  form = _form(start)
  if form == 'parameters':
    found = array_files.load_tree(
        start.path, what='parameters by network, or the folder of a run')
  elif form == 'maxim':
    found = {ROLES[0]: maxim_files.read(start.path).params}
  elif form == 'card':
    card, path = _card(start), pathlib.Path(start.path)
    if path.suffix != '.safetensors':
      path = _card_path(start).with_name(
          require(card, 'weights', where=str(_card_path(start))))
    weight_files.check_sha256(path, card['sha256'])
    found = {ROLES[0]: weight_files.read_tree(
        path, what='the weights of a bundled model')}
  else:
    found = _restored(start)
  role = _role(start, found)
  # Files may hold half precision, and what learns is float32.
  return role, jax.tree.map(
      lambda leaf: np.asarray(leaf, np.float32), found[role])


def _networks(start) -> dict[str, Any]:
  """Of each network the keywords of `models.build`, by role."""
  form = _form(start)
  if form == 'parameters':
    raise errors.UserError(
        f'{start.path} does not say what network it is of: give the folder of '
        'a run.')
  if form == 'maxim':
    return {ROLES[0]: maxim_files.read(start.path).network}
  if form == 'card':
    return {ROLES[0]: _card(start)['net']}
  return workdir.read_config(pathlib.Path(start.path))['nets']


def _card(start) -> dict[str, Any]:
  """Of a bundled model, with its net and its sha256."""
  path = _card_path(start)
  card = workdir.read_json(path)
  require(card, 'sha256', where=str(path))
  require(require(card, 'net', where=str(path)), 'name',
          where=f'{path}.net')
  return card


def _flat(params) -> dict[str, Any]:
  return traverse_util.flatten_dict(params, sep='/')


def _restored(start) -> dict[str, Params]:
  """The parameters of a run with which it restores, by network."""
  from deblur_jax.training import checkpoint  # orbax takes seconds

  _networks(start)   # first, what is missing where there is no run
  checkpoints = checkpoint.Checkpoints(
      pathlib.Path(start.path) / workdir.CHECKPOINTS, read_only=True)
  everywhere = parallel.replicated(parallel.data_mesh())
  state = checkpoints.at(
      start.which, lambda step: checkpoints.read(step, everywhere))
  checkpoints.close()
  params = jax.tree.map(np.asarray, {**state['params'], **state['ema']})
  fade = workdir.read_config(pathlib.Path(start.path))['method'].get('fade')
  if fade:
    role = ROLES[0]
    faded = weight_fading.build(models.build(**_networks(start)[role]), fade)
    params[role] = jax.tree.map(
        np.asarray, faded(params[role], state['step']))
  return params


def _role(start, nets: Mapping[str, Any]) -> str:
  if start.role:
    require(nets, start.role, where=f'{start.path}: nets')
    return start.role
  return restorer(nets, where=start.path)


def _plain(value):
  return list(value) if isinstance(value, list | tuple) else value
