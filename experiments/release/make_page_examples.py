"""Makes the two blurred example photos of the page, which the package contains.

  python -m experiments.release.make_page_examples

Two photos of scikit-image, blurred by the camera shake of `deblur_jax.blur`,
become deblur_jax/app/examples/*.jpg; SOURCES.txt there names their authors.
"""

import pathlib

import jax
import numpy as np
from absl import flags
from PIL import Image

from deblur_jax import blur
from deblur_jax.app import page_photo
from deblur_jax.ops import bit_depth
from experiments import common

_OUT = flags.DEFINE_string(
    'out', str(page_photo.EXAMPLES), 'Folder to write.')

QUALITY = 85
SHAKE = {'kind': 'camera_shake', 'rotation': 0.03, 'roll': 0.01, 'frames': 61}
SEED = 3    # gives a clearly visible blur


def main(argv):
  """Runs the program."""
  del argv
  import skimage.data

  shake = blur.build(**SHAKE)
  for name in ('astronaut', 'coffee'):
    sharp = getattr(skimage.data, name)()[None] / np.float32(255)
    blurred = shake(jax.random.key(SEED), sharp)['blur']
    path = pathlib.Path(_OUT.value, f'{name}.jpg')
    Image.fromarray(bit_depth.to_uint8(np.asarray(blurred[0]))).save(
        path, quality=QUALITY)
    print(f'{path}: {path.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
  common.run(main)
