"""What a picture file says about its picture: EXIF, orientation, resolution.

Functions that take an image take an opened Pillow image.
"""

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from PIL import Image, JpegImagePlugin

from deblur_jax.media import exif as exif_blocks

# What Pillow raises for damaged files.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError,
          AttributeError, TypeError, RuntimeError, OverflowError, struct.error,
          zlib.error, Image.DecompressionBombError)
# Before and after the XMP of a GIF (Adobe, XMP Specification, part 3).
_GIF_XMP = b'!\xff\x0bXMP DataXMP', b'\x01\xff\xfe'
_PROPERTIES = 1 << 16  # bytes that contain the bit depth of HEIC and AVIF


def opened(source: str | os.PathLike | bytes) -> BinaryIO:
  """Opens a path, or the bytes of a file, for reading."""
  return io.BytesIO(source) if isinstance(source, bytes) else open(source, 'rb')


def coded_bits(source: str | os.PathLike | bytes) -> int:
  """Bits of a sample where Pillow gives 8 whatever the file has.

  Args:
    source: a file, or all of its bytes.

  Returns:
    The bits of HEIC, AVIF, JPEG 2000 and PPM, at least 8; 8 for other files.
  """
  with opened(source) as file:
    head = file.read(_PROPERTIES)
  if match := re.match(rb'P[2356]\s+(?:#.*\s+)*\d+\s+\d+\s+(\d+)\s', head):
    return max(8, int(match[1]).bit_length())
  is_jpeg_2000 = head[:2] == b'\xff\x4f' or head[4:8] == b'jP  '
  match = is_jpeg_2000 and re.search(
      rb'\xff\x4f\xff\x51.{36}(..)', head, re.DOTALL)
  if match:
    # SIZ (ISO/IEC 15444-1, A.5.1): the components, then 3 bytes for each.
    parts = head[match.end():][:3 * int.from_bytes(match[1], 'big'):3]
    return max([8, *((bits & 127) + 1 for bits in parts)])
  if head[4:8] != b'ftyp':
    return 8
  # pixi (ISO/IEC 23008-12, 6.5.6): version and flags, channels, bits of each.
  return max([8, *(bits for found in re.finditer(
      rb'pixi\0\0\0\0([\1-\4])', head)
      for bits in head[found.end():found.end() + found[1][0]])])


def is_lossless_webp(source: str | os.PathLike | bytes) -> bool:
  """Whether the first picture of a WebP file is coded without loss."""
  with opened(source) as file:
    file.seek(12)
    while len(head := file.read(8)) == 8:
      name, size = head[:4], int.from_bytes(head[4:], 'little')
      if name in (b'VP8 ', b'VP8L'):
        return name == b'VP8L'
      # A frame of an animation contains its own chunks after 16 bytes.
      file.seek(16 if name == b'ANMF' else size + size % 2, os.SEEK_CUR)
  return False


def add_xmp_of_gif(
    image: Image.Image, source: str | os.PathLike | bytes) -> None:
  """Adds the XMP of a GIF, which Pillow passes over, to `image.info`."""
  if image.format != 'GIF':
    return
  begin, end = _GIF_XMP
  with opened(source) as file:
    packet, is_whole, _ = file.read().partition(begin)[2].partition(end)
  if packet and is_whole:
    image.info['xmp'] = packet


def has_late_metadata(source: str | os.PathLike | bytes) -> bool:
  """Whether a PNG may have EXIF or XMP behind its pixels.

  Pillow finds them only after it has decoded the pixels.
  """
  names = set()
  with opened(source) as file:
    file.seek(8)
    while len(head := file.read(8)) == 8:
      if names or head[4:] == b'IDAT':
        names.add(head[4:])
      file.seek(int.from_bytes(head[:4]) + 4, os.SEEK_CUR)
  return not names.isdisjoint((b'eXIf', b'iTXt'))


def frames(image: Image.Image) -> Iterator[str]:
  """A note where a file holds several pictures."""
  count = getattr(image, 'n_frames', 1)
  if count > 1:
    kind = ('animated' if image.format in ('AVIF', 'GIF', 'PNG', 'WEBP')
            else 'several pictures in one file')
    yield f'{kind}: only the first of {count} is taken'


def gamma(image: Image.Image) -> Iterator[str]:
  """A note where a PNG's own gamma is ignored."""
  value = image.info.get('gamma')
  if value and abs(value - 1 / 2.2) > 0.02 and not (
      'icc_profile' in image.info or 'srgb' in image.info):
    yield f'its gamma of {value:g} is left out: it may look lighter or darker'


def coding(image: Image.Image) -> dict[str, Any]:
  """How a JPEG was compressed; {} for other formats.

  Returns:
    'subsampling': Pillow's number of the chroma subsampling; 'fineness': sum of
    the first quantization table, less where the quality is higher.
  """
  if image.format not in ('JPEG', 'MPO'):
    return {}
  tables = image.quantization
  return {'subsampling': max(JpegImagePlugin.get_sampling(image), 0),
          'fineness': sum(tables[min(tables)]) if tables else 0}


def tag(image: Image.Image, number: int) -> Any:
  """The value of a tag of a TIFF; None in other files."""
  return image.tag_v2.get(number) if image.format == 'TIFF' else None


def exif(image: Image.Image, notes: list[str]) -> tuple[bytes | None, int]:
  """The EXIF block and the orientation of an image.

  Args:
    image: an opened image.
    notes: gets a line where the block is broken.

  Returns:
    The block for the upright picture, or None; the orientation of the stored
    picture, 1 to 8.
  """
  try:
    block = describing(image.getexif()) if image.format == 'TIFF' else (
        image.info.get('exif'))
    turn = exif_blocks.orientation(block) if block else 1
    block = exif_blocks.upright(block) if block else None
  except BROKEN:
    notes.append('its EXIF is broken and is left out')
    return None, 1
  if turn == 1:  # some programs write the orientation into XMP alone
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', _xmp(image))
    turn = int(found[1]) if found and not block else turn
  return block, turn


def _xmp(image):
  xmp = image.info.get('xmp', b'')
  return xmp if isinstance(xmp, bytes) else str(xmp).encode()


def describing(stored: Image.Exif) -> bytes | None:
  """The part of a TIFF's first directory that describes the picture.

  Args:
    stored: the directory.

  Returns:
    An EXIF block, or None.
  """
  block = Image.Exif()
  for number in exif_blocks.DESCRIPTIVE:
    if number in stored:
      block[number] = stored[number]
  for number in exif_blocks.DIRECTORIES:
    if inner := stored.get_ifd(number):
      block.get_ifd(number).update(inner)
  data = block.tobytes()
  return data if len(block) or len(data) > 20 else None


def dpi(image: Image.Image) -> tuple[float, float] | None:
  """The resolution (x, y) of the stored picture, or None."""
  try:
    x, y = (float(value) for value in image.info['dpi'])
  except (KeyError, TypeError, ValueError, ZeroDivisionError):
    return None
  if (tag(image, 274) or 1) >= 5:  # a TIFF; Pillow turned it
    x, y = y, x
  return (x, y) if 1 <= x <= 65535 and 1 <= y <= 65535 else None
