r"""Draws the manual's gallery: built-in photographs, blurred and restored.

  python -m experiments.release.draw_gallery [--model=maxim-2]

Each blur of BLURS becomes docs/gallery/NAME.jpg, a crop of the blurred picture,
the restored and the sharp one, and a row of docs/gallery/gallery.json with the
PSNR of the whole pictures. Blurs that the model does not remove are among them.
"""

import json
import pathlib

import numpy as np
from absl import flags

from experiments import common

_MODEL = flags.DEFINE_string('model', 'maxim-2', 'A name of `deblur models`.')
_OUT = flags.DEFINE_string(
    'out', str(common.ROOT / 'docs' / 'gallery'), 'Folder to write.')
QUALITY, GAP, SIDE = 85, 4, 224    # of the crops, in pixels
# Name -> (photo of scikit-image, what it shows, blur and its options, seed).
BLURS = {
    'object': ('coffee', 'A moving camera and a moving object', dict(
        kind='dynamic_scene', shift=8, object_shift=8), 1),
    'shake': ('astronaut', 'A camera that turns in the hand', dict(
        kind='camera_shake', rotation=0.02, roll=0.01, frames=61), 3),
    'line': ('chelsea', 'A straight motion of 15 pixels', dict(
        kind='line', size=15, length=(15, 15)), 2),
    'long': ('coffee', 'A straight motion of 41 pixels', dict(
        kind='line', size=41, length=(41, 41)), 4),
    'loop': ('astronaut', 'A path with loops, 31 pixels', dict(
        kind='trajectory', size=31), 5),
    'focus': ('chelsea', 'Out of focus: a disk of 11 pixels', dict(
        kind='disk', size=13, radius=(5.5, 5.5)), 0),
    'noise': ('coffee', 'Motion, noise, and JPEG of low quality', dict(
        kind='line', size=15, length=(15, 15),
        camera=dict(quality=(30, 30))), 2),
    'sharp': ('astronaut', 'Nothing is blurred', None, 0),
}


def main(argv):
  """Runs the program."""
  del argv
  import skimage.data
  from PIL import Image

  from deblur_jax.app import restoring
  from deblur_jax.ops import atomic_files, bit_depth

  folder = pathlib.Path(_OUT.value)
  folder.mkdir(parents=True, exist_ok=True)
  network = restoring.Network(_MODEL.value, blur_threshold=0)
  rows = []
  for name, (photo, title, options, seed) in BLURS.items():
    sharp = getattr(skimage.data, photo)() / np.float32(255)
    blurred = as_file(blur(sharp, options, seed))
    restored, _ = restoring.restored(blurred, network)
    triple = [bit_depth.to_uint8(one) for one in (blurred, restored, sharp)]
    Image.fromarray(side_by_side(triple)).save(
        folder / f'{name}.jpg', quality=QUALITY)
    rows.append({
        'name': name, 'title': title, 'model': _MODEL.value,
        'blur': options, 'psnr': [psnr(one, triple[-1]) for one in triple[:2]]})
    print(f'{name}: {rows[-1]["psnr"]}', flush=True)
  atomic_files.write(
      folder / 'gallery.json', json.dumps(rows, indent=1) + '\n')


def blur(sharp, options, seed) -> np.ndarray:
  """Blurs a picture.

  Args:
    sharp: float32 [h, w, 3] in [0, 1].
    options: of `blur.build`; None leaves it sharp.
    seed: of the blur.
  """
  import jax

  from deblur_jax import blur as blurs

  if options is None:
    return sharp
  build = blurs.build(**options)
  return np.asarray(build(jax.random.key(seed), sharp[None])['blur'][0])


def as_file(image) -> np.ndarray:
  """A picture as a PNG keeps it: 256 levels."""
  from deblur_jax.ops import bit_depth

  return bit_depth.to_float(bit_depth.to_uint8(np.clip(image, 0, 1)))


def side_by_side(pictures) -> np.ndarray:
  """Crops of the middle, uint8, with white between them."""
  height, width = pictures[0].shape[:2]
  top, left = (height - SIDE) // 2, (width - SIDE) // 2
  crops = [one[top:top + SIDE, left:left + SIDE] for one in pictures]
  white = np.full((SIDE, GAP, 3), 255, np.uint8)
  return np.concatenate(
      [part for crop in crops for part in (crop, white)][:-1], axis=1)


def psnr(image, sharp) -> float | None:
  """PSNR of 8-bit pictures in dB; None for equal ones."""
  from deblur_jax import metrics
  from deblur_jax.ops import bit_depth

  value = float(metrics.STANDARD['psnr_uint8'](
      *(bit_depth.to_float(one)[None] for one in (image, sharp)))[0])
  return round(value, 2) if np.isfinite(value) else None


if __name__ == '__main__':
  common.run(main)
