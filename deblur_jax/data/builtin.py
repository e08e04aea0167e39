"""Built-in pictures: photographs that scikit-image and matplotlib contain.

Nothing is downloaded or copied: the files are read from the folders of these
packages. Only photographs with stated terms are used. Train and test share no
photograph.

  photograph   split  what                    terms, as stated by
  camera       train  man with a camera       CC0 (Lav Varshney); [1]
  chelsea      train  a cat                   CC0 (Stefan van der Walt); [1]
  coins        train  coins from Pompeii      no known restrictions (Brooklyn
                                              Museum); [1]
  brick        train  a brick wall            CC0 (CC0Textures, Bricks25); [1]
  grass        train  a lawn                  CC0 (linolafett, DeviantArt); [1]
  gravel       train  gravel                  CC0 (CC0Textures, Gravel04); [1]
  hubble       train  galaxies                public domain (NASA, ESA); [1]
  ihc          train  stained tissue          no known restrictions (CMMI); [1]
  rocket       train  Falcon 9 at night       public domain (SpaceX); [1]
  astronaut    test   Eileen Collins          public domain (NASA); [1]
  coffee       test   a cup on a table        CC0 (Rachel Michetti); [1]
  hopper       test   Grace Hopper            public domain (US Navy); [2]

[1] the docstrings of `skimage.data`. [2] matplotlib's pull request 1599.
Not used, because no terms are stated: skimage's moon, page and motorcycle.
"""

import contextlib
import functools
import hashlib
import importlib.resources
import io
import threading
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from deblur_jax import blur as blurs
from deblur_jax import errors
from deblur_jax.data import images, sources
from deblur_jax.inference import cache_folder
from deblur_jax.ops import bit_depth

# Rendered around each pair and cut off, so that what moves in is real.
_MARGIN = 16

# XLA's defaults, also in a process that changed them: without optimisations, as
# in tests, rendering takes 20 times longer.
_COMPILER = {
    'xla_backend_optimization_level': 2,
    'xla_llvm_disable_expensive_passes': False,
}

_RENDERING = threading.Lock()


class Photo(NamedTuple):
  """A photograph and the places where pairs are cut from it.

  Attributes:
    name: of the folder of its pairs.
    package: the package that has the file.
    file: path in the package.
    scale: it is shrunk first by this factor, to be sharper.
    corners: (top, left) of each pair, the margin included.
  """

  name: str
  package: str
  file: str
  scale: float
  corners: tuple[tuple[int, int], ...]


class Split(NamedTuple):
  """A set of pairs, all of one size.

  Attributes:
    height: of a pair, pixels.
    width: of a pair, pixels.
    seed: of the motion.
    photos: from which the pairs are cut.
  """

  height: int
  width: int
  seed: int
  photos: tuple[Photo, ...]


def pictures(
    *, split: str = 'train', frames: int = 15, shift: float = 4.0,
    rotation: float = 0.01, zoom: float = 0.005, object_shift: float = 4.0,
    gamma: float = 2.2) -> sources.Source:
  """Opens pairs with dynamic-scene blur; the first read renders or loads them.

  Args:
    split: 'train', 36 pairs of 256x256, or 'test', 9 pairs of 256x320.
    frames: see `blur.dynamic_scene`.
    shift: see `blur.dynamic_scene`.
    rotation: see `blur.dynamic_scene`.
    zoom: see `blur.dynamic_scene`.
    object_shift: see `blur.dynamic_scene`.
    gamma: see `blur.dynamic_scene`.

  Returns:
    A Source; its pairs are equal on every machine to one level of 255.

  Raises:
    UserError: an unknown split, a motion that `blur.dynamic_scene` refuses, a
      photograph that is not installed.
  """
  errors.look_up(SPLITS, split, what='split of the built-in pictures')
  motion = dict(frames=frames, shift=shift, rotation=rotation, zoom=zoom,
                object_shift=object_shift, gamma=gamma)
  _blur(**motion)      # refuses a motion now, and renders nothing
  for photo in SPLITS[split].photos:
    _file(photo)

  def read(i):
    with _RENDERING:     # threads that read at once wait for one rendering
      pairs = _pairs(split, **motion)
    return {key: made[i] for key, made in pairs.items()}

  names = [     # a folder of crops for each photograph
      f'{photo.name}/{index}' for photo in SPLITS[split].photos
      for index in range(len(photo.corners))]
  size = SPLITS[split].height, SPLITS[split].width
  return sources.Source(
      names, read, f'built-in pictures ({split})',
      sizes=lambda i: dict.fromkeys(('blur', 'sharp'), size))


