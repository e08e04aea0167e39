r"""Restores pictures with known kernels by classical deconvolution.

  python -m experiments.deconvolve --blur=DIR --kernels=FILE_OR_DIR \
      --method=hyper_laplacian --option=weight=2000 --out=OUT

Kernels are .npz, .npy or pictures: one for all, or one with each picture's
name. --turn_by=SHARP_DIR decides for each kernel whether it is stored for
convolution or for correlation. Evaluate with experiments.evaluate_folder.
"""

import sys

import tqdm
from absl import flags

from deblur_jax import errors
from experiments import common

_BLUR = flags.DEFINE_string(
    'blur', None, 'Folder of blurry pictures.', required=True)
_KERNELS = flags.DEFINE_string(
    'kernels', None, 'File or folder.', required=True)
_METHOD = flags.DEFINE_string(
    'method', 'hyper_laplacian', 'wiener, richardson_lucy, ...')
_CORRELATION = flags.DEFINE_bool(
    'correlation', False, 'The kernels are stored for cross-correlation.')
_OPTIONS = flags.DEFINE_multi_string(
    'option', [], 'An option of the method, KEY=VALUE; may be repeated.')
_TURN_BY = flags.DEFINE_string(
    'turn_by', None, 'Folder of the sharp pictures.')
_OUT = flags.DEFINE_string('out', None, 'Folder to write.', required=True)


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.evaluation import nonblind_deconvolution

  with tqdm.tqdm(file=sys.stderr, unit='picture', disable=None) as bar:
    turned = nonblind_deconvolution.run(
        _BLUR.value, _KERNELS.value, _OUT.value, method=_METHOD.value,
        options=dict(map(errors.key_and_value, _OPTIONS.value)),
        correlation=_CORRELATION.value, turn_by=_TURN_BY.value,
        on_picture=lambda done: bar.update(done - bar.n))
  count = sum(turned.values())
  print(f'{len(turned)} pictures are in {_OUT.value}; {count} kernels turned.')


if __name__ == '__main__':
  common.run(main)
