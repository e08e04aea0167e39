"""Small pictures, damaged, through the reader of `deblur`."""

import io
import random
from collections.abc import Iterator

import numpy as np
from PIL import Image

from deblur_jax.media import animations, pictures
from tests import odd_pictures
from tests.harness.cases import Case
from tests.harness.mutations import damage_bytes

FORMATS = ('PNG', 'JPEG', 'TIFF', 'WEBP', 'BMP', 'GIF', 'AVIF', 'PPM', 'TGA',
           'JPEG2000')


def cases(folder, count: int, *, seed: int = 0) -> Iterator[Case]:
  """Cases of all formats, still and animated, 8 and 16 bits.

  Args:
    folder: an empty folder.
    count: how many.
    seed: of the changes.
  """
  draw = random.Random(seed)
  whole = _whole()
  for number in range(count):
    name = draw.choice(sorted(whole))
    kind, content = damage_bytes(draw, whole[name])
    for _ in range(draw.randrange(3)):
      kind, content = damage_bytes(draw, content)
    path = folder / f'picture{draw.choice((".jpg", ".png", ".tif", ""))}'

    def read(path=path, content=content, number=number):
      path.write_bytes(content)
      picture = pictures.read(path, allow_truncated=number % 2 == 0)
      if not np.isfinite(picture.image).all():
        raise ArithmeticError('values that are not finite')
      if number % 4 == 0:
        animations.read(path)
      elif number % 4 == 1:    # with the metadata that were read
        pictures.encode(picture, picture.image, form=picture.form)

    yield Case(f'{number} {name}: {kind}', read)


def _whole() -> dict[str, bytes]:
  """Whole pictures by name."""
  random_ = np.random.default_rng(0)
  image = Image.fromarray(random_.integers(0, 256, (24, 32, 3), np.uint8))
  frames = [image.rotate(90 * turns) for turns in range(3)]
  exif, icc = odd_pictures.exif(), odd_pictures.cmyk_profile()
  found = {
      'PNG 16': odd_pictures.png16(
          random_.integers(0, 2**16, (9, 7, 3)).astype(np.uint16)),
      'PNG interlaced': odd_pictures.png16(
          random_.integers(0, 2**16, (9, 7, 4)).astype(np.uint16),
          interlaced=True)}
  for form in FORMATS:
    found[form] = _saved(image, form)
  for form in ('JPEG', 'PNG', 'WEBP', 'TIFF'):
    found[f'{form} exif'] = _saved(image, form, exif=exif[6:])
  found['JPEG CMYK'] = _saved(image.convert('CMYK'), 'JPEG', icc_profile=icc)
  found['JPEG progressive'] = _saved(image, 'JPEG', progressive=True)
  found['TIFF deflate'] = _saved(image, 'TIFF', compression='tiff_deflate')
  found['TIFF jpeg'] = _saved(image, 'TIFF', compression='jpeg')
  found['PNG palette'] = _saved(image.quantize(16), 'PNG', transparency=3)
  for form in ('GIF', 'PNG', 'WEBP', 'AVIF'):
    found[f'{form} animated'] = _saved(
        frames[0], form, save_all=True, append_images=frames[1:], duration=40)
  return found


def _saved(image, form, **options) -> bytes:
  stream = io.BytesIO()
  image.save(stream, form, **options)
  return stream.getvalue()
