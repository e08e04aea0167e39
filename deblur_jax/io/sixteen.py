"""Colours of 16 bits a sample, which Pillow reads to 8 bits and never writes.

Pillow's decoders take one byte of each sample, the one that the tile's raw mode
names: `RGB;16B` the first, `RGB;16L` the second. Decoded once by each, the two
make 16 bits, whatever the filter, the compression or the tiling of the file.
"""

import io
import struct
import sys
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, TiffImagePlugin, TiffTags

_ROWS = 64  # that are compressed together
_GRAY_AND_ALPHA = 'LA;16B'


def holds(image: Image.Image) -> bool:
  """Whether an opened picture, not yet loaded, has more than Pillow reads."""
  return (image.format in ('PNG', 'TIFF') and image.mode != 'CMYK'
          and not image.mode.startswith('I;16') and ';16' in _raw_mode(image))


def read(again: Callable[[], Image.Image]) -> np.ndarray:
  """uint16 [h, w, 2 | 3 | 4] of a picture that `holds`.

  Args:
    again: opens the picture anew.
  """
  with again() as image:
    raw = _raw_mode(image)
    kept = image.mode
  if raw == _GRAY_AND_ALPHA:  # four bytes, as they come
    pixels = _decoded(again, 'RGBA', mode='RGBA')
    high, low = pixels[..., 0::2], pixels[..., 1::2]
  else:
    name, order = raw.split(';16')
    name = name.replace('RGBa', 'RGBA')
    high = _decoded(again, f'{name};16B', mode=kept)
    low = _decoded(again, f'{name};16L', mode=kept)
    if order == 'L' or (order == 'N' and sys.byteorder == 'little'):
      high, low = low, high
  samples = high.astype(np.uint16) << 8 | low
  return _unmultiplied(samples) if raw.startswith('RGBa') else samples


def to_png(
    samples: np.ndarray, *, exif: bytes | None = None, icc: bytes | None = None,
    dpi: tuple[float, float] | None = None) -> bytes:
  """A PNG file of uint16 [h, w, 1 to 4]: gray or RGB, alpha last."""
  height, width, channels = samples.shape
  colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
  chunks = [(b'IHDR', struct.pack('>2L5B', width, height, 16, colour, 0, 0, 0))]
  if icc:
    chunks.append((b'iCCP', b'ICC profile\0\0' + zlib.compress(icc)))
  if dpi:
    chunks.append((b'pHYs', struct.pack(
        '>2LB', *(round(value / 0.0254) for value in dpi), 1)))  # per metre
  if exif:
    chunks.append((b'eXIf', exif.removeprefix(b'Exif\0\0')))
  chunks += [(b'IDAT', _png_rows(samples)), (b'IEND', b'')]
  return b'\x89PNG\r\n\x1a\n' + b''.join(
      struct.pack('>L', len(data)) + name + data
      + struct.pack('>L', zlib.crc32(name + data)) for name, data in chunks)


def to_tiff(
    samples: np.ndarray, *, exif: bytes | None = None, icc: bytes | None = None,
    dpi: tuple[float, float] | None = None) -> bytes:
  """A TIFF file of uint16 [h, w, 1 to 4]: gray or RGB, alpha last."""
  if samples.shape[-1] == 2:  # which Pillow and others do not read
    samples = samples[..., [0, 0, 0, 1]]
  height, width, channels = samples.shape
  strips = _tiff_strips(samples)
  tags = TiffImagePlugin.ImageFileDirectory_v2(b'II*\0\0\0\0\0')
  _add_exif(tags, exif)
  tags[TiffImagePlugin.IMAGEWIDTH] = width
  tags[TiffImagePlugin.IMAGELENGTH] = height
  tags[TiffImagePlugin.BITSPERSAMPLE] = (16,) * channels
  tags[TiffImagePlugin.COMPRESSION] = 8  # Deflate
  tags[TiffImagePlugin.PREDICTOR] = 2    # differences along the row
  tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels == 1 else 2
  tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
  tags[TiffImagePlugin.ROWSPERSTRIP] = _ROWS
  tags[TiffImagePlugin.STRIPBYTECOUNTS] = tuple(map(len, strips))
  tags.tagtype[TiffImagePlugin.STRIPOFFSETS] = TiffTags.LONG
  tags[TiffImagePlugin.STRIPOFFSETS] = tuple(
      sum(map(len, strips[:number])) for number in range(len(strips)))
  if channels == 4:
    tags[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha, colours not multiplied
  if icc:
    tags.tagtype[TiffImagePlugin.ICCPROFILE] = TiffTags.UNDEFINED
    tags[TiffImagePlugin.ICCPROFILE] = icc
  if dpi:
    tags[TiffImagePlugin.RESOLUTION_UNIT] = 2  # inches
    tags[TiffImagePlugin.X_RESOLUTION] = dpi[0]
    tags[TiffImagePlugin.Y_RESOLUTION] = dpi[1]
  file = io.BytesIO()
  tags.save(file)
  return file.getvalue() + b''.join(strips)


def _raw_mode(image):
  if not image.tile:
    return ''
  args = image.tile[0].args
  return args if isinstance(args, str) else args[0]


def _decoded(again, raw_mode, *, mode):
  with again() as image:
    image._mode = mode
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:])
                      if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile]
    return np.asarray(image)


def _unmultiplied(samples):
  """Colours that were stored times alpha, without it."""
  alpha = samples[..., 3:].astype(np.float32)
  colours = samples[..., :3] * (65535 / np.maximum(alpha, 1))
  return np.concatenate(
      [np.rint(np.minimum(colours, 65535)).astype(np.uint16),
       samples[..., 3:]], axis=-1)


def _png_rows(samples):
  height, _, channels = samples.shape
  pack = zlib.compressobj(6, strategy=zlib.Z_FILTERED)
  packed = []
  for start in range(0, height, _ROWS):
    rows = np.ascontiguousarray(
        samples[start:start + _ROWS], '>u2').view(np.uint8)
    rows = rows.reshape(rows.shape[0], -1)
    left = np.pad(rows, ((0, 0), (2 * channels, 0)))[:, :rows.shape[1]]
    filters = np.ones((len(rows), 1), np.uint8)  # 1: less the pixel to the left
    packed.append(pack.compress(np.hstack([filters, rows - left]).tobytes()))
  return b''.join(packed) + pack.flush()


def _tiff_strips(samples):
  strips = []
  for start in range(0, len(samples), _ROWS):
    rows = samples[start:start + _ROWS]
    steps = np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1]))
    strips.append(zlib.compress(steps.astype('<u2').tobytes()))
  return strips


def _add_exif(tags, exif):
  block = Image.Exif()
  block.load(exif)
  for tag, value in block.items():
    if tag in (0x8769, 0x8825):  # directories of their own
      tags.tagtype[tag] = TiffTags.LONG
      value = block.get_ifd(tag)
    tags[tag] = value


WRITERS = {'PNG': to_png, 'TIFF': to_tiff}
