"""The one decoder of picture files: stored samples, upright, and metadata.

Data sets (`data.images`) and the command `deblur` (`media.pictures`) both read
through it, so that all parts of the package see the same pixels:

  orientation     applied, by EXIF or else by XMP, in every format
  colour profile  RGB and gray keep their own colours, and the profile is
                  returned; CMYK becomes sRGB by its profile, and so do colours
                  that are named by codes (P3, BT.2020, PQ, HLG)
  bit depth       8 or 16 bits as stored; 1, 2 and 4 bits become 8
  alpha           separate from the colours, which are not multiplied by it
  palette         RGB

The format is found by the content of a file, not by its name. The header alone
is enough to refuse a picture that is too large.
"""

import contextlib
import functools
import io
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import (
    Image,
    ImageCms,
    ImageFile,
    TiffImagePlugin,
)

from deblur_jax import errors
from deblur_jax.media import (
    colour_codes,
    descriptions,
    jpeg_xl,
    metadata,
    raw_photos,
    sixteen_bit,
)

MAX_PIXELS = 200_000_000
# More pixels than ROOM in a file of less than 1 / MAX_RATIO bytes for each are
# not decoded. A page of one colour takes 1 / 8000.
ROOM = 2**24
MAX_RATIO = 10_000
_FAX = ('group3', 'group4', 'tiff_ccitt')    # an empty line takes one bit
_READ = ('JPEG', 'PNG', 'AVIF', 'BMP', 'GIF', 'TIFF', 'WEBP', 'JPEG2000', 'PPM')
_WRITTEN_AS = {'GIF': 'PNG', 'JPEG2000': 'PNG', 'MPO': 'JPEG', 'PPM': 'PNG',
               'TGA': 'PNG', 'JXL': 'PNG', 'RAW': 'PNG'}
_HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1')
# Orientation -> whether rows become columns, then the steps along both axes.
_TURNS = {2: (0, 1, -1), 3: (0, -1, -1), 4: (0, -1, 1), 5: (1, 1, 1),
          6: (1, 1, -1), 7: (1, -1, -1), 8: (1, -1, 1)}
_HEAD = 64             # bytes that contain the brands of HEIC and AVIF
_TILE = 322, 323       # tags of a TIFF: width and height of a tile
_BITS = 258            # tag of a TIFF: bits of each sample
_pillow_settings = threading.RLock()


class Stored(NamedTuple):
  """A decoded file.

  Attributes:
    samples: uint8 or uint16 [h, w, 1 to 4], gray or RGB, alpha last.
    form: 'JPEG', 'PNG', ...: the format in which it is written again.
    exif, icc, dpi, coding, description, notes: as in `pictures.Picture`.
  """

  samples: np.ndarray
  form: str
  exif: bytes | None
  icc: bytes | None
  dpi: tuple[float, float] | None
  coding: Mapping[str, Any]
  description: descriptions.Description
  notes: tuple[str, ...]


class Header(NamedTuple):
  """What a file says of its picture before the pixels.

  Attributes:
    size: (height, width) of the upright picture.
    plain: whether the file is a PNG or JPEG that `read` only decodes: 8 bits,
      gray or RGB, upright, opaque, a single picture. Other decoders then give
      the same samples.
  """

  size: tuple[int, int]
  plain: bool


class TooLarge(errors.UserError):
  """A picture has more pixels than allowed."""


class Truncated(errors.UserError):
  """A file ends before its picture does."""


