"""A picture file as the samples that it stores, upright, and what goes along.

Formats are few and found by content; the header alone refuses what is too
large. Broken files raise one of `BROKEN`, or a UserError.
"""

import contextlib
import functools
import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import (
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    TiffImagePlugin,
)

from deblur_jax import errors
from deblur_jax.media import exif as exif_blocks
from deblur_jax.media import sixteen

# What Pillow raises for broken files.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError,
          AttributeError, TypeError, RuntimeError, OverflowError, struct.error,
          zlib.error, Image.DecompressionBombError)
_READ = ('JPEG', 'PNG', 'AVIF', 'BMP', 'GIF', 'TIFF', 'WEBP')
_WRITTEN_AS = {'GIF': 'PNG', 'MPO': 'JPEG'}
_HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1')
# Orientation -> whether rows become columns, then the steps along both axes.
_TURNS = {2: (0, 1, -1), 3: (0, -1, -1), 4: (0, -1, 1), 5: (1, 1, 1),
          6: (1, 1, -1), 7: (1, -1, -1), 8: (1, -1, 1)}
_HEAD = 64  # bytes, in which the brands of HEIC and AVIF stand
_PROPERTIES = 1 << 16  # bytes, in which their depths stand
_BITS = 258            # tag of a TIFF: bits of each sample
_pillow_settings = threading.Lock()


class Stored(NamedTuple):
  """What a file holds.

  samples: uint8 or uint16 [h, w, 1 to 4], gray or RGB, alpha last.
  form: 'JPEG', 'PNG', ...: what it is written as.
  exif, icc, dpi, coding, notes: as in `pictures.Picture`.
  """

  samples: np.ndarray
  form: str
  exif: bytes | None
  icc: bytes | None
  dpi: tuple[float, float] | None
  coding: Mapping[str, Any]
  notes: tuple[str, ...]


def from_file(
    source: str | os.PathLike | bytes, *, name: str, max_pixels: int,
    allow_truncated: bool) -> Stored:
  """A file's picture; the arguments are those of `pictures.read`."""
  again = functools.partial(_open, source, name, max_pixels)
  with _lenient() if allow_truncated else contextlib.nullcontext():
    with again() as image:
      stored = from_image(image, again=again, name=name)
  if stored.form in ('AVIF', 'HEIF') and (bits := _heif_bits(source)) > 8:
    return stored._replace(notes=(*stored.notes, f'its {bits} bits became 8'))
  if stored.form == 'WEBP' and _is_lossless_webp(source):
    return stored._replace(coding={'lossless': True})
  return stored


def size(
    source: str | os.PathLike | bytes, *, name: str, max_pixels: int
) -> tuple[int, int]:
  """(height, width) of a file's upright picture, by its header."""
  with _open(source, name, max_pixels) as image:
    width, height = image.size
    # Pillow gives that of an upright TIFF.
    turn = 1 if image.format == 'TIFF' else _exif(image, [])[1]
  return (width, height) if turn in _TURNS and _TURNS[turn][0] else (
      height, width)


def from_image(
    image: Image.Image, *, again: Callable[[], Image.Image] | None, name: str
) -> Stored:
  """The picture of a Pillow image; `again` opens its file anew, if any."""
  notes = [*_frames(image), *_gamma(image)]
  coding = _coding(image)
  form = _WRITTEN_AS.get(image.format, image.format)
  dpi = _dpi(image)
  samples, icc = _decoded(image, again, name, notes)
  exif, turn = _exif(image, notes)
  if turn != 1:
    transposed, *steps = _TURNS[turn]
    samples = samples.swapaxes(0, 1) if transposed else samples
    samples = np.ascontiguousarray(samples[::steps[0], ::steps[1]])
    dpi = dpi[::-1] if dpi and transposed else dpi
  return Stored(samples, form, exif, icc, dpi, coding, tuple(notes))


def need_heif(what: str) -> None:
  """Teaches Pillow HEIC; a UserError where it cannot, about what."""
  with errors.needs_extra('pillow-heif', extra='heif', what=what):
    import pillow_heif
  pillow_heif.register_heif_opener(thumbnails=False)


def text(error: Exception) -> str:
  """An error of Pillow's in one line."""
  return ' '.join(str(error).split()).rstrip('.') or type(error).__name__


