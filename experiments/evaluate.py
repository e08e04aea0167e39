r"""Evaluates a run on a test set: python -m experiments.evaluate --workdir=DIR.

Writes DIR/eval.json and prints the means. DIR may also be the folder of an
ablation: all its runs are evaluated. Another test set than the run's own:

  python -m experiments.evaluate --workdir=DIR --name=eval_hide \
      --source=hide --root=HIDE_DIR

Further metrics by name, with their options after colons:

  --metrics=ms_ssim_luma,blur_effect,niqe:path=niqe_pris_params.npz
"""

import sys

from absl import flags

from experiments import common, config_flag, metric_flags, source_flags

config_flag.define(
    'If given, it must be equal to DIR/config.json but for the paths of data.')
_NAME = flags.DEFINE_string(
    'name', 'eval', 'Name of the result file, without .json.')
_ROOT = flags.DEFINE_string('root', None, 'Folder of the other test set.')
_WHICH = flags.DEFINE_string('which', 'last', 'last, best, or a step.')
_BATCH = flags.DEFINE_integer(
    'batch_size', None, 'Pictures in a batch; by default one a device.',
    lower_bound=1)
_LIMIT = flags.DEFINE_integer(
    'limit', None, 'Evaluate only the first N pictures.', lower_bound=1)
_LOCAL = flags.DEFINE_integer(
    'local', 0, 'Side in pixels of the windows over which layers take their '
    'means (TLC); 1.5 times the side of the training crops is usual. 0: the '
    "network's own choice.", lower_bound=0)
_PICTURES = flags.DEFINE_integer(
    'pictures', 4, 'How many pictures to keep as PNG.', lower_bound=0)
common.define_workdir()
common.define_process_flags()


def main(argv):
  """Returns 1 where a run was passed over, else 0."""
  del argv
  common.join_processes()
  from deblur_jax import errors
  from deblur_jax.evaluation import test_sets
  from deblur_jax.training import checkpoint, train, workdir

  expected = config_flag.value()
  other = source_flags.options(root=_ROOT.value)
  if (other or _LIMIT.value or _LOCAL.value or _WHICH.value != 'last') and (
      _NAME.value == 'eval'):
    raise errors.UserError(
        'Another test set, --limit, --local and --which need another --name, '
        'such as --name=eval_hide: eval.json describes the last checkpoint on '
        "the whole of the run's own test set.")
  folders = common.runs_in(common.workdir())
  begun = [folder for folder in folders
           if len(folders) == 1 or checkpoint.exists(
               folder / workdir.CHECKPOINTS)]
  for folder in folders:
    if folder not in begun:
      print(f'error: {folder} has no checkpoint, and is passed over.',
            file=sys.stderr)
  configs = []
  for folder in begun:         # all of them, before the first is evaluated
    config = workdir.read_config(folder)
    train.check(config)
    if expected is not None:
      wanted = train.completed_by(expected.to_dict(), config)
      workdir.check_config(folder, wanted)
      config = wanted          # its data may have moved
    configs.append(config)
  for folder, config in zip(begun, configs, strict=True):
    if len(folders) > 1:
      print(f'{folder}:')
    metric_flags.show(test_sets.run(
        config, folder, test=other or None, name=_NAME.value,
        metrics=metric_flags.chosen(), which=_WHICH.value,
        batch_size=_BATCH.value, limit=_LIMIT.value, pictures=_PICTURES.value,
        local=_LOCAL.value))
  return int(begun != folders)


if __name__ == '__main__':
  common.run(main)
