r"""Draws the README's picture: crops of blurred pictures beside restored ones.

  python -m experiments.release.draw_readme_picture --blur=DIR --restored=DIR \
      --crops=nah_Flower:330:60,nah_Istanbul:500:150 --out=docs/before_after.jpg

A crop NAME:X:Y of --size becomes a row: the blurred picture on the left, the
restored one on the right.
"""

import pathlib
import re

import numpy as np
from absl import flags

from experiments import common

_BLUR = flags.DEFINE_string(
    'blur', None, 'Folder of blurred pictures.', required=True)
_RESTORED = flags.DEFINE_string(
    'restored', None, 'Folder of restored pictures.', required=True)
_CROPS = flags.DEFINE_list('crops', None, 'NAME:X:Y of each.', required=True)
_SIZE = flags.DEFINE_string('size', '480x270', 'Crop, WIDTHxHEIGHT.')
_GAP = flags.DEFINE_integer(
    'gap', 6, 'White pixels between crops.', lower_bound=0)
_OUT = flags.DEFINE_string('out', None, 'Picture to write.', required=True)
QUALITY = 88


def main(argv):
  """Runs the program."""
  del argv
  from PIL import Image

  width, height = _numbers(r'(\d+)x(\d+)', _SIZE.value, '--size=480x270')
  crops = [(crop.partition(':')[0], *_numbers(
      r'[^:]+:(\d+):(\d+)', crop, '--crops=nah_Flower:330:60,...'))
           for crop in _CROPS.value]
  across = np.full((height, _GAP.value, 3), 255, np.uint8)
  rows = []
  for number, (name, x, y) in enumerate(crops):
    parts = [_cut(folder, name, x, y, width, height)
             for folder in (_BLUR.value, _RESTORED.value)]
    rows.append(np.concatenate([parts[0], across, parts[1]], axis=1))
    if number + 1 < len(crops):
      rows.append(np.full((_GAP.value, rows[0].shape[1], 3), 255, np.uint8))
  path = pathlib.Path(_OUT.value)
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.concatenate(rows)).save(path, quality=QUALITY)


def _numbers(pattern, text, example):
  """The numbers that a pattern finds in the whole of a text."""
  from deblur_jax import errors

  if not (found := re.fullmatch(pattern, text)):
    raise errors.UserError(f'{text!r} is not in the form of {example}.')
  return map(int, found.groups())


def _cut(folder, name, x, y, width, height):
  from deblur_jax import errors
  from deblur_jax.config import require
  from deblur_jax.data import images

  path = images.require(folder)
  require(path, name, where=folder)
  picture = images.read(path[name])[y:y + height, x:x + width]
  if picture.shape[:2] != (height, width):
    raise errors.UserError(
        f'{path[name]} has no crop of {width}x{height} at {x}, {y}.')
  return picture


if __name__ == '__main__':
  common.run(main)
