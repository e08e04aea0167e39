"""Evaluates a run that classifies the type of blur, by its confusion matrix.

  python -m experiments.evaluate_blur_type --workdir=DIR --photos=DIR

Each held-back photo is blurred four times, each time by a random type, and is
also used as it is. Rows are the true types, columns the predicted ones. Writes
DIR/blur_types.json. --labelled uses the pictures as they are, in folders named
motion, defocus, gaussian, mixed, none.
"""

import sys

import tqdm
from absl import flags

from experiments import common

_PHOTOS = flags.DEFINE_string(
    'photos', None, 'Folder of photos that were not trained on.', required=True)
_LABELLED = flags.DEFINE_bool(
    'labelled', False, 'The folders of the photos name their types.')
_CROP = flags.DEFINE_integer('crop', 128, 'Side of the pictures, pixels.',
                             lower_bound=1)
_LIMIT = flags.DEFINE_integer(
    'limit', None, 'Use only N photos, evenly spaced.', lower_bound=1)
_WHICH = flags.DEFINE_string('which', 'last', 'last, best, or a step.')
common.define_workdir()


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.evaluation import blur_estimates
  from deblur_jax.evaluation.report import render
  from deblur_jax.training import workdir

  folder = common.workdir()
  config = workdir.read_config(folder)
  with tqdm.tqdm(file=sys.stderr, unit='picture', disable=None) as bar:
    result = blur_estimates.blur_types(
        config, folder, photos=_PHOTOS.value, labelled=_LABELLED.value,
        crop=_CROP.value, limit=_LIMIT.value, which=_WHICH.value,
        on_picture=lambda done: bar.update(done - bar.n))
  accuracy = result['accuracy']
  lines = [[name, *map(str, row), render.number(accuracy[name], 3)]
           for name, row in zip(
               result['names'], result['confusion'], strict=True)
           if name in accuracy]
  print(render.table(['truth', *result['names'], 'accuracy'], lines), end='')
  print(f'all {accuracy["all"]:.3f}')


if __name__ == '__main__':
  common.run(main)
