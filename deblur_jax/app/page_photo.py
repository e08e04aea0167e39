"""The photo that the page has loaded, its preview, and a rectangle in it."""

import os
import pathlib
import secrets
import shutil
from typing import NamedTuple

from PIL import Image, ImageDraw

from deblur_jax.app import blending, fits, page_jobs
from deblur_jax.ops import bit_depth

EXAMPLES = pathlib.Path(__file__).parent / 'examples'
SHOWN = 500_000    # pixels of a preview
COLOUR = (0, 230, 255)
LEAST = 12         # pixels of a frame's sides


class Photo(NamedTuple):
  """An upload as the page shows it before it is restored.

  upload: its file.
  size: (height, width) of the upright picture.
  preview: a PNG of at most SHOWN pixels.
  """

  upload: str
  size: tuple[int, int]
  preview: str


def examples() -> dict[str, pathlib.Path]:
  """Name -> file of the photos that the package has."""
  return {path.stem: path for path in sorted(EXAMPLES.glob('*.jpg'))}


def take_example(name: str, *, folder: str) -> str:
  """A copy of an example among the uploads; its path."""
  path = examples()[name]
  return os.fspath(shutil.copyfile(path, _new(folder) / path.name))


def load(
    upload: str, *, folder: str, max_pixels: int = page_jobs.MAX_PIXELS
) -> Photo:
  """Reads an upload and makes its preview in a new folder inside of `folder`.

  Raises:
    UserError: no picture, or too large a one.
  """
  picture = page_jobs.read(upload, max_pixels=max_pixels)
  size = picture.image.shape[:2]
  share = min(1.0, (SHOWN / (size[0] * size[1])) ** 0.5)
  small = fits.resized(
      picture.image, [max(1, round(share * side)) for side in size])
  path = str(_new(folder) / 'preview.png')
  Image.fromarray(bit_depth.to_uint8(small)).save(
      path, icc_profile=picture.icc, compress_level=1)
  return Photo(upload, size, path)


def pixel(photo: Photo, place: tuple[float, float]) -> tuple[int, int]:
  """(x, y) of the photo at a place (x, y) of its preview."""
  with Image.open(photo.preview) as image:
    shown = image.size
  return tuple(min(side - 1, max(0, int(at * side / of)))
               for at, side, of in zip(
                   place, photo.size[::-1], shown, strict=True))


def between(
    one: tuple[int, int], other: tuple[int, int]) -> blending.Region:
  """The region that has two pixels (x, y) as its corners."""
  x, y = map(min, zip(one, other, strict=True))
  right, bottom = map(max, zip(one, other, strict=True))
  return blending.Region(x, y, right - x + 1, bottom - y + 1)


def drawn(photo: Photo, region: blending.Region | None, *, folder: str) -> str:
  """A preview with the frame of a region: its file, in a new folder."""
  if region is None:
    return photo.preview
  path = str(_new(folder) / 'preview.png')
  with Image.open(photo.preview) as image:
    icc, image = image.info.get('icc_profile'), image.convert('RGB')
  across, down = (shown / side for shown, side in zip(
      image.size, photo.size[::-1], strict=True))
  x, y, width, height = region
  (left, right), (top, bottom) = (
      _seen(across * x, across * (x + width) - 1),
      _seen(down * y, down * (y + height) - 1))
  ImageDraw.Draw(image).rectangle(
      [left, top, right, bottom], outline=COLOUR,
      width=max(2, min(image.size) // 100))
  image.save(path, icc_profile=icc, compress_level=1)
  return path


def _seen(first: float, last: float) -> tuple[float, float]:
  """With LEAST pixels between them, so that also a corner can be seen."""
  more = max(0.0, LEAST - (last - first)) / 2
  return first - more, last + more


def _new(folder: str) -> pathlib.Path:
  """A folder whose name cannot be guessed."""
  new = pathlib.Path(folder, secrets.token_hex(16))
  new.mkdir()
  return new
