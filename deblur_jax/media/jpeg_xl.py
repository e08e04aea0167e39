"""JPEG XL: the header of a file, and its picture by the extra `jxl`.

The library decodes the whole picture to learn its size. The header is
therefore parsed here (ISO/IEC 18181-1, D.1 to D.3), so that a picture that is
too large is refused before it takes memory.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageFile

from deblur_jax import errors
from deblur_jax.media import exif

_CODESTREAM = b'\xff\x0a'
_CONTAINER = b'\0\0\0\x0cJXL \r\n\x87\n'
_HEADER = 64             # bytes of a codestream that contain its header
_DESCRIPTION = 1 << 24   # greatest length of XMP that is read, in bytes
# Width to height: the numbers that the three bits of a ratio stand for.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4),
           7: (2, 1)}
# A number's selector -> (offset, bits that follow), of sides, bits of a sample.
_SIDES = ((1, 9), (1, 13), (1, 18), (1, 30))
_BITS = ((8, 0), (10, 0), (12, 0), (1, 6))
_FLOAT_BITS = ((32, 0), (16, 0), (24, 0), (1, 6))


class Header(NamedTuple):
  """What a codestream says of its picture.

  Attributes:
    size: (width, height) of the upright picture.
    bits: of a sample.
    moves: whether it is animated.
  """

  size: tuple[int, int]
  bits: int
  moves: bool


class JpegXl(ImageFile.ImageFile):
  """An opened file; only its header is read, see `decoded`."""

  format = 'JXL'

  def _open(self):
    self.header = header(self.fp)
    self._size, self._mode = self.header.size, 'RGB'


def is_jpeg_xl(head: bytes) -> bool:
  """Whether a file with these first bytes is JPEG XL."""
  return head.startswith((_CODESTREAM, _CONTAINER))


def need_jxl(name: str) -> None:
  """Imports the decoder of JPEG XL.

  Args:
    name: of the file, for the message.

  Raises:
    UserError: pillow-jxl-plugin is not installed.
  """
  with errors.needs_extra('pillow-jxl-plugin', extra='jxl',
                          what=f'{name} is JPEG XL, which'):
    import pillow_jxl  # noqa: F401


def decoded(image: JpegXl, notes: list[str]) -> Image.Image:
  """Decodes an opened file.

  Args:
    image: opened; only its header is read so far.
    notes: gets a line for each thing that is left out.

  Returns:
    A loaded image with 8 bits, or 16 where it is gray, with EXIF and XMP.

  Raises:
    OSError: the file is damaged.
  """
  from pillow_jxl.JpegXLImagePlugin import JXLImageFile

  image.fp.seek(0)
  xmp = b''.join(content for kind, content in _boxes(image.fp)
                 if kind == b'xml ')
  image.fp.seek(0)
  try:
    found = JXLImageFile(image.fp)
    found.load()
  except RuntimeError:    # its message is advice to the builders of libjxl
    raise OSError('its JPEG XL data are damaged or end too early') from None
  if 'exif' in found.info and not found.jpeg:
    # libjxl has turned the picture already.
    found.info['exif'] = exif.upright(exif.PREFIX + found.info['exif'])
  if xmp:
    found.info['xmp'] = xmp
  if image.header.moves:
    notes.append('animated: only the first frame is taken')
  if image.header.bits > 8 and not found.mode.startswith(('I;16', 'F')):
    notes.append(f'its {image.header.bits} bits became 8')
  return found


def header(file: BinaryIO) -> Header:
  """Reads the header of a file.

  Args:
    file: at its start.

  Raises:
    SyntaxError: no JPEG XL.
  """
  if file.read(2) == _CODESTREAM:
    return _header(file.read(_HEADER))
  file.seek(0)
  for kind, content in _boxes(file):
    if kind in (b'jxlc', b'jxlp'):    # whole, or the first part by its number
      start = content[4:] if kind == b'jxlp' else content
      if start.startswith(_CODESTREAM):
        return _header(start[2:2 + _HEADER])
  raise SyntaxError('not a JPEG XL file')


def _boxes(file) -> Iterator[tuple[bytes, bytes]]:
  """Yields (type, content) of the boxes of a container; long ones are cut."""
  end = file.seek(0, os.SEEK_END)
  start = 0
  while start + 8 <= end:
    file.seek(start)
    head = file.read(16)
    size, skip = int.from_bytes(head[:4]), 8
    if size == 1:
      size, skip = int.from_bytes(head[8:]), 16
    size = size or end - start    # 0 is the rest of the file
    if size < skip:
      return
    file.seek(start + skip)
    yield head[4:8], file.read(min(
        size - skip, _DESCRIPTION if head[4:8] == b'xml ' else _HEADER + 6))
    start += size


class _Bits:
  """Reads numbers of some bits, the lowest bit first."""

  def __init__(self, content):
    self.rest = int.from_bytes(content, 'little')

  def take(self, count):
    value, self.rest = self.rest & ((1 << count) - 1), self.rest >> count
    return value

  def choose(self, table):
    offset, count = table[self.take(2)]
    return offset + self.take(count)


def _header(content) -> Header:
  """Parses a codestream behind its signature."""
  bits = _Bits(content)
  width, height = _size(bits)
  turn, depth, moves = 1, 8, False
  if not bits.take(1):      # not all is as usual
    has_preview = False
    if bits.take(1):        # more than colours
      turn = 1 + bits.take(3)
      if bits.take(1):      # the size at which it is shown
        _size(bits)
      has_preview = bits.take(1)
      if not has_preview and bits.take(1):
        moves = True
        bits.choose(((100, 0), (1000, 0), (1, 10), (1, 30)))   # ticks
        bits.choose(((1, 0), (1001, 0), (1, 8), (1, 10)))
        bits.choose(((0, 0), (0, 3), (0, 16), (0, 32)))        # loops
        bits.take(1)
    if not has_preview:     # no encoder writes one
      is_float = bits.take(1)
      depth = bits.choose(_FLOAT_BITS if is_float else _BITS)
  return Header((height, width) if turn > 4 else (width, height), depth, moves)


def _size(bits) -> tuple[int, int]:
  """(width, height): sides of eights of pixels, or of any number."""
  is_small = bits.take(1)
  side = lambda: (8 * (1 + bits.take(5)) if is_small else bits.choose(_SIDES))
  height = side()
  ratio = bits.take(3)
  if not ratio:
    return side(), height
  across, down = _RATIOS[ratio]
  return height * across // down, height
