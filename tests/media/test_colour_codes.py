"""Wide colours and high dynamic range become sRGB, with a note."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from deblur_jax.media import colour_codes, decoding, pictures


def _signal(*values):
  """uint16 [1, 1, 3] of values in [0, 1]."""
  return np.rint(np.array([[values]]) * 65535).astype(np.uint16)


# Of SMPTE EG 432-1 and BT.2087: light of these primaries to that of sRGB.
MATRICES = {12: [[1.2249, -0.2249, 0], [-0.0421, 1.0421, 0],
                 [-0.0196, -0.0786, 1.0983]],
            9: [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083],
                [-0.0182, -0.1006, 1.1187]]}


@pytest.mark.parametrize('primaries', MATRICES)
def test_wide_colours(primaries):
  signal = np.array([0.62, 0.5, 0.45])
  light = np.array(MATRICES[primaries]) @ ((signal + 0.055) / 1.055) ** 2.4
  found, _ = colour_codes.to_srgb(
      _signal(*signal), colour_codes.Codes(primaries, 13))
  np.testing.assert_allclose(
      found[0, 0] / 65535, 1.055 * light ** (1 / 2.4) - 0.055, atol=3e-4)


@pytest.mark.parametrize('codes, signal, expected', [
    ((1, 13), (0.2, 0.5, 0.8), (0.2, 0.5, 0.8)),
    ((9, 16), (0.5807,) * 3, (1, 1, 1)),       # 203 cd/m2
    ((9, 18), (0.75,) * 3, (1, 1, 1)),
    ((9, 16), (1, 1, 1), (1, 1, 1)),
    ((12, 13), (0.5,) * 3, (0.5,) * 3),
    ((1, 8), (0.2140,) * 3, (0.5,) * 3),
])
def test_colours(codes, signal, expected):
  found, notes = colour_codes.to_srgb(
      _signal(*signal), colour_codes.Codes(*codes))
  np.testing.assert_allclose(found[0, 0] / 65535, expected, atol=3e-3)
  assert len(notes) == (codes != (1, 13))


def test_unknown_codes_change_nothing_and_are_told():
  signal = _signal(0.1, 0.2, 0.3)
  found, notes = colour_codes.to_srgb(signal, colour_codes.Codes(200, 201))
  np.testing.assert_array_equal(found, signal)
  assert 'code 200 and 201' in notes[0]


@pytest.mark.parametrize('codes, names', [
    ((9, 18), 'BT.2020, HLG'), ((9, 16), 'BT.2020, PQ'),
    ((12, 13), 'Display P3'), ((1, 13), None)])
def test_a_png_with_codes(codes, names, tmp_path):
  path = tmp_path / 'a.png'
  Image.fromarray(np.full((4, 5, 3), (200, 100, 50), np.uint8)).save(path)
  data, chunk = path.read_bytes(), b'cICP' + bytes((*codes, 0, 1))
  path.write_bytes(data[:33] + struct.pack('>I', 4) + chunk + struct.pack(
      '>I', zlib.crc32(chunk)) + data[33:])
  picture = pictures.read(path)
  assert [names in note for note in picture.notes] == [True] * bool(names)
  assert not decoding.header(path, name='a').plain
  with Image.open(path) as image:
    np.testing.assert_array_equal(
        pictures.from_pil(image).image, picture.image)
  plain = np.float32([200, 100, 50]) / 255
  assert np.allclose(picture.image[0, 0], plain) == (names is None)


def test_codes_of_avif(tmp_path):
  Image.new('RGB', (16, 16), (200, 100, 50)).save(tmp_path / 'a.avif')
  data = (tmp_path / 'a.avif').read_bytes()
  assert colour_codes.find(data) == colour_codes.Codes(1, 13)
  wide = data.replace(b'colrnclx\0\1\0\x0d', b'colrnclx\0\x0c\0\x0d')
  assert 'Display P3' in pictures.read(wide).notes[0]
