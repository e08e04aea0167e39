"""Training without pairs: the restored picture, blurred, is the input."""

import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from deblur_jax.evaluation import test_sets
from deblur_jax.training import train
from experiments import common, config_flag


def plan(
    config: str = f'{common.ROOT}/configs/cycle_physics.py:small',
    settings: Mapping[str, Any] = MappingProxyType({'total_steps': 400})
) -> dict[str, Any]:
  """The config of the training, as plain dicts.

  Args:
    config: the file of the method and its networks.
    settings: keys of the config with other values, as --config.KEY=VALUE.
  """
  # A training set in halves: the blurred pictures of one half, the sharp ones
  # of the other. The test set has pairs, to measure with. data.blur would blur
  # sharp photos in the step; these pictures are blurred already.
  pictures = {
      'data.train': {'name': 'builtin', 'split': 'train', 'halves': True},
      'data.test': {'name': 'builtin', 'split': 'test'}, 'data.blur': {}}
  return config_flag.resolve(config, {**pictures, **settings})


def run(out: pathlib.Path, **options) -> dict[str, Any]:
  """Trains `cycle_physics` on built-in photographs of which none has a partner.

  Args:
    out: gets the folder of the run.
    **options: of `plan`.

  Returns:
    The content of eval.json.
  """
  config = plan(**options)

  # What is trained: a network that restores, one that predicts kernels, and a
  # discriminator of sharp pictures. The weights of the loss are in the config.
  print('networks:', ', '.join(config['nets']))
  print('weights:', {term: weight for term, weight
                     in config['method']['weights'].items() if weight})

  # The logs have each term of the loss, and warn of collapse.
  train.run(config, out / 'run')
  result = test_sets.run(config, out / 'run')
  print(f'PSNR {result["mean"]["psnr_uint8"]:.2f} dB, of the untouched input '
        f'{result["input"]["psnr_uint8"]:.2f} dB')
  return result
