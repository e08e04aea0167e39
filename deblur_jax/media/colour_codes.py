"""Colours that a file names by code points, ITU-T H.273, and not by a profile.

AVIF and HEIC name them in a box `nclx`, PNG in a chunk `cICP`. Wide colours
(Display P3, BT.2020) and high dynamic range (PQ, HLG of BT.2100) become sRGB:
the codes are decoded to light, the light to the primaries of sRGB, and what is
outside of sRGB is cut. Reference white, 203 cd/m2 (BT.2408), becomes white.
"""

import os
import re
from typing import NamedTuple

import numpy as np

from deblur_jax.media import metadata

_HEAD = 1 << 16        # bytes that contain the codes of AVIF and HEIC
_WHITE = 203.0         # cd/m2
_PEAK = 1000.0         # cd/m2 of the display of HLG
_D65 = (0.3127, 0.3290)
_SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
# Code -> name and chromaticities of red, green and blue.
_WIDE = {9: ('BT.2020', ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))),
         12: ('Display P3', ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)))}
_HIGH = {16: 'PQ', 18: 'HLG'}
# Codes that are shown like sRGB: of BT.601 and BT.709, or unspecified.
_USUAL_PRIMARIES, _USUAL_TRANSFER = (1, 2, 5, 6, 7), (1, 2, 6, 13, 14, 15)
_GAMMA = {4: 2.2, 5: 2.8, 8: 1.0}


class Codes(NamedTuple):
  """The codes of a file.

  Attributes:
    primaries: ColourPrimaries of ITU-T H.273.
    transfer: TransferCharacteristics of ITU-T H.273.
  """

  primaries: int
  transfer: int


def find(source: str | os.PathLike | bytes) -> Codes | None:
  """Reads the codes of a file; None where it has none.

  Args:
    source: a path, or all bytes of a file.
  """
  with metadata.opened(source) as file:
    head = file.read(_HEAD)
  if head.startswith(b'\x89PNG'):
    match = re.search(rb'\x00\x00\x00\x04cICP(.)(.)',
                      head.partition(b'IDAT')[0], re.DOTALL)
    return match and Codes(match[1][0], match[2][0])
  match = head[4:8] == b'ftyp' and re.search(
      rb'colrnclx(..)(..)', head, re.DOTALL)
  return Codes(*(int.from_bytes(code, 'big') for code in match.groups())
               ) if match else None


def to_srgb(
    samples: np.ndarray, codes: Codes) -> tuple[np.ndarray, tuple[str, ...]]:
  """Converts the colours of a picture to sRGB.

  Args:
    samples: uint8 or uint16 [h, w, 1 to 4], gray or RGB, alpha last.
    codes: of the file.

  Returns:
    The samples, and a line that says what changed, or none.
  """
  primaries, transfer = codes
  known = (primaries in (*_USUAL_PRIMARIES, *_WIDE)
           and transfer in (*_USUAL_TRANSFER, *_GAMMA, *_HIGH))
  if not known:
    return samples, (
        f'its colours are of code {primaries} and {transfer}, which are taken '
        'as sRGB: it may look different',)
  if primaries not in _WIDE and transfer in _USUAL_TRANSFER:
    return samples, ()
  colours = samples[..., :3 if samples.shape[-1] >= 3 else 1]
  largest = np.iinfo(samples.dtype).max
  light = _light(colours / np.float32(largest), transfer)
  if primaries in _WIDE and light.shape[-1] == 3:
    light = light @ _to_srgb(_WIDE[primaries][1]).T
  found = samples.copy()
  found[..., :colours.shape[-1]] = np.rint(_encoded(light) * largest)
  names = [_WIDE[primaries][0]] if primaries in _WIDE else []
  names += [_HIGH[transfer]] if transfer in _HIGH else (
      [f'gamma {_GAMMA[transfer]:g}'] if transfer in _GAMMA else [])
  cut = ('; what is brighter than white is cut' if transfer in _HIGH else '')
  return found, (f'its colours ({", ".join(names)}) became sRGB{cut}',)


def _light(signal, transfer):
  """Linear light, 1 for white, from a signal in [0, 1]."""
  if transfer == 16:    # the EOTF of PQ, in 10000 cd/m2
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = signal ** (1 / m2)
    return (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (
        1 / m1) * 10_000 / _WHITE
  if transfer == 18:    # the inverse OETF of HLG, then its OOTF
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(signal <= 0.5, signal**2 / 3,
                     (np.exp((signal - c) / a) + b) / 12)
    luminance = scene if scene.shape[-1] == 1 else scene @ np.float32(
        [0.2627, 0.6780, 0.0593])[:, None]
    return scene * np.maximum(luminance, 1e-9) ** 0.2 * _PEAK / _WHITE
  if transfer in _GAMMA:
    return signal ** _GAMMA[transfer]
  return np.where(signal <= 0.04045, signal / 12.92,
                  ((signal + 0.055) / 1.055) ** 2.4)


def _encoded(light):
  """The signal of sRGB, in [0, 1]."""
  light = np.clip(light, 0, 1)
  return np.where(light <= 0.0031308, 12.92 * light,
                  1.055 * light ** (1 / 2.4) - 0.055)


def _to_srgb(corners):
  """The matrix from light of these primaries to light of sRGB's."""
  return np.linalg.solve(_to_xyz(_SRGB), _to_xyz(corners)).astype(np.float32)


def _to_xyz(corners):
  columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in corners]).T
  x, y = _D65
  white = np.array([x / y, 1, (1 - x - y) / y])
  return columns * np.linalg.solve(columns, white)
