"""Picture files to uint8 [h, w, 3] RGB, and the pictures of a folder."""

import io
import os
import pathlib
import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from deblur_jax import errors

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error,
          Image.DecompressionBombError)  # what Pillow raises for broken files


def read(path: str | os.PathLike) -> np.ndarray:
  """The picture at `path`, upright, as uint8 [h, w, 3]; UserError if broken."""
  try:
    with open(path, 'rb') as file:
      return _decode(file, name=path)
  except FileNotFoundError:
    raise errors.UserError(f'No file {path}.') from None


def from_bytes(data: bytes, *, name: str) -> np.ndarray:
  """A picture from an encoded file's bytes, like `read`."""
  return _decode(io.BytesIO(data), name=name)


def size(path: str | os.PathLike) -> tuple[int, int]:
  """(height, width) from the header alone."""
  try:
    with Image.open(path) as image:
      width, height = image.size
      # PNG may keep EXIF at its end: to look would be to read it all.
      turned = image.format != 'PNG' and image.getexif().get(0x0112, 1) >= 5
  except BROKEN as error:
    raise errors.UserError(_broken(path, error)) from None
  return (width, height) if turned else (height, width)


def find(folder: str | os.PathLike) -> dict[str, pathlib.Path]:
  """All pictures below a folder: 'sub/stem' -> path, in sorted order.

  Hidden files and what macOS packs beside (`__MACOSX`) are passed over. Two
  pictures that differ in their suffix only, or no such folder: UserError.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise errors.UserError(f'No folder {folder}.')
  found = {}
  for parent, folders, files in os.walk(folder, followlinks=True):
    folders[:] = [f for f in folders if f[0] != '.' and f != '__MACOSX']
    for file in sorted(files):
      path = pathlib.Path(parent, file)
      if file[0] == '.' or path.suffix.lower() not in SUFFIXES:
        continue
      key = path.relative_to(folder).with_suffix('').as_posix()
      if key in found:
        raise errors.UserError(
            f'{found[key]} and {path} have one name; remove one of them.')
      found[key] = path
  return dict(sorted(found.items()))


def require(folder: str | os.PathLike) -> dict[str, pathlib.Path]:
  """As `find`; a UserError also where there are none."""
  found = find(folder)
  if not found:
    raise errors.UserError(f'{folder}: no pictures there.')
  return found


def _decode(file: BinaryIO, *, name) -> np.ndarray:
  try:
    with Image.open(file) as image:
      if image.format != 'PNG':
        image = ImageOps.exif_transpose(image)
      return _to_rgb(image, name)
  except errors.UserError:
    raise
  except BROKEN as error:
    raise errors.UserError(_broken(name, error)) from None


def crop_centre(picture: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
  """The middle of [h, w, c], a view; of an odd rest one more is cut behind.

  Args:
    picture: at least as large as `size`.
    size: (height, width).
  """
  top, left = ((have - want) // 2 for have, want in zip(
      picture.shape[:2], size, strict=True))
  return picture[top:top + size[0], left:left + size[1]]


def resize(picture: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
  """uint8 [h, w, 3] to (height, width), bicubic; made smaller, antialiased."""
  image = Image.fromarray(picture)
  return np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC))


def partners(
    names: Iterable[str], folder: str | os.PathLike
) -> dict[str, pathlib.Path]:
  """What `find` finds in a folder, or a UserError where it lacks a name."""
  there = find(folder)
  missing = [name for name in names if name not in there]
  if missing:
    more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
    raise errors.UserError(f'{folder} has no {missing[0]}{more}.')
  return there


def to_float(picture: np.ndarray) -> np.ndarray:
  """uint8 -> float32 in [0, 1]."""
  return picture.astype(np.float32) / 255


def to_uint8(picture: np.ndarray) -> np.ndarray:
  """[0, 1] -> uint8, clipped and rounded."""
  return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _to_rgb(image: Image.Image, name) -> np.ndarray:
  if image.mode.startswith('I;16'):  # 16-bit gray: round to 8 bits
    gray = (np.asarray(image).astype(np.uint32) + 128) // 257
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=-1)
  if image.mode in ('I', 'F'):
    raise errors.UserError(
        f'{name} has 32 bits a sample; save it with 8 or 16.')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    if image.getchannel('A').getextrema()[0] < 255:
      raise errors.UserError(
          f'{name} is partly transparent; save it without alpha.')
  return np.array(image.convert('RGB'))


def _broken(name, error: Exception) -> str:
  text = ' '.join(str(error).split()) or type(error).__name__
  return f'Cannot read the picture {name}: {text}.'