@functools.lru_cache(maxsize=8)
def _pairs(split, **motion):
  """{'blur', 'sharp'}: uint8 [n, h, w, 3], read-only.

  Rendering takes seconds, so the user's cache folder keeps the pairs.
  """
  height, width, _, photos = SPLITS[split]
  sharp = np.stack([
      crop for photo in photos
      for crop in _crops(photo, height + 2 * _MARGIN, width + 2 * _MARGIN)])
  path = cache_folder.place(
      (jax.__version__, split, sorted(motion.items()),
       hashlib.sha256(sharp).hexdigest()), cache_folder.PICTURES)
  pairs = path and _kept(path)
  if not pairs:
    pairs = _render(split, sharp, motion)
    if path:
      _keep(path, pairs)
  for made in pairs.values():
    made.flags.writeable = False
  return pairs


def _kept(path):
  """The pairs in a file of the cache; None if there is none."""
  content = cache_folder.read(path)
  if content is None:
    return None
  with np.load(io.BytesIO(content)) as file:
    return dict(file)


def _keep(path, pairs):
  """Writes the pairs into a file of the cache, if it can be written."""
  file = io.BytesIO()
  np.savez(file, **pairs)
  with contextlib.suppress(errors.UserError):    # a full disk
    cache_folder.write(path, file.getvalue())


def _render(split, sharp, motion):
  """The pairs of photos with their margins, uint8 [n, h, w, 3]."""
  make = jax.jit(_blur(**motion), compiler_options=_COMPILER)
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    # The generator is named, so that another default does not change the pairs.
    key = jax.random.key(SPLITS[split].seed, impl='threefry2x32')
    pairs = make(key, bit_depth.to_float(jnp.asarray(sharp)))
  return {name: bit_depth.to_uint8(np.asarray(made))
          for name, made in pairs.items()}


@functools.lru_cache(maxsize=8)
def _blur(**motion):
  """The function that blurs; tracing it finds a motion that it refuses."""
  make = blurs.build(kind='dynamic_scene', margin=_MARGIN, **motion)
  side = 4 * _MARGIN
  jax.eval_shape(make, jax.eval_shape(lambda: jax.random.key(0)),
                 jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))
  return make


def _crops(photo, height, width):
  """uint8 [height, width, 3] at each of the photo's corners."""
  pixels = _read(photo)
  for top, left in photo.corners:
    crop = pixels[top:top + height, left:left + width]
    if crop.shape != (height, width, 3):
      raise errors.UserError(
          f'The built-in picture {photo.name} has {pixels.shape[:2]} pixels, '
          f'too few for {height}x{width} at {(top, left)}; reinstall '
          f'{photo.package} in the version of requirements.txt.')
    yield crop


def _file(photo):
  with errors.needs_extra(
      photo.package, extra='train', what='A built-in picture'):
    return importlib.resources.files(photo.package).joinpath(photo.file)


def _read(photo):
  try:
    picture = images.from_bytes(
        _file(photo).read_bytes(), name=photo.file)
  except (OSError, errors.UserError) as error:
    raise errors.UserError(
        f'The built-in picture {photo.name} is not where {photo.package} keeps '
        f'it ({error}); reinstall that package.') from error
  if photo.scale == 1:
    return picture
  image = Image.fromarray(picture)
  size = [round(length * photo.scale) for length in image.size]
  return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def _skimage(name, file, scale, *corners):
  return Photo(name, 'skimage', f'data/{file}', scale, corners)


# With its margins a crop for training is 288x288, one for testing 288x352.
SPLITS = {
    'train': Split(256, 256, 1, (
        _skimage('camera', 'camera.png', 0.75, (0, 0), (10, 50), (0, 96),
                 (96, 0), (96, 48), (96, 96), (60, 70)),
        _skimage('chelsea', 'chelsea.png', 1, (0, 0), (12, 55), (0, 110),
                 (12, 163), (6, 80)),
        _skimage('rocket', 'rocket.jpg', 0.75, (0, 0), (32, 0), (32, 64),
                 (16, 100), (32, 144), (0, 192)),
        _skimage('coins', 'coins.png', 1, (0, 0), (15, 48), (7, 96)),
        _skimage('brick', 'brick.png', 0.75, (0, 0), (96, 0), (48, 96)),
        _skimage('grass', 'grass.png', 0.75, (0, 0), (96, 96)),
        _skimage('gravel', 'gravel.png', 0.75, (0, 96), (96, 0)),
        _skimage('hubble', 'hubble_deep_field.jpg', 0.5, (0, 0), (148, 60),
                 (60, 212)),
        _skimage('ihc', 'ihc.png', 0.75, (0, 0), (0, 96), (96, 0), (96, 96),
                 (48, 48)))),
    'test': Split(256, 320, 2, (
        _skimage('astronaut', 'astronaut.png', 0.75, (0, 0), (96, 0),
                 (50, 32)),
        _skimage('coffee', 'coffee.png', 0.75, (0, 0), (12, 98), (6, 50)),
        Photo('hopper', 'matplotlib', 'mpl-data/sample_data/grace_hopper.jpg',
              0.75, ((0, 0), (60, 32), (162, 16))))),
}