def _open(source, name, max_pixels):
  """The opened picture, of which only the header is read."""
  head = _head(source, name)
  formats = _READ
  if (head[4:8] == b'ftyp' and head[8:12] in _HEIF_BRANDS
      and b'avif' not in head):
    need_heif(f'{name} is HEIC, which')
    formats = ('HEIF',)
  file = io.BytesIO(source) if isinstance(source, bytes) else source
  with _pillow_settings, warnings.catch_warnings():
    # Its own limits are the whole process's, and warn.
    warnings.simplefilter('ignore')
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
      image = Image.open(file, formats=formats)
    except Image.UnidentifiedImageError:
      _check_tiff_bits(source, name)
      raise errors.UserError(
          f'{name} is {"no picture, or a broken one" if head else "empty"}; '
          'JPEG, PNG, TIFF, WebP, BMP, GIF, AVIF and HEIC are read.') from None
    finally:
      Image.MAX_IMAGE_PIXELS = limit
  width, height = image.size
  if width * height > max_pixels:
    image.close()
    raise errors.UserError(
        f'{name} has {width}x{height} pixels, and more than {max_pixels:,} '
        'are refused; make it smaller, or let `deblur restore --max-pixels` '
        'take more.')
  return image


def _head(source, name):
  if isinstance(source, bytes):
    return source[:_HEAD]
  try:
    with open(source, 'rb') as file:
      return file.read(_HEAD)
  except FileNotFoundError:
    raise errors.UserError(f'No file {name}.') from None


def _bytes_of(source):
  return io.BytesIO(source) if isinstance(source, bytes) else open(source, 'rb')


def _check_tiff_bits(source, name):
  """Of TIFF files that Pillow does not know, which are often of floats."""
  bits = 0
  with _bytes_of(source) as file, contextlib.suppress(*BROKEN):
    directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
    file.seek(directory.next)
    directory.load(file)
    bits = max(directory[_BITS])
  if bits > 16:
    raise errors.UserError(
        f'{name} has {bits} bits a sample; save it with 8 or 16.')


def _heif_bits(source):
  """Bits of a sample of HEIC or AVIF: Pillow gives 8, whatever they are."""
  with _bytes_of(source) as file:
    head = file.read(_PROPERTIES)
  # pixi (ISO/IEC 23008-12, 6.5.6): version and flags, channels, bits of each.
  return max([8, *(bits for found in re.finditer(
      rb'pixi\0\0\0\0([\1-\4])', head)
      for bits in head[found.end():found.end() + found[1][0]])])


def _is_lossless_webp(source):
  """Whether the first picture of a WebP is coded without loss."""
  with _bytes_of(source) as file:
    file.seek(12)
    while len(head := file.read(8)) == 8:
      name, size = head[:4], int.from_bytes(head[4:], 'little')
      if name in (b'VP8 ', b'VP8L'):
        return name == b'VP8L'
      # A frame of an animation holds its own, behind 16 bytes.
      file.seek(16 if name == b'ANMF' else size + size % 2, os.SEEK_CUR)
  return False


@contextlib.contextmanager
def _lenient():
  ImageFile.LOAD_TRUNCATED_IMAGES = True
  try:
    yield
  finally:
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def _frames(image):
  count = getattr(image, 'n_frames', 1)
  if count > 1:
    kind = ('animated' if image.format in ('AVIF', 'GIF', 'PNG', 'WEBP')
            else 'several pictures in one file')
    yield f'{kind}: only the first of {count} is taken'


def _gamma(image):
  """Told where a PNG is of another brightness than it says afterwards."""
  gamma = image.info.get('gamma')
  if gamma and abs(gamma - 1 / 2.2) > 0.02 and not (
      'icc_profile' in image.info or 'srgb' in image.info):
    yield f'its gamma of {gamma:g} is left out: it may look lighter or darker'


def _coding(image):
  if image.format not in ('JPEG', 'MPO'):
    return {}
  tables = image.quantization
  return {'subsampling': max(JpegImagePlugin.get_sampling(image), 0),
          'fineness': sum(tables[min(tables)]) if tables else 0}


