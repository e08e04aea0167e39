r"""Evaluates restored pictures of any program by the metrics of evaluation.

  python -m experiments.evaluate_folder --restored=DIR --sharp=DIR --blur=DIR \
      --metrics=ms_ssim_luma,psnr_ecc --out=FILE.json

--oracle=DIR, pictures that the same method restored with the true kernels, adds
Levin's error ratio. --kernels=FILE_OR_DIR adds the reblur residual.
--kohler=DIR adds that benchmark's own PSNR and MS-SSIM, the best over all its
sharp frames.
"""

import pathlib
import sys

import tqdm
from absl import flags

from experiments import common, metric_flags

_RESTORED = flags.DEFINE_string(
    'restored', None, 'Folder of the restored pictures.', required=True)
_SHARP = flags.DEFINE_string('sharp', None, 'Folder of the sharp pictures.')
_BLUR = flags.DEFINE_string('blur', None, 'Folder of the blurry pictures.')
_ORACLE = flags.DEFINE_string(
    'oracle', None, 'Folder of pictures restored with the true kernels.')
_KERNELS = flags.DEFINE_string(
    'kernels', None, 'File (npz, npy or picture), or a folder with a file for '
    'each picture.')
_CORRELATION = flags.DEFINE_bool(
    'correlation', False, 'The kernels are stored for cross-correlation.')
_GAMMA = flags.DEFINE_float(
    'gamma', 1.0, 'Gamma of the camera, where the kernels blurred light.')
_KOHLER = flags.DEFINE_string('kohler', None, "Folder of Koehler's benchmark.")
_OUT = flags.DEFINE_string(
    'out', None, 'JSON file to write, one row a picture.')


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.evaluation import folders
  from deblur_jax.ops import atomic_files
  from deblur_jax.training import workdir

  if _OUT.value:
    atomic_files.check(_OUT.value)
  with tqdm.tqdm(file=sys.stderr, unit='picture', disable=None) as bar:
    result = folders.run(
        _RESTORED.value, sharp=_SHARP.value, blur=_BLUR.value,
        oracle=_ORACLE.value, kernels=_KERNELS.value,
        correlation=_CORRELATION.value, gamma=_GAMMA.value,
        kohler=_KOHLER.value, metrics=metric_flags.chosen(),
        on_picture=lambda done: bar.update(done - bar.n))
  metric_flags.show(result)
  if missing := result.get('without_partner'):
    more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
    print(f'{missing[0]}{more} of --sharp: no restored picture has this name; '
          f'the means are over {len(result["rows"])} pictures.',
          file=sys.stderr)
  if _OUT.value:
    workdir.write_json(pathlib.Path(_OUT.value), result)


if __name__ == '__main__':
  common.run(main)
