"""Trains a config: python -m experiments.train --config=FILE --workdir=DIR.

A run that is there already, also one made by experiments.convert, goes on by
its own config without --config.

Exit codes: 0 trained to the end, 2 one line says what is wrong, 143 stopped by
SIGTERM after saving; the same command goes on.
"""

import sys

from absl import flags
from ml_collections import config_flags

from experiments import common

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'By default that of the run in --workdir.',
    lock_config=True)
_ALLOW = flags.DEFINE_bool(
    'allow_config_change', False, 'Go on in a folder whose config differs.')
_EVALUATE = flags.DEFINE_bool(
    'evaluate', False, 'When trained to the end, evaluate at once.')
common.define_run_flags()


def main(argv):
  del argv
  common.join_processes()
  from deblur_jax import errors
  from deblur_jax.evaluation import test_sets
  from deblur_jax.training import train, workdir

  folder = common.workdir()
  if _CONFIG.value is not None:
    config = _CONFIG.value.to_dict()
  elif (folder / workdir.CONFIG).exists():
    config = workdir.read_json(folder / workdir.CONFIG)
  else:
    raise errors.UserError(
        f'--config is missing, and {folder} holds no run that has one.')
  result = train.run(config, folder, allow_config_change=_ALLOW.value)
  if not result.finished:
    print(f'Stopped after step {result.step}, which is saved; the same command '
          'goes on from there.', file=sys.stderr)
    return 143
  if _EVALUATE.value:
    test_sets.run(config, folder)
  return 0


if __name__ == '__main__':
  common.run(main)