def _decoded(image, again, name, notes):
  """Stored samples [h, w, 1 to 4], uint8 or uint16, and their profile."""
  _check_tiff(image, name)
  if again and sixteen.holds(image):
    samples = sixteen.read(again)
    image.load()
    return _with_key(samples, image), image.info.get('icc_profile')
  image.load()
  icc = image.info.get('icc_profile')
  if image.mode.startswith('I;16'):
    samples = np.asarray(image).astype(np.uint16)[..., None]
    if _tag(image, 262) == 0:  # 0 is white, which Pillow leaves as it is
      samples = 65535 - samples
    return _with_key(samples, image), icc
  if image.mode in ('I', 'F'):
    raise errors.UserError(
        f'{name} has 32 bits a sample; save it with 8 or 16.')
  if image.mode == 'CMYK':
    if max(_tag(image, _BITS) or (8,)) > 8:
      notes.append('its 16 bits became 8')
    return np.asarray(_from_cmyk(image, icc, notes)), None
  if image.mode == 'LAB':
    raise errors.UserError(f'{name} is in Lab colours; save it as RGB.')
  gray = image.mode in ('1', 'L', 'LA', 'La')
  if image.mode in ('P', 'PA'):
    notes.append('its palette became free colours')
  if image.mode == '1':
    notes.append('its single bit became 8')
  mode = ('L' if gray else 'RGB') + 'A' * image.has_transparency_data
  samples = np.asarray(image.convert(mode))
  return samples.reshape(*samples.shape[:2], -1), icc


def _check_tiff(image, name):
  bits = _tag(image, _BITS) or (8,)
  formats = _tag(image, 339) or (1,)
  if max(bits) > 16:
    raise errors.UserError(
        f'{name} has {max(bits)} bits a sample; save it with 8 or 16.')
  if set(formats) - {1} or set(bits) - {1, 2, 4, 8, 16}:
    raise errors.UserError(
        f'{name} has samples that are not read; save it with 8 or 16 bits '
        'without a sign.')
  if max(bits) == 16 and _tag(image, 284) == 2:
    raise errors.UserError(
        f'{name} keeps its channels apart; save it with them interleaved.')


def _tag(image, number):
  """A tag's value in a TIFF; None in other files."""
  return image.tag_v2.get(number) if image.format == 'TIFF' else None


def _with_key(samples, image):
  """With alpha where a PNG names one colour that is transparent."""
  key = image.info.get('transparency')
  if key is None or samples.shape[-1] in (2, 4):
    return samples
  solid = (samples != np.array(key, np.uint16)).any(axis=-1, keepdims=True)
  return np.concatenate([samples, solid * np.uint16(65535)], axis=-1)


def _from_cmyk(image, icc, notes):
  if icc:
    with contextlib.suppress(ImageCms.PyCMSError, OSError):
      rgb = ImageCms.profileToProfile(
          image, ImageCms.ImageCmsProfile(io.BytesIO(icc)),
          ImageCms.createProfile('sRGB'), outputMode='RGB')
      notes.append('CMYK became RGB (sRGB, by its profile)')
      return rgb
  notes.append('CMYK became RGB (without a profile: colours may differ)')
  return image.convert('RGB')


def _exif(image, notes):
  """(block of the upright picture or None, orientation)."""
  try:
    block = _tiff_block(image) if image.format == 'TIFF' else (
        image.info.get('exif'))
    turn = exif_blocks.orientation(block) if block else 1
    block = exif_blocks.upright(block) if block else None
  except BROKEN:
    notes.append('its EXIF is broken and is left out')
    return None, 1
  if turn == 1:  # some programs write it into XMP alone
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', _xmp(image))
    turn = int(found[1]) if found and not block else turn
  return block, turn


def _xmp(image):
  xmp = image.info.get('xmp', b'')
  return xmp if isinstance(xmp, bytes) else str(xmp).encode()


def _tiff_block(image):
  """What a TIFF's first directory says besides of how it is stored."""
  stored = image.getexif()
  block = Image.Exif()
  for tag in exif_blocks.DESCRIPTIVE:
    if tag in stored:
      block[tag] = stored[tag]
  for tag in exif_blocks.DIRECTORIES:
    if inner := stored.get_ifd(tag):
      block.get_ifd(tag).update(inner)
  data = block.tobytes()
  return data if len(block) or len(data) > 20 else None


def _dpi(image):
  try:
    x, y = (float(value) for value in image.info['dpi'])
  except (KeyError, TypeError, ValueError, ZeroDivisionError):
    return None
  if (_tag(image, 274) or 1) >= 5:  # a TIFF, which Pillow turns by itself
    x, y = y, x
  return (x, y) if 1 <= x <= 65535 and 1 <= y <= 65535 else None
