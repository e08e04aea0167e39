"""Built-in pictures: real photographs that arrive with packages we need anyway.

Nothing is downloaded and nothing is copied: the files are read from where
scikit-image and matplotlib keep them. Only photographs whose terms are stated
are used. Train and test share no photograph.

  photograph   split  what                    terms, as stated by
  astronaut    train  Eileen Collins          public domain (NASA); [1]
  camera       train  man with a camera       CC0 (Lav Varshney); [1]
  chelsea      train  a cat                   CC0 (Stefan van der Walt); [1]
  coins        train  coins from Pompeii      no known restrictions (Brooklyn
                                              Museum); [1]
  brick        train  a brick wall            CC0 (CC0Textures, Bricks25); [1]
  grass        train  a lawn                  CC0 (linolafett, DeviantArt); [1]
  gravel       train  gravel                  CC0 (CC0Textures, Gravel04); [1]
  hubble       train  galaxies                public domain (NASA, ESA); [1]
  ihc          train  stained tissue          no known restrictions (CMMI); [1]
  coffee       test   a cup on a table        CC0 (Rachel Michetti); [1]
  rocket       test   Falcon 9 at night       public domain (SpaceX); [1]
  hopper       test   Grace Hopper            public domain (US Navy); [2]

[1] the docstrings of `skimage.data`. [2] matplotlib's pull request 1599.
Left out because no terms are stated: skimage's moon, page and motorcycle.
"""

import functools
import importlib.resources
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from deblur_jax import blur as blurs
from deblur_jax import types
from deblur_jax.data import source

# Rendered around each pair and cut off: what moves in from outside is real.
_MARGIN = 20


class Photo(NamedTuple):
  """One photograph and where pairs are cut from it."""

  name: str
  package: str
  file: str
  corners: tuple[tuple[int, int], ...]    # (top, left) with the margin


class Split(NamedTuple):
  """One set of pairs, all of one size."""

  height: int
  width: int
  seed: int
  photos: tuple[Photo, ...]


def pictures(*, split: str = 'train', **motion) -> source.Source:
  """Pairs with dynamic-scene blur, made once and kept in memory.

  Args:
    split: 'train', 36 pairs of 256x256, or 'test', 9 pairs of 256x320.
    **motion: options of `blur.dynamic_scene`, instead of its defaults.

  Returns:
    A Source; the same pairs on every machine to one level of 255.

  Raises:
    UserError: an unknown split or option, a photograph that is not installed.
  """
  types.look_up(SPLITS, split, what='split of the built-in pictures')
  pairs = _pairs(split, tuple(sorted(motion.items())))
  read = lambda i: {key: images[i] for key, images in pairs.items()}
  names = [
      f'{photo.name}_{index}' for photo in SPLITS[split].photos
      for index in range(len(photo.corners))]
  return source.Source(names, read, f'built-in pictures ({split})')


@functools.lru_cache(maxsize=8)
def _pairs(split: str, motion: tuple[tuple[str, Any], ...]):
  """{'blur', 'sharp'}: uint8 [n, h, w, 3], read-only."""
  height, width, seed, photos = SPLITS[split]
  sharp = np.stack([
      crop for photo in photos
      for crop in _crops(photo, height + 2 * _MARGIN, width + 2 * _MARGIN)])
  make = blurs.build(kind='dynamic_scene', margin=_MARGIN, **dict(motion))
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    # The generator is named: the pairs must not follow a change of the default.
    key = jax.random.key(seed, impl='threefry2x32')
    pair = jax.jit(make)(key, jnp.asarray(sharp, jnp.float32) / 255)
  pair = {key: np.rint(np.asarray(images) * 255).astype(np.uint8)
          for key, images in pair.items()}
  for images in pair.values():
    images.flags.writeable = False
  return pair


def _crops(photo, height, width):
  """uint8 [height, width, 3] at each of the photo's corners."""
  file = importlib.resources.files(photo.package).joinpath(photo.file)
  try:
    with file.open('rb') as stream, Image.open(stream) as image:
      pixels = np.asarray(image.convert('RGB'))
  except OSError as error:
    raise types.UserError(
        f'The built-in picture {photo.name} is not where {photo.package} keeps '
        f'it ({error}); reinstall that package.') from error
  for top, left in photo.corners:
    crop = pixels[top:top + height, left:left + width]
    if crop.shape != (height, width, 3):
      raise types.UserError(
          f'The built-in picture {photo.name} has {pixels.shape[:2]} pixels, '
          f'too few for {height}x{width} at {(top, left)}; reinstall '
          f'{photo.package} in the version of requirements.txt.')
    yield crop


def _skimage(name, file, *corners):
  return Photo(name, 'skimage', f'data/{file}', corners)


# A crop with its margins is 296x296 for training, 296x360 for testing.
SPLITS = {
    'train': Split(256, 256, 1, (
        _skimage('astronaut', 'astronaut.png', (0, 0), (0, 110), (0, 216),
                 (110, 60), (216, 0), (216, 110), (216, 216), (110, 216)),
        _skimage('camera', 'camera.png', (0, 60), (40, 130), (20, 216),
                 (216, 80), (216, 216), (130, 180)),
        _skimage('chelsea', 'chelsea.png', (0, 0), (4, 50), (0, 100), (4, 150)),
        _skimage('coins', 'coins.png', (0, 0), (6, 44), (3, 88)),
        _skimage('brick', 'brick.png', (0, 0), (216, 0), (108, 216)),
        _skimage('grass', 'grass.png', (0, 0), (216, 216)),
        _skimage('gravel', 'gravel.png', (0, 216), (216, 0)),
        _skimage('hubble', 'hubble_deep_field.jpg', (0, 0), (400, 400),
                 (200, 700)),
        _skimage('ihc', 'ihc.png', (0, 0), (0, 216), (216, 0), (216, 216),
                 (108, 108)))),
    'test': Split(256, 320, 2, (
        _skimage('coffee', 'coffee.png', (0, 120), (104, 20), (90, 240)),
        _skimage('rocket', 'rocket.jpg', (0, 0), (120, 150), (131, 280)),
        Photo('hopper', 'matplotlib', 'mpl-data/sample_data/grace_hopper.jpg',
              ((0, 60), (120, 100), (300, 150))))),
}
