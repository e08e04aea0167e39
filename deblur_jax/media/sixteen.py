"""Colours of 16 bits a sample, of which Pillow reads only 8 bits.

Pillow's decoders take one byte of each sample, the one that the tile's raw mode
names: `RGB;16B` the first, `RGB;16L` the second. Decoded once by each, the two
make 16 bits, whatever the filter, the compression or the tiling of the file.
"""

import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

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
