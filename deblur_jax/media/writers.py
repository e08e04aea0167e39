"""Files that Pillow cannot write: PNG with 16 bits, and TIFF with EXIF.

Pillow writes colours with 8 bits only, and loses the directories of EXIF in
compressed TIFF files.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image, TiffImagePlugin, TiffTags

from deblur_jax.media import descriptions, metadata
from deblur_jax.media import exif as exif_blocks
from deblur_jax.media.descriptions import Description

_ROWS = 64   # rows that are compressed together
_XMP, _RESOURCES = 700, 34377    # tags
NOTHING = Description()
_LEVEL = 3   # of zlib: half the time of its default, 2 % longer files


def to_png16(
    samples: np.ndarray, *, exif: bytes | None = None, icc: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    description: Description = NOTHING) -> bytes:
  """Encodes a PNG file with 16 bits a sample.

  Args:
    samples: uint16 [h, w, 1 to 4], gray or RGB, alpha last.
    exif: an EXIF block.
    icc: a colour profile.
    dpi: resolution (x, y).
    description: XMP and texts.

  Returns:
    The bytes of the file.
  """
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
  if about := descriptions.for_pillow(description, 'PNG'):
    chunks += [(name, data) for name, data, *_ in about['pnginfo'].chunks]
  chunks += [(b'IDAT', _png_rows(samples)), (b'IEND', b'')]
  return b'\x89PNG\r\n\x1a\n' + b''.join(
      struct.pack('>L', len(data)) + name + data
      + struct.pack('>L', zlib.crc32(name + data)) for name, data in chunks)


def to_tiff(
    samples: np.ndarray, *, exif: bytes | None = None, icc: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    description: Description = NOTHING) -> bytes:
  """Encodes a TIFF file.

  Gray with alpha and 16 bits becomes RGB with alpha: few programs read the
  former.

  Args:
    samples: uint8 or uint16 [h, w, 1 to 4], gray or RGB, alpha last.
    exif: as of `to_png16`.
    icc: as of `to_png16`.
    dpi: as of `to_png16`.
    description: XMP and IPTC.

  Returns:
    The bytes of the file.
  """
  if samples.shape[-1] == 2 and samples.dtype == np.uint16:
    samples = samples[..., [0, 0, 0, 1]]
  height, width, channels = samples.shape
  strips = _tiff_strips(samples)
  tags = _exif_tags(exif)
  tags[TiffImagePlugin.IMAGEWIDTH] = width
  tags[TiffImagePlugin.IMAGELENGTH] = height
  tags[TiffImagePlugin.BITSPERSAMPLE] = (
      8 * samples.dtype.itemsize,) * channels
  tags[TiffImagePlugin.COMPRESSION] = 8  # Deflate
  tags[TiffImagePlugin.PREDICTOR] = 2    # differences along the row
  tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if channels < 3 else 2
  tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
  tags[TiffImagePlugin.ROWSPERSTRIP] = _ROWS
  tags[TiffImagePlugin.STRIPBYTECOUNTS] = tuple(map(len, strips))
  tags.tagtype[TiffImagePlugin.STRIPOFFSETS] = TiffTags.LONG
  tags[TiffImagePlugin.STRIPOFFSETS] = tuple(
      sum(map(len, strips[:number])) for number in range(len(strips)))
  if channels in (2, 4):
    tags[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha, colours not multiplied
  if icc:
    tags.tagtype[TiffImagePlugin.ICCPROFILE] = TiffTags.UNDEFINED
    tags[TiffImagePlugin.ICCPROFILE] = icc
  for number, content in ((_XMP, description.xmp),
                          (_RESOURCES, description.resources)):
    if content:
      tags.tagtype[number] = TiffTags.BYTE
      tags[number] = content
  if dpi:
    tags[TiffImagePlugin.RESOLUTION_UNIT] = 2  # inches
    tags[TiffImagePlugin.X_RESOLUTION] = dpi[0]
    tags[TiffImagePlugin.Y_RESOLUTION] = dpi[1]
  file = io.BytesIO()
  tags.save(file)
  return file.getvalue() + b''.join(strips)


def _png_rows(samples):
  height, _, channels = samples.shape
  pack = zlib.compressobj(_LEVEL, strategy=zlib.Z_FILTERED)
  packed = []
  for start in range(0, height, _ROWS):
    rows = np.ascontiguousarray(
        samples[start:start + _ROWS], '>u2').view(np.uint8)
    rows = rows.reshape(rows.shape[0], -1)
    left = np.pad(rows, ((0, 0), (2 * channels, 0)))[:, :rows.shape[1]]
    filters = np.ones((len(rows), 1), np.uint8)  # 1: minus the left pixel
    packed.append(pack.compress(np.hstack([filters, rows - left]).tobytes()))
  return b''.join(packed) + pack.flush()


def _tiff_strips(samples):
  strips = []
  for start in range(0, len(samples), _ROWS):
    rows = samples[start:start + _ROWS]
    steps = np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1]))
    steps = steps.astype(steps.dtype.newbyteorder('<'))
    strips.append(zlib.compress(steps.tobytes(), _LEVEL))
  return strips


def _exif_tags(exif):
  """A TIFF's directory with the tags of EXIF; empty where EXIF is damaged."""
  tags = TiffImagePlugin.ImageFileDirectory_v2(b'II*\0\0\0\0\0')
  try:
    block = Image.Exif()
    block.load(exif)
    for tag in exif_blocks.DESCRIPTIVE:
      if tag in block:
        tags[tag] = block[tag]
    for tag in exif_blocks.DIRECTORIES:
      if tag in block:
        tags.tagtype[tag] = TiffTags.LONG
        tags[tag] = block.get_ifd(tag)
    tags.tobytes()
  except metadata.BROKEN:
    return TiffImagePlugin.ImageFileDirectory_v2(b'II*\0\0\0\0\0')
  return tags
