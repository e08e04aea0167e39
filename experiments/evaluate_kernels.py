r"""Evaluates the kernels that a run predicts from blurry pictures.

  python -m experiments.evaluate_kernels --workdir=DIR --photos=DIR \
      --kernels=motion_kernels.npz

Held-back kernels blur held-back photos. The score is the correlation of the
predicted and the true kernel at their best shift; it is 1 where they are equal.
Writes DIR/kernels.json. --classical also scores blind estimation without
learning.
"""

import sys

import tqdm
from absl import flags

from experiments import common

_PHOTOS = flags.DEFINE_string(
    'photos', None, 'Folder of sharp photos that were not trained on.',
    required=True)
_KERNELS = flags.DEFINE_string(
    'kernels', None, 'File (.npz, .npy or picture) or folder.', required=True)
_CROP = flags.DEFINE_integer('crop', 128, 'Side of the pictures, pixels.',
                             lower_bound=1)
_GAMMA = flags.DEFINE_float('gamma', 1.0, 'Gamma of the simulated camera.')
_LIMIT = flags.DEFINE_integer(
    'limit', None, 'Use only N kernels, evenly spaced.', lower_bound=1)
_CLASSICAL = flags.DEFINE_bool(
    'classical', False, 'Also score a classical estimate; seconds a picture.')
_WHICH = flags.DEFINE_string('which', 'last', 'last, best, or a step.')
common.define_workdir()


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.evaluation import blur_estimates
  from deblur_jax.training import workdir

  folder = common.workdir()
  config = workdir.read_config(folder)
  with tqdm.tqdm(file=sys.stderr, unit='kernel', disable=None) as bar:
    result = blur_estimates.kernels(
        config, folder, photos=_PHOTOS.value, kernels=_KERNELS.value,
        crop=_CROP.value, gamma=_GAMMA.value, limit=_LIMIT.value,
        classical=_CLASSICAL.value, which=_WHICH.value,
        on_kernel=lambda done: bar.update(done - bar.n))
  for key in ('classical', 'likeness'):
    if key in result:
      print(f'{key} {result[key]:.3f} (median)')
  print(f'{result["kernels"]} kernels; {result["left_out"]} larger than '
        f'{result["size"]} pixels were left out.')


if __name__ == '__main__':
  common.run(main)
