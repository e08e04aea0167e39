r"""Evaluates a run on real blurry photos that have no sharp original.

  python -m experiments.evaluate_no_reference --workdir=DIR --blur=DIR \
      --niqe=niqe_pris_params.npz --detector=yolox_nano.onnx

Prints, for the untouched photos and for the restored ones: NIQE; the distance
of their gradients from those of natural photos (of --natural=DIR); how many
objects a detector finds, and with what confidence; and the residual after the
restored photo is blurred again. The kernel for that is the one that the run
predicts or, where it predicts none, a classical estimate. Writes
DIR/NAME.json, DIR/NAME_pictures/ and DIR/NAME.png, a sheet to look at.
"""

import sys

import tqdm
from absl import flags

from experiments import common

_BLUR = flags.DEFINE_string(
    'blur', None, 'Folder of blurry photos.', required=True)
_NIQE = flags.DEFINE_string('niqe', None, "File with NIQE's parameters.")
_NATURAL = flags.DEFINE_string(
    'natural', None, 'Folder of sharp photos; by default built-in ones.')
_DETECTOR = flags.DEFINE_string(
    'detector', None, 'ONNX file of the YOLO family.')
_KERNEL_SIZE = flags.DEFINE_integer(
    'kernel_size', 31,
    'Side of estimated kernels, where the run predicts none.', lower_bound=1)
_GAMMA = flags.DEFINE_float('gamma', 1.0, 'Gamma of the camera.')
_LIMIT = flags.DEFINE_integer('limit', None, 'Use only the first N photos.',
                              lower_bound=1)
_NAME = flags.DEFINE_string('name', 'no_reference', 'Name of the result files.')
_SHEET = flags.DEFINE_integer(
    'pictures', 8, 'How many photos the sheet shows.', lower_bound=1)
_WHICH = flags.DEFINE_string('which', 'last', 'last, best, or a step.')
common.define_workdir()


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.evaluation import no_reference
  from deblur_jax.ops import atomic_files
  from deblur_jax.training import workdir

  folder = common.workdir()
  config = workdir.read_config(folder)
  pictures = []
  with tqdm.tqdm(file=sys.stderr, unit='photo', disable=None) as bar:
    def look(name, shown):
      bar.update()
      if len(pictures) < _SHEET.value:
        pictures.append((name, shown))

    result = no_reference.run(
        config, folder, photos=_BLUR.value, niqe=_NIQE.value,
        natural_photos=_NATURAL.value, detector=_DETECTOR.value,
        kernel_size=_KERNEL_SIZE.value, gamma=_GAMMA.value,
        limit=_LIMIT.value, which=_WHICH.value, name=_NAME.value,
        on_picture=look)
  sheet = folder / f'{_NAME.value}.png'
  atomic_files.write(sheet, _sheet(pictures))
  _show(result)
  print(f'{len(result["rows"])} photos, reblurred by kernels of the '
        f'{"run" if result["kernels"] == "run" else "classical estimate"}; '
        f'see {sheet}.')


def _sheet(pictures):
  from deblur_jax.evaluation.report import figures
  from deblur_jax.ops import bit_depth

  return figures.sheet([
      figures.Picture(name, {key: bit_depth.to_uint8(image)
                             for key, image in shown.items()})
      for name, shown in pictures])


def _show(result):
  """Prints a row for the untouched, the restored and the natural photos."""
  from deblur_jax.evaluation.report import render

  names = list(result['mean'])
  lines = [[title, *(render.number(result[key][name], 4) for name in names)]
           for title, key in (('input', 'input'), ('restored', 'mean'))]
  lines.append(['natural photos', *(
      render.number(result['natural'], 4) if name == 'natural'
      else render.NOTHING for name in names)])
  print(render.table(['', *names], lines), end='')


if __name__ == '__main__':
  common.run(main)
