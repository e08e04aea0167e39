"""The uploaded photo, its preview, and a rectangle in the preview."""

import os
import pathlib
import secrets
import shutil
from typing import NamedTuple

from PIL import Image, ImageDraw

from deblur_jax.app import blending, page_jobs

EXAMPLES = pathlib.Path(__file__).parent / 'examples'
SHOWN = 500_000    # pixels of a preview
COLOUR = (0, 230, 255)
MIN_SIDE = 12         # pixels of a frame's sides


class Photo(NamedTuple):
  """An upload as the page shows it before it is restored.

  Attributes:
    upload: its file.
    size: (height, width) of the upright picture.
    preview: a PNG of at most SHOWN pixels.
  """

  upload: str
  size: tuple[int, int]
  preview: str


def examples() -> dict[str, pathlib.Path]:
  """Name -> file of the example photos in the package."""
  return {path.stem: path for path in sorted(EXAMPLES.glob('*.jpg'))}


def take_example(name: str, *, folder: str) -> str:
  """Copies an example into a new folder inside of `folder`; the copy's path."""
  path = examples()[name]
  return os.fspath(shutil.copyfile(path, _new(folder) / path.name))


def load(
    upload: str, *, folder: str, max_pixels: int = page_jobs.MAX_PIXELS
) -> Photo:
  """Reads an upload and writes its preview in a new folder inside of `folder`.

  Args:
    upload: the file.
    folder: in which a new one is made.
    max_pixels: of the upload.

  Raises:
    UserError: no picture, or more pixels than allowed.
  """
  picture = page_jobs.read(upload, max_pixels=max_pixels)
  size = picture.image.shape[:2]
  path = _new(folder) / 'preview.png'
  page_jobs.show(picture.image, path, icc=picture.icc, pixels=SHOWN)
  return Photo(upload, size, str(path))


def pixel(photo: Photo, place: tuple[float, float]) -> tuple[int, int]:
  """The pixel (x, y) of the photo at a place (x, y) of its preview."""
  with Image.open(photo.preview) as image:
    shown = image.size
  return tuple(min(side - 1, max(0, int(at * side / of)))
               for at, side, of in zip(
                   place, photo.size[::-1], shown, strict=True))


def between(
    one: tuple[int, int], other: tuple[int, int]) -> blending.Region:
  """The region with two pixels (x, y) as opposite corners."""
  x, y = map(min, zip(one, other, strict=True))
  right, bottom = map(max, zip(one, other, strict=True))
  return blending.Region(x, y, right - x + 1, bottom - y + 1)


def drawn(photo: Photo, region: blending.Region | None, *, folder: str) -> str:
  """Draws the frame of a region on the preview.

  Args:
    photo: the photo.
    region: in pixels of the photo; None draws nothing.
    folder: in which a new one is made for the file.

  Returns:
    The file.
  """
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
  """Both sides of a frame, moved apart to MIN_SIDE pixels."""
  more = max(0.0, MIN_SIDE - (last - first)) / 2
  return first - more, last + more


def _new(folder: str) -> pathlib.Path:
  """A folder whose name cannot be guessed."""
  new = pathlib.Path(folder, secrets.token_hex(16))
  new.mkdir()
  return new
