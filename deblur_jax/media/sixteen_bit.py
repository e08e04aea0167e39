"""Pictures of 16 bits a sample in colour, which Pillow reads with 8 bits.

Pillow's decoders keep one byte of each sample. The raw mode of the tile chooses
it: `RGB;16B` the first byte, `RGB;16L` the second. The picture is decoded with
each mode, and both bytes make 16 bits, for every filter, compression and tiling
of the file.
"""

import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

_GRAY_AND_ALPHA = 'LA;16B'


def holds(image: Image.Image) -> bool:
  """Whether an opened, not yet loaded image has bits that Pillow drops."""
  return (image.format in ('PNG', 'TIFF') and image.mode != 'CMYK'
          and not image.mode.startswith('I;16') and ';16' in _raw_mode(image))


def read(reopen: Callable[[], Image.Image]) -> np.ndarray:
  """Reads all bits of an image for which `holds` is true.

  Args:
    reopen: opens the image again.

  Returns:
    uint16 [h, w, 2 to 4], gray or RGB, alpha last.
  """
  with reopen() as image:
    raw = _raw_mode(image)
    kept = image.mode
  if raw == _GRAY_AND_ALPHA:  # four bytes a pixel, unchanged
    pixels = _decoded(reopen, 'RGBA', mode='RGBA')
    high, low = pixels[..., 0::2], pixels[..., 1::2]
  else:
    name, order = raw.split(';16')
    name = name.replace('RGBa', 'RGBA')
    high = _decoded(reopen, f'{name};16B', mode=kept)
    low = _decoded(reopen, f'{name};16L', mode=kept)
    if order == 'L' or (order == 'N' and sys.byteorder == 'little'):
      high, low = low, high
  samples = high.astype(np.uint16) << 8 | low
  return _unmultiplied(samples) if raw.startswith('RGBa') else samples


def _raw_mode(image):
  if not image.tile:
    return ''
  args = image.tile[0].args
  return args if isinstance(args, str) else args[0]


def _decoded(reopen, raw_mode, *, mode):
  with reopen() as image:
    image._mode = mode
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:])
                      if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile]
    return np.asarray(image)


def _unmultiplied(samples):
  """Divides colours that were stored multiplied by alpha."""
  alpha = samples[..., 3:].astype(np.float32)
  colours = samples[..., :3] * (65535 / np.maximum(alpha, 1))
  return np.concatenate(
      [np.rint(np.minimum(colours, 65535)).astype(np.uint16),
       samples[..., 3:]], axis=-1)
