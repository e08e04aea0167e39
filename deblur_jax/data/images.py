"""Picture files of data sets: those of a folder, and one as uint8 [h, w, 3].

Files are decoded by `media.decoding`, as the command `deblur` decodes them:
upright by their orientation, RGB in their own colour profile, CMYK by its
profile. A data set keeps 8 bits a sample and no alpha: 16 bits are rounded to
the nearest 8, and a picture that is partly transparent is refused, because its
hidden colours are no truth to train on.

Pillow's decoders release Python's lock, so threads decode side by side.
TensorFlow's decoders ignore orientation, alpha and CMYK profiles: the loader
tf_data uses them for plain files only, see `decoding.Header`.
"""

import collections
import io
import logging
import os
import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from deblur_jax import errors
from deblur_jax.media import decoding
from deblur_jax.ops import atomic_files, bit_depth

SUFFIXES = ('.bmp', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pgm', '.png',
            '.ppm', '.tga', '.tif', '.tiff', '.webp')
_NOT_TRAINED_ON = ('.avif', '.cr2', '.dng', '.gif', '.heic', '.heif', '.jxl',
                   '.nef', '.arw')


def read(path: str | os.PathLike) -> np.ndarray:
  """Reads a picture file.

  Args:
    path: the file.

  Returns:
    uint8 [h, w, 3], upright.

  Raises:
    UserError: no such file, no picture, damaged, too large, more than 16 bits
      a sample, or partly transparent.
  """
  # Read as a whole before it is decoded: threads wait for a slow disk side by
  # side, and the decoder's short lock is never held meanwhile.
  return from_bytes(decoding.content(path), name=os.fspath(path))


def from_bytes(data: bytes, *, name: str) -> np.ndarray:
  """The picture of a file's bytes, as `read` gives it.

  Args:
    data: all bytes of the file.
    name: of the file, for messages.

  Returns:
    uint8 [h, w, 3], upright.

  Raises:
    UserError: as `read`.
  """
  colours, alpha = decoding.split(
      decoding.read(data, name=name).samples)
  if alpha is not None and (alpha < np.iinfo(alpha.dtype).max).any():
    raise errors.UserError(
        f'{name} is partly transparent; save it without alpha.')
  return bit_depth.to_8_bits(colours)


def size(path: str | os.PathLike) -> tuple[int, int]:
  """Reads the (height, width) of the upright picture from a file's header.

  Raises:
    UserError: no such file, no picture, a damaged header, or too large.
  """
  return header(path).size


def header(path: str | os.PathLike) -> decoding.Header:
  """Reads the header of a picture file; see `decoding.Header`.

  Raises:
    UserError: as `size`.
  """
  return decoding.header(path, name=os.fspath(path))


def as_plain(data: bytes, *, name: str) -> bytes:
  """The bytes of a plain file with the same picture; see `decoding.Header`.

  Args:
    data: all bytes of a picture file.
    name: of the file, for messages.

  Returns:
    `data` itself if it is plain; otherwise a PNG of what `from_bytes` gives.

  Raises:
    UserError: as `read`.
  """
  if decoding.header(data, name=name).plain:
    return data
  file = io.BytesIO()
  Image.fromarray(from_bytes(data, name=name)).save(
      file, 'PNG', compress_level=1)
  return file.getvalue()


def write(path: str | os.PathLike, pixels: np.ndarray) -> None:
  """Writes a picture as PNG, whole or not at all.

  Args:
    path: the file, which is replaced; the folders above it are made.
    pixels: uint8 [h, w, 3], or gray [h, w].

  Raises:
    UserError: the file cannot be written.
  """
  with atomic_files.replacing(path) as part:
    Image.fromarray(pixels).save(part, 'PNG')


def find(folder: str | os.PathLike) -> dict[str, pathlib.Path]:
  """Finds all pictures below a folder.

  Hidden files and the copies that macOS packs (`__MACOSX`) are left out. It
  warns of folders that cannot be read and of pictures in other formats.

  Args:
    folder: is searched with its sub-folders; links are followed, each folder
      once.

  Returns:
    {'sub/stem': path}, sorted.

  Raises:
    UserError: no such folder, or two pictures that differ in their suffix only.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise errors.NoFolder(folder)
  found, others, visited = {}, collections.Counter(), set()
  for parent, folders, files in os.walk(
      folder, followlinks=True, onerror=_warn_of_folder):
    stat = os.stat(parent)
    if (stat.st_dev, stat.st_ino) in visited:    # a link leads back
      folders.clear()
      continue
    visited.add((stat.st_dev, stat.st_ino))
    folders[:] = sorted(f for f in folders if f[0] != '.' and f != '__MACOSX')
    for file in sorted(files):
      path = pathlib.Path(parent, file)
      suffix = path.suffix.lower()
      if file[0] == '.' or suffix not in SUFFIXES:
        others[suffix] += file[0] != '.' and suffix in _NOT_TRAINED_ON
        continue
      key = path.relative_to(folder).with_suffix('').as_posix()
      if key in found:
        raise errors.UserError(
            f'{found[key]} and {path} have one name; remove one of them.')
      found[key] = path
  if passed := +others:
    logging.warning(
        '%s: %s are passed over; training reads %s.', folder,
        ', '.join(f'{count} {suffix}' for suffix, count in passed.items()),
        ', '.join(SUFFIXES))
  return dict(sorted(found.items()))


def _warn_of_folder(error):
  logging.warning('Cannot look into %s: %s; it is passed over.',
                  error.filename, error.strerror)


def require(folder: str | os.PathLike) -> dict[str, pathlib.Path]:
  """Finds the pictures of a folder that must have some; see `find`.

  Raises:
    UserError: as `find`, or there is no picture.
  """
  found = find(folder)
  if not found:
    raise errors.UserError(f'{folder}: no pictures there.')
  return found


def partners(
    names: Iterable[str], folder: str | os.PathLike
) -> dict[str, pathlib.Path]:
  """Finds the pictures of a folder that must have certain names.

  Args:
    names: keys that `find` must give.
    folder: the folder.

  Returns:
    All that `find` gives.

  Raises:
    UserError: as `find`, or a name is missing.
  """
  there = find(folder)
  missing = [name for name in names if name not in there]
  if missing:
    more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
    raise errors.UserError(f'{folder} has no {missing[0]}{more}.')
  return there


def crop_centre(picture: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
  """The middle of [h, w, c], a view.

  Where an odd number of pixels is cut, one more is cut below or on the right.

  Args:
    picture: at least as large as `size`.
    size: (height, width).
  """
  top, left = ((have - want) // 2 for have, want in zip(
      picture.shape[:2], size, strict=True))
  return picture[top:top + size[0], left:left + size[1]]


def resize(picture: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
  """Resizes uint8 [h, w, 3] bicubically, with antialiasing.

  Args:
    picture: the picture.
    size: (height, width) of the result.
  """
  image = Image.fromarray(picture)
  return np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC))


def resize_planes(
    image: np.ndarray, *, size: tuple[int, int],
    resample: Image.Resampling = Image.Resampling.LANCZOS) -> np.ndarray:
  """Resizes [h, w, c] channel by channel with Pillow, without clipping.

  Args:
    image: uint8 or float32, of any number of channels.
    size: (height, width) of the result.
    resample: the filter, antialiased where the image becomes smaller.
  """
  planes = [np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(
      size[::-1], resample)) for plane in np.moveaxis(image, -1, 0)]
  return np.stack(planes, axis=-1)
