"""The methods: `build(config)` makes one from nets, optimizers and options."""

from collections.abc import Mapping
from typing import Any

from deblur_jax import errors, models
from deblur_jax.config import bind, call, require
from deblur_jax.methods import (
  adversarial,
  blind_deconvolution,
  blur_classification,
  blur_translation,
  cycle,
  cycle_physics,
  distill,
  kernel_estimation,
  pretrained,
  prune,
  quantize,
  supervised,
)
from deblur_jax.priors import blind_prior, deep_prior, double_prior
from deblur_jax.state import Method
from deblur_jax.training import optim

METHODS = {
    'adversarial': adversarial.make,
    'blind_prior': blind_prior.make,
    'blur_classification': blur_classification.make,
    'blind_deconvolution': blind_deconvolution.make,
    'cycle': cycle.make,
    'cycle_physics': cycle_physics.make,
    'deep_prior': deep_prior.make,
    'distill': distill.make,
    'double_prior': double_prior.make,
    'quantize': quantize.make,
    'kernel_estimation': kernel_estimation.make,
    'blur_translation': blur_translation.make,
    'prune': prune.make,
    'supervised': supervised.make,
}

# Options of methods that name a file or a run for its weights, as `path`.
FROZEN = ('features', 'init_from', 'restorer', 'teacher')
# Of these, options whose network `nets` may leave out, or give without a name
# and with other options than the model at the path.
OF_RUNS = {'restorer': 'restorer', 'init_from': 'net', 'teacher': 'teacher'}


def build(
    config: Mapping[str, Any], *, from_checkpoint: bool = False) -> Method:
  """The method that `config` (plain dicts) describes.

  Args:
    config: its leaves `nets.*` go to `models.build`, `optim.*` to
      `optim.build`, `method` to the row of METHODS that it names.
    from_checkpoint: its state will be a checkpoint's, which has the weights of
      frozen networks too: their files are not looked for, nor is a start's. Its
      schedules are taken as they are.

  Raises:
    UserError: unknown names and keys, values out of range.
  """
  nets, txs = _build_nets(_networks(config)), _build_optimizers(config)
  if not from_checkpoint:
    _check_schedules(config)
  kwargs = dict(config['method'])
  for key in FROZEN:
    if from_checkpoint and isinstance(kwargs.get(key), Mapping):
      kwargs[key] = dict(kwargs[key], path=None)
  make = errors.look_up(METHODS, kwargs.pop('name', None), what='method.name')
  method = call(make, kwargs, args=(nets, txs), where='method')
  for key, net in nets.items():
    if models.window(net) not in (1, method.window):
      raise errors.UserError(
          f'The method {config["method"]["name"]} learns of single pictures: '
          f'set nets.{key}.window=1, or take method.name=supervised.')
  return method


def check(config: Mapping[str, Any]) -> None:
  """Checks names and types in `nets`, `optim` and `method`; reads no file.

  Args:
    config: as of `build`. Networks of runs may have no name.

  Raises:
    UserError: as `build`.
  """
  _build_nets({key: kwargs for key, kwargs in config['nets'].items()
               if 'name' in kwargs or key not in OF_RUNS.values()})
  _build_optimizers(config)
  _check_schedules(config)
  kwargs = dict(config['method'])
  make = errors.look_up(METHODS, kwargs.pop('name', None), what='method.name')
  bind(make, kwargs, where='method')


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
  """`config` with all networks in it, to be kept beside checkpoints.

  Raises:
    UserError: no run where a teacher or a restorer should be.
  """
  return dict(config, nets=_networks(config))


def completed_by(
    config: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
  """`config` with the networks that it leaves to runs as `stored` has them.

  So that a config can be compared with one that was completed.
  """
  nets = dict(config['nets'])
  for role in OF_RUNS.values():
    given = nets.get(role, {})
    if role in stored['nets'] and 'name' not in given:
      nets[role] = {**stored['nets'][role], **given}
  return dict(config, nets=nets)


def _build_nets(nets):
  for key, kwargs in nets.items():
    require(kwargs, 'name', where=f'nets.{key}')
  return {key: models.build(**kwargs, where=f'nets.{key}')
          for key, kwargs in nets.items()}


def _build_optimizers(config):
  return {key: call(optim.build,
                    dict(kwargs, total_steps=config['total_steps']),
                    where=f'optim.{key}')
          for key, kwargs in config['optim'].items()}


def _check_schedules(config):
  for key, kwargs in config['optim'].items():
    optim.check_schedule(kwargs, where=f'optim.{key}')


def _networks(config):
  """`config.nets`, with those it lacks of OF_RUNS as their runs have them."""
  nets = dict(config['nets'])
  for option, role in OF_RUNS.items():
    given, options = nets.get(role, {}), config['method'].get(option)
    if 'name' not in given and options:
      start = pretrained.read(options, where=f'method.{option}')
      if start.path:
        nets[role] = {**pretrained.network(start), **given}
  return nets
