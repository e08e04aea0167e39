"""Trains a config: python -m experiments.train --config=FILE --workdir=DIR.

Without --config it resumes the run in --workdir by that run's own config, also
a run that experiments.convert_weights wrote.

Exit codes: 0 trained to the end, 2 one line says what is wrong, 143 stopped by
SIGTERM or Ctrl-C after saving, 130 by Ctrl-C before the first step ended; the
same command resumes.
"""

import sys

from absl import flags

from experiments import common, config_flag

config_flag.define('By default the config of the run in --workdir.')
_ALLOW = flags.DEFINE_bool(
    'allow_config_change', False, 'Resume in a folder whose config differs.')
_RESUME = flags.DEFINE_enum(
    'resume', 'newest', ['newest', 'newest_good'], 'From the newest checkpoint,'
    ' or from the newest one that is not damaged.')
_EVALUATE = flags.DEFINE_bool(
    'evaluate', False, 'Evaluate the run after training.')
common.define_workdir()
common.define_process_flags()


def main(argv):
  """Returns the exit code."""
  del argv
  common.join_processes()
  from deblur_jax import errors
  from deblur_jax.evaluation import test_sets
  from deblur_jax.training import train, workdir

  folder = common.workdir()
  config = config_flag.value()
  if config is not None:
    config = config.to_dict()
  elif (folder / workdir.CONFIG).exists():
    config = workdir.read_config(folder)
  else:
    raise errors.UserError(
        f'--config is missing, and {folder} has no run to resume.')
  result = train.run(config, folder, allow_config_change=_ALLOW.value,
                     resume=_RESUME.value)
  if not result.finished:
    print(f'Stopped after step {result.step}, which is saved; the same command '
          'resumes from there.', file=sys.stderr)
    return 143
  if _EVALUATE.value:
    test_sets.run(config, folder)
  return 0


if __name__ == '__main__':
  common.run(main)
