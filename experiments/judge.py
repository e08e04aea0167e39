r"""A run on real blurry photos, of which nobody has the sharp ones.

  python -m experiments.judge --workdir=DIR --photos=DIR_OF_BLURRY_PHOTOS \
      --niqe=niqe_pris_params.npz --detector=yolox_nano.onnx

Prints, for the untouched photos and for the restored ones: NIQE; the distance
of their gradients from those of natural photos (of --natural=DIR); how many
objects a detector finds and how sure it is of them; and what is left when the
restored photo is blurred again, by the kernel that the run tells or, where it
predicts none, by one that was estimated classically. Writes DIR/judge.json,
DIR/judge_pictures/ and a sheet for the eye, which decides.
"""

import sys

import tqdm
from absl import flags

from experiments import common

_PHOTOS = flags.DEFINE_string('photos', None, 'Folder.', required=True)
_NIQE = flags.DEFINE_string('niqe', None, "File of NIQE's parameters.")
_NATURAL = flags.DEFINE_string(
    'natural', None, 'Folder of sharp photos; by default few built-in ones.')
_DETECTOR = flags.DEFINE_string(
    'detector', None, 'ONNX file of the YOLO family.')
_SIZE = flags.DEFINE_integer(
    'size', 31, 'Of kernels, where the run predicts none.')
_GAMMA = flags.DEFINE_float('gamma', 1.0, 'Of the camera.')
_LIMIT = flags.DEFINE_integer('limit', None, 'Only the first so many photos.')
_NAME = flags.DEFINE_string('name', 'judge', 'Of the file, without .json.')
_SHEET = flags.DEFINE_integer(
    'pictures', 8, 'How many are on the sheet.', lower_bound=1)
_WHICH = flags.DEFINE_string('which', 'last', 'last, best, or a step.')
common.define_run_flags()


def main(argv):
  del argv
  from deblur_jax.evaluation import no_reference
  from deblur_jax.training import workdir

  folder = common.workdir()
  config = workdir.read_json(folder / workdir.CONFIG)
  pictures = []
  with tqdm.tqdm(file=sys.stderr, unit='photo', disable=None) as bar:
    def look(name, shown):
      bar.update()
      if len(pictures) < _SHEET.value:
        pictures.append((name, shown))

    result = no_reference.run(
        config, folder, photos=_PHOTOS.value, niqe=_NIQE.value,
        natural_photos=_NATURAL.value, detector=_DETECTOR.value,
        size=_SIZE.value, gamma=_GAMMA.value, limit=_LIMIT.value,
        which=_WHICH.value, name=_NAME.value, on_picture=look)
  sheet = folder / f'{_NAME.value}.png'
  sheet.write_bytes(_sheet(pictures))
  _show(result)
  print(f'{len(result["rows"])} photos, reblurred by kernels of the '
        f'{"run" if result["kernels"] == "run" else "classical estimate"}; '
        f'look at {sheet}.')


def _sheet(pictures):
  from deblur_jax.data import images
  from deblur_jax.evaluation.report import figures

  return figures.sheet([
      figures.Picture(name, {key: images.to_uint8(image)
                             for key, image in shown.items()})
      for name, shown in pictures])


def _show(result):
  """The untouched photos on top; natural ones below, where that is known."""
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
