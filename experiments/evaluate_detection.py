r"""Evaluates restored pictures by what an object detector finds in them.

  python -m experiments.evaluate_detection --detector=yolox_nano.onnx \
      --sharp=DIR --folders=BLUR_DIR,RESTORED_DIR --out=OUT

This is the table of DeblurGAN's paper. The detector's boxes in the sharp
pictures are the truth. For runs, on the pictures that
`experiments.evaluate --pictures=N` kept:

  python -m experiments.evaluate_detection --detector=yolox_nano.onnx \
      --workdir=DIR,DIR
"""

import itertools
import sys

import tqdm
from absl import flags

from experiments import common

_DETECTOR = flags.DEFINE_string(
    'detector', None, 'ONNX file of the YOLO family.', required=True)
_SHARP = flags.DEFINE_string('sharp', None, 'Folder of the sharp pictures.')
_FOLDERS = flags.DEFINE_list(
    'folders', [], 'Folders to compare, the blurry one first; one row each.')
_WORKDIR = flags.DEFINE_list(
    'workdir', [], 'Folders of evaluated runs, or of ablations; one row a run.')
_NAME = flags.DEFINE_string(
    'name', 'eval', 'Name of the evaluation, as in experiments.evaluate.')
_FORMAT = flags.DEFINE_string(
    'format', None, 'yolox, yolox_decoded, yolov5 or yolov8; by default by the '
    'shapes of its outputs.')
_CONFIDENCE = flags.DEFINE_float(
    'confidence', 0.3, 'Lowest confidence of a box that counts.')
_OVERLAP = flags.DEFINE_float(
    'overlap', 0.5, 'Lowest IoU of a correct box.')
_OUT = flags.DEFINE_string(
    'out', None, 'Folder for detect.json and pictures with boxes.')
_PICTURES = flags.DEFINE_integer(
    'pictures', 4, 'How many pictures with boxes to write.', lower_bound=0)


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.evaluation import detection
  from deblur_jax.evaluation.report import render

  sharp, sides = _sides()
  with tqdm.tqdm(file=sys.stderr, unit='picture', disable=None) as bar:
    result = detection.run(
        _DETECTOR.value, sharp=sharp, sides=sides, form=_FORMAT.value,
        confidence=_CONFIDENCE.value, overlap=_OVERLAP.value, out=_OUT.value,
        drawn=_PICTURES.value, on_picture=lambda done: bar.update(done - bar.n))
  print(render.table(
      ['setting', 'precision', 'recall', 'F1', 'AP', 'right', 'found', 'true'],
      [[row['setting'],
        *(render.number(row[key], 3)
          for key in ('precision', 'recall', 'f1', 'ap')),
        *(str(row[key]) for key in ('right', 'found', 'truths'))]
       for row in result['rows']]), end='')


def _sides():
  """(sharp pictures, row -> its pictures), of folders and runs."""
  from deblur_jax import errors
  from deblur_jax.evaluation import detection

  sharp, sides = _SHARP.value, {folder: folder for folder in _FOLDERS.value}
  for folder in itertools.chain(*map(common.runs_in, _WORKDIR.value)):
    states = detection.kept(folder, name=_NAME.value)
    if not sharp:
      sharp, sides = states['sharp'], {'blur': states['blur'], **sides}
    sides[str(folder)] = states['restored']
  if not sharp:
    raise errors.UserError(
        'Give --sharp=DIR and --folders=DIR,DIR, or --workdir=DIR.')
  return sharp, sides


if __name__ == '__main__':
  common.run(main)