def read(
    source: str | os.PathLike | bytes, *, name: str,
    max_pixels: int = MAX_PIXELS, allow_truncated: bool = False) -> Stored:
  """Decodes a picture file.

  Args:
    source: a path, or all bytes of a file.
    name: of the file, for messages.
    max_pixels: a picture with more is refused by its header.
    allow_truncated: whether the missing rest of a file is filled with gray. The
      setting holds for every thread that decodes at the same time.

  Returns:
    The samples and metadata, the first picture where a file has several.

  Raises:
    UserError: no such file, no picture, damaged (Truncated where it is too
      short), too large (TooLarge), more than 16 bits a sample, Lab colours, or
      HEIC without its library.
  """
  reopen = functools.partial(_open, source, name, max_pixels)
  with (_in_one_line(name),
        _lenient() if allow_truncated else contextlib.nullcontext()):
    with reopen() as image:
      metadata.add_xmp_of_gif(image, source)
      stored = _from_image(image, reopen, name)
    stored = _in_srgb(stored, source)
    if stored.samples.dtype == np.uint8 and (
        bits := metadata.coded_bits(source)) > 8:
      return stored._replace(notes=(*stored.notes, f'its {bits} bits became 8'))
    if stored.form == 'WEBP' and metadata.is_lossless_webp(source):
      return stored._replace(coding={'lossless': True})
  return stored


def _in_srgb(stored, source) -> Stored:
  """A decoded file in sRGB, where codes name other colours."""
  codes = None if stored.icc else colour_codes.find(source)
  if not codes:
    return stored
  samples, notes = colour_codes.to_srgb(stored.samples, codes)
  return stored._replace(samples=samples, notes=(*stored.notes, *notes))


def from_image(image: Image.Image) -> Stored:
  """Decodes an opened Pillow image, as `read` decodes its file.

  Raises:
    UserError: as `read`.
  """
  with _in_one_line(name := 'the picture'):
    stored = _from_image(image, None, name)
    file = getattr(image, 'filename', None)    # Pillow knows no codes
    return _in_srgb(stored, file) if file and os.path.isfile(file) else stored


def header(
    source: str | os.PathLike | bytes, *, name: str,
    max_pixels: int = MAX_PIXELS) -> Header:
  """Reads the header of a picture file.

  Args:
    source: as of `read`.
    name: as of `read`.
    max_pixels: as of `read`.

  Raises:
    UserError: no such file, no picture, a damaged header, or TooLarge.
  """
  with _in_one_line(name), _open(source, name, max_pixels) as image:
    width, height = image.size
    is_deep = sixteen_bit.holds(image)
    if image.format == 'PNG' and metadata.has_late_metadata(source):
      image.load()
    # Pillow gives the size of an upright TIFF.
    turn = 1 if image.format == 'TIFF' else metadata.exif(image, [])[1]
    plain = (
        image.format in ('JPEG', 'PNG') and image.mode in ('L', 'RGB')
        and turn == 1 and not is_deep and not image.has_transparency_data
        and not getattr(image, 'is_animated', False)
        and (image.format != 'PNG' or colour_codes.find(source) is None))
  transposed = turn in _TURNS and _TURNS[turn][0]
  return Header((width, height) if transposed else (height, width), plain)


@contextlib.contextmanager
def opened(
    source: str | os.PathLike | bytes, *, name: str,
    max_pixels: float = math.inf) -> Iterator[Image.Image]:
  """Yields Pillow's image of a file; only its header is read.

  Args:
    source: as of `read`.
    name: as of `read`.
    max_pixels: as of `read`.

  Raises:
    UserError: no such file, no picture, a damaged header, or TooLarge; what
      Pillow raises in the block for damaged files.
  """
  with _in_one_line(name), _open(source, name, max_pixels) as image:
    yield image


def form(source: str | os.PathLike | bytes, *, name: str) -> str:
  """Reads from a file's header in which form its picture is written again.

  Args:
    source: as of `read`.
    name: as of `read`.

  Raises:
    UserError: no such file, no picture, or a damaged header.
  """
  with opened(source, name=name) as image:
    return _WRITTEN_AS.get(image.format, image.format)


def content(path: str | os.PathLike) -> bytes:
  """Reads a whole file.

  Raises:
    UserError: no such file, or it cannot be read.
  """
  errors.check_file(path)
  with _in_one_line(os.fspath(path)), open(path, 'rb') as file:
    return file.read()


def turned(samples: np.ndarray, turn: int) -> np.ndarray:
  """Turns samples [h, w, c] upright.

  Args:
    samples: as stored.
    turn: their orientation, 1 to 8.
  """
  if turn == 1:
    return samples
  transposed, *steps = _TURNS[turn]
  samples = samples.swapaxes(0, 1) if transposed else samples
  return np.ascontiguousarray(samples[::steps[0], ::steps[1]])


