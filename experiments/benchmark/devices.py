r"""Compares the losses of a run on different numbers of devices.

  XLA_FLAGS=--xla_force_host_platform_device_count=8 \
      python -m experiments.benchmark devices --steps=30 \
      --config=configs/multiscale_gopro.py:debug --config.batch_size=16

Each number of --devices trains from the same weights on the same batches. The
largest relative difference of a loss from that of the first number is printed
for float32 and bfloat16, after the first step and in all steps.
"""

import functools
import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from deblur_jax import errors
from deblur_jax.training import loop, train
from experiments import config_flag

DTYPES = ('float32', 'bfloat16')


def define_flags() -> None:
  """Those of this subject."""
  config_flag.define()
  flags.DEFINE_list('devices', ['1', '8'], 'Numbers of devices.')
  flags.DEFINE_integer('steps', 30, 'Steps of training.', lower_bound=1)


def main(argv):
  """Prints a line of JSON for each dtype and number of devices."""
  del argv
  values = flags.FLAGS
  config = config_flag.value()
  if config is None:
    raise errors.UserError('Give --config.')
  counts = numbers(values.devices)
  for row in compare(config.to_dict(), counts, steps=values.steps):
    print(json.dumps(row), flush=True)


def numbers(words: Sequence[str]) -> list[int]:
  """--devices as numbers: ['1', '8'] -> [1, 8].

  Args:
    words: of the flag.

  Raises:
    UserError: a word is no positive number, or there is none to compare with.
  """
  if len(words) < 2 or not all(
      word.isdecimal() and int(word) for word in words):
    raise errors.UserError(
        f'--devices must be numbers such as 1,8, got {",".join(words)!r}.')
  return [int(word) for word in words]


def compare(
    config: dict[str, Any], counts: Sequence[int], *, steps: int
) -> list[dict[str, Any]]:
  """Trains on each number of devices, in each dtype of the networks.

  Args:
    config: plain dicts, with a batch_size.
    counts: numbers of devices; the others are compared with the first.
    steps: of training.

  Returns:
    A row each: dtype, devices, `first` and `largest`, the relative difference
    of the loss in the first step and the largest one of all steps.

  Raises:
    UserError: no batch_size, fewer devices than a number, or a fault of the
      config.
  """
  train.check(config)
  if config['batch_size'] is None:
    raise errors.UserError('Give a --config.batch_size, the same for all.')
  rows = []
  for dtype in DTYPES:
    nets = {name: net | {'dtype': dtype} if 'dtype' in net else net
            for name, net in config['nets'].items()}
    losses_on = functools.partial(
        losses, config | {'nets': nets, 'total_steps': steps})
    first = losses_on(counts[0])
    for count in counts[1:]:
      difference = np.abs(losses_on(count) / first - 1)
      rows.append({
          'dtype': dtype, 'devices': [counts[0], count],
          'first': float(difference[0]), 'largest': float(difference.max())})
  return rows


def losses(config: dict[str, Any], count: int) -> np.ndarray:
  """The losses of a run.

  Args:
    config: plain dicts.
    count: the number of devices that it uses.

  Returns:
    The loss of each step, float64 [steps].

  Raises:
    UserError: there are fewer devices, or a fault of the config.
  """
  if count > jax.device_count():
    raise errors.UserError(
        f'--devices has {count}, and there are {jax.device_count()}; on CPUs '
        'XLA_FLAGS=--xla_force_host_platform_device_count=N makes more.')
  parts = train.setup(config, devices=jax.devices()[:count])
  found = []
  loop.fit(parts.step, parts.init(), parts.batches(0), parts.key,
           config['total_steps'],
           hooks=[lambda step, state, metrics: found.append(
               float(metrics['loss']))])
  return np.asarray(found)
