"""The methods: `build(config)` makes one from nets, optimizers and options."""

from collections.abc import Mapping
from typing import Any

from deblur_jax import models, optim, types
from deblur_jax.methods import (
    adversarial,
    blind_prior,
    blur_type,
    classical,
    cycle,
    cycle_physics,
    deep_prior,
    double_prior,
    kernel,
    supervised,
)
from deblur_jax.types import Method

METHODS = {
    'adversarial': adversarial.make,
    'blind_prior': blind_prior.make,
    'blur_type': blur_type.make,
    'classical': classical.make,
    'cycle': cycle.make,
    'cycle_physics': cycle_physics.make,
    'deep_prior': deep_prior.make,
    'double_prior': double_prior.make,
    'kernel': kernel.make,
    'supervised': supervised.make,
}


def build(
    config: Mapping[str, Any], *, from_checkpoint: bool = False) -> Method:
  """The method that `config` (plain dicts) describes.

  Args:
    config: its leaves `nets.*` go to `models.build`, `optim.*` to
      `optim.build`, `method` to the row of METHODS that it names.
    from_checkpoint: its state will be a checkpoint's, which has the weights of
      frozen networks too: their files are not looked for, nor is a start's.

  Raises:
    UserError: unknown names and keys, values out of range.
  """
  nets = {key: models.build(**kwargs)
          for key, kwargs in config['nets'].items()}
  steps = config['total_steps']
  txs = {key: types.call(optim.build, dict(kwargs, total_steps=steps),
                         where=f'optim.{key}')
         for key, kwargs in config['optim'].items()}
  kwargs = dict(config['method'])
  if from_checkpoint and kwargs.get('features'):
    kwargs['features'] = dict(kwargs['features'], path=None)
  if from_checkpoint and 'start' in kwargs:
    kwargs['start'] = None
  make = types.look_up(METHODS, kwargs.pop('name', None), what='method.name')
  return types.call(make, kwargs, args=(nets, txs), where='method')