def split(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
  """Separates samples [h, w, 1 to 4] into RGB [h, w, 3] and alpha [h, w].

  Gray is repeated three times; alpha is None where there is none.
  """
  channels = samples.shape[-1]
  alpha = samples[..., -1] if channels in (2, 4) else None
  if channels < 3:
    return np.repeat(samples[..., :1], 3, axis=-1), alpha
  return samples[..., :3], alpha


@contextlib.contextmanager
def _in_one_line(name):
  """Turns what Pillow raises for a damaged file into a UserError."""
  try:
    yield
  except errors.UserError:
    raise
  except FileNotFoundError:
    raise errors.UserError(f'No file {name}.') from None
  except metadata.BROKEN as error:
    message = text(error)
    kind = Truncated if 'truncated' in message else errors.UserError
    raise kind(f'Cannot read {name}: {message}.') from None


def _from_image(image, reopen, name) -> Stored:
  """Decodes an image; `reopen` opens its file again, None without a file."""
  notes = [*metadata.frames(image), *metadata.gamma(image)]
  if image.format == 'JXL':
    image = jpeg_xl.decoded(image, notes)
  coding = metadata.coding(image)
  form = _WRITTEN_AS.get(image.format, image.format)
  dpi = metadata.dpi(image)
  # Of TIFF files Pillow checks its limit once more.
  limited = (image.format == 'TIFF' and Image.MAX_IMAGE_PIXELS
             and math.prod(image.size) > Image.MAX_IMAGE_PIXELS)
  with _without_limit() if limited else contextlib.nullcontext():
    samples, icc = _decoded(image, reopen, name, notes)
  exif, turn = metadata.exif(image, notes)
  if dpi and turn >= 5:    # rows became columns
    dpi = dpi[::-1]
  description = descriptions.read(image, notes)
  return Stored(
      turned(samples, turn), form, exif, icc, dpi, coding, description,
      tuple(notes))


def need_heif(what: str) -> None:
  """Registers Pillow's decoder and encoder of HEIC.

  Args:
    what: needs it, for the message.

  Raises:
    UserError: pillow-heif is not installed.
  """
  with errors.needs_extra('pillow-heif', extra='heif', what=what):
    import pillow_heif
  pillow_heif.register_heif_opener(thumbnails=False)


def text(error: Exception) -> str:
  """The message of an error in one line, without a full stop."""
  return ' '.join(str(error).split()).rstrip('.') or type(error).__name__


def _open(source, name, max_pixels):
  """Opens a picture; only its header is read."""
  if not isinstance(source, bytes):
    errors.check_file(source)
  head = _head(source)
  file = io.BytesIO(source) if isinstance(source, bytes) else source
  with _without_limit():
    open_ = _opener(source, head, name)
    try:
      image = open_(file)
    except (Image.UnidentifiedImageError, SyntaxError):
      _check_tiff_bits(source, name)
      raise errors.UserError(
          f'{name} is {"no picture, or a broken one" if head else "empty"}; '
          'JPEG, PNG, TIFF, WebP, BMP, GIF, AVIF, HEIC, JPEG 2000, JPEG XL, '
          'PPM, TGA and raw photos are read.') from None
  # A tile of a TIFF may be larger than its picture.
  width, height = (
      max(side, metadata.tag(image, tag) or 0)
      for side, tag in zip(image.size, _TILE, strict=True))
  if width * height > max_pixels:
    image.close()
    raise TooLarge(
        f'{name} has {width}x{height} pixels, and more than {max_pixels:,} '
        'are refused; make it smaller.')
  stored = len(source) if isinstance(source, bytes) else os.stat(source).st_size
  is_fax = image.info.get('compression') in _FAX
  ratio = 8 * width if is_fax else MAX_RATIO
  if width * height > max(ROOM, ratio * stored):
    image.close()
    raise errors.UserError(
        f'{name} is damaged: its {stored:,} bytes cannot hold the '
        f'{width}x{height} pixels that it declares.')
  return image


def _opener(source, head, name) -> Callable[..., Image.Image]:
  """The function that opens a file, chosen by its first bytes."""
  if (head[4:8] == b'ftyp' and head[8:12] in _HEIF_BRANDS
      and b'avif' not in head):
    need_heif(f'{name} is HEIC, which')
    return functools.partial(Image.open, formats=('HEIF',))
  if jpeg_xl.is_jpeg_xl(head):
    jpeg_xl.need_jxl(name)
    return jpeg_xl.JpegXl
  if raw_photos.is_raw(source, name=name):
    raw_photos.need_raw(name)
    return raw_photos.RawPhoto
  # TGA has no mark of its own: the last.
  return functools.partial(Image.open, formats=(
      (*_READ, 'TGA') if name.lower().endswith('.tga') else _READ))


@contextlib.contextmanager
def _without_limit():
  """Lifts Pillow's own limit of pixels, which holds for the whole process."""
  with _pillow_settings, warnings.catch_warnings():
    warnings.simplefilter('ignore')
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
      yield
    finally:
      Image.MAX_IMAGE_PIXELS = limit


def _head(source):
  if isinstance(source, bytes):
    return source[:_HEAD]
  with open(source, 'rb') as file:
    return file.read(_HEAD)


def _check_tiff_bits(source, name):
  """Refuses more than 16 bits in TIFF files that Pillow does not know."""
  bits = 0
  with metadata.opened(source) as file, contextlib.suppress(*metadata.BROKEN):
    directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
    file.seek(directory.next)
    directory.load(file)
    bits = max(directory[_BITS])
  if bits > 16:
    raise errors.UserError(
        f'{name} has {bits} bits a sample; save it with 8 or 16.')


@contextlib.contextmanager
def _lenient():
  ImageFile.LOAD_TRUNCATED_IMAGES = True
  try:
    yield
  finally:
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def _decoded(image, reopen, name, notes):
  """Samples [h, w, 1 to 4], uint8 or uint16, and their colour profile."""
  _check_tiff(image, name)
  if image.format == 'RAW':
    return raw_photos.developed(image, notes), None
  if reopen and sixteen_bit.holds(image):
    samples = sixteen_bit.read(reopen)
    image.load()
    return _with_key(samples, image), image.info.get('icc_profile')
  image.load()
  icc = image.info.get('icc_profile')
  if image.mode.startswith('I;16'):
    samples = np.asarray(image).astype(np.uint16)[..., None]
    # 0 is white, which Pillow inverts for 8 bits alone.
    if metadata.tag(image, 262) == 0:
      samples = 65535 - samples
    return _with_key(samples, image), icc
  if image.format == 'PPM' and image.mode == 'I':
    return np.asarray(image).astype(np.uint16)[..., None], icc
  if image.mode in ('I', 'F'):
    raise errors.UserError(
        f'{name} has 32 bits a sample; save it with 8 or 16.')
  if image.mode == 'CMYK':
    if max(metadata.tag(image, _BITS) or (8,)) > 8:
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
  samples = np.asarray(image if image.mode == mode else image.convert(mode))
  return samples.reshape(*samples.shape[:2], -1), icc


def _check_tiff(image, name):
  bits = metadata.tag(image, _BITS) or (8,)
  formats = metadata.tag(image, 339) or (1,)
  if max(bits) > 16:
    raise errors.UserError(
        f'{name} has {max(bits)} bits a sample; save it with 8 or 16.')
  if set(formats) - {1} or set(bits) - {1, 2, 4, 8, 16}:
    raise errors.UserError(
        f'{name} has samples that are not read; save it with 8 or 16 bits '
        'without a sign.')
  if max(bits) == 16 and metadata.tag(image, 284) == 2:
    raise errors.UserError(
        f'{name} keeps its channels apart; save it with them interleaved.')


def _with_key(samples, image):
  """Adds alpha where a PNG names one transparent colour."""
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
