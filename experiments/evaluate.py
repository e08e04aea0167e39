"""Evaluates a run: python -m experiments.evaluate --workdir=DIR.

Writes DIR/eval.json and prints the means. The config is the run's own, unless
--config gives another (say, another test set).
"""

from absl import flags
from ml_collections import config_flags

from experiments import common

_CONFIG = config_flags.DEFINE_config_file('config', lock_config=True)
_WHICH = flags.DEFINE_string('which', 'last', 'last, best, or a step.')
_BATCH = flags.DEFINE_integer(
    'batch_size', None, 'Pictures at once; by default one a device.')
_LIMIT = flags.DEFINE_integer('limit', None, 'Only the first so many pictures.')
_PICTURES = flags.DEFINE_integer('pictures', 4, 'How many are kept as PNG.')
common.define_run_flags()


def main(argv):
  del argv
  common.join_processes()
  from deblur_jax import evaluate, train, workdir

  folder = common.workdir()
  if _CONFIG.value is None:
    config = workdir.read_json(folder / workdir.CONFIG)
  else:
    config = _CONFIG.value.to_dict()
  train.check(config)
  result = evaluate.run(
      config, folder, which=_WHICH.value, batch_size=_BATCH.value,
      limit=_LIMIT.value, pictures=_PICTURES.value)
  for title in ('input', 'mean'):
    print(title.ljust(6), '  '.join(
        f'{name} {value:.4f}' for name, value in result[title].items()))


if __name__ == '__main__':
  common.run(main)
