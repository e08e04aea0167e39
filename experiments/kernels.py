r"""How right the kernels are that a run tells of blurry pictures.

  python -m experiments.kernels --workdir=DIR --photos=DIR \
      --kernels=motion_kernels.npz

Held-back kernels blur held-back photos; the correlation of the told kernel with
the true one at their best shift is 1 where they are equal. Writes
DIR/kernels.json. --classical measures blind estimation without learning beside.
"""

import sys

import tqdm
from absl import flags

from experiments import common

_PHOTOS = flags.DEFINE_string(
    'photos', None, 'Folder of sharp photos, not learned of.', required=True)
_KERNELS = flags.DEFINE_string(
    'kernels', None, '.npz, .npy, pictures, or their folder.', required=True)
_CROP = flags.DEFINE_integer('crop', 128, 'Side of the pictures.')
_GAMMA = flags.DEFINE_float('gamma', 1.0, 'Of the camera that is played.')
_LIMIT = flags.DEFINE_integer('limit', None, 'So many kernels only, evenly.')
_CLASSICAL = flags.DEFINE_bool('classical', False, 'Slow: seconds a picture.')
_WHICH = flags.DEFINE_string('which', 'last', 'last, best, or a step.')
common.define_run_flags()


def main(argv):
  del argv
  from deblur_jax.evaluation import kernels
  from deblur_jax.training import workdir

  folder = common.workdir()
  config = workdir.read_json(folder / workdir.CONFIG)
  with tqdm.tqdm(file=sys.stderr, unit='kernel', disable=None) as bar:
    result = kernels.kernels(
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
