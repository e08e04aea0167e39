"""Raw photos become sRGB with 16 bits by the extra, or one line."""

import io
import sys

import numpy as np
import odd_pictures
import pytest
from PIL import Image

from deblur_jax import errors
from deblur_jax.media import exif, pictures, raw_photos

RNG = np.random.default_rng(0)


def test_a_raw_photo_is_upright_srgb(tmp_path):
  pytest.importorskip('rawpy')
  linear = np.array([0.25, 0.1, 0.6])     # of the camera, whose white is 1
  mosaic = np.zeros((34, 50), np.uint16)
  for (row, column), value in zip(
      ((0, 0), (0, 1), (1, 0), (1, 1)), linear[[0, 1, 1, 2]], strict=True):
    mosaic[row::2, column::2] = round(value * 65535)
  (tmp_path / 'a.dng').write_bytes(odd_pictures.dng(mosaic, turn=6))
  assert pictures.size(tmp_path / 'a.dng') == (50, 34)
  picture = pictures.read(tmp_path / 'a.dng')
  assert picture.image.shape == (50, 34, 3)
  assert (picture.bits, picture.form, picture.icc) == (16, 'PNG', None)
  np.testing.assert_allclose(
      picture.image[20, 20], 1.055 * linear ** (1 / 2.4) - 0.055, atol=1e-3)
  assert exif.orientation(picture.exif) == 1 and b'Camera!' in picture.exif
  assert picture.notes == (
      'a raw photo, developed as sRGB by the white balance of the camera',)
  again = pictures.read(pictures.encode(picture, picture.image))
  np.testing.assert_array_equal(again.image, picture.image)
  assert b'Camera!' in again.exif


@pytest.mark.parametrize('name', ['a.dng', 'a.tif', 'without_suffix', None])
def test_content_counts(name, tmp_path):
  pytest.importorskip('rawpy')
  data = odd_pictures.dng(RNG.integers(0, 65536, (34, 50), np.uint16))
  source = data if name is None else tmp_path / name
  if name:
    source.write_bytes(data)
  assert raw_photos.is_raw(source, name=name or '')
  assert pictures.read(source).image.shape == (34, 50, 3)


def test_a_jpeg_by_the_name_of_a_raw_photo_is_a_jpeg(tmp_path):
  Image.new('RGB', (9, 7)).save(tmp_path / 'a.nef', 'JPEG')
  assert pictures.read(tmp_path / 'a.nef').form == 'JPEG'


@pytest.mark.parametrize('head', [
    b'FUJIFILMCCD-RAW 0201', b'IIRO\x08\0\0\0', b'IIU\0\x18\0\0\0',
    b'II*\0\x10\0\0\0CR\2\0', b'\0\0\0\x18ftypcrx \0\0\0\1'])
def test_the_message_names_the_extra(head, monkeypatch):
  monkeypatch.setitem(sys.modules, 'rawpy', None)
  with pytest.raises(errors.UserError, match=(
      r'is a raw photo, which needs rawpy: pip install .deblur-jax\[raw\]')):
    pictures.read(head.ljust(64, b'\0'))


def test_damaged_raw_photos_are_read_or_refused_in_a_line():
  pytest.importorskip('rawpy')
  data = odd_pictures.dng(RNG.integers(0, 65536, (34, 50), np.uint16))
  damaged = [data[:-10], data[:700], b'FUJIFILMCCD-RAW'.ljust(200, b'\0')]
  for _ in range(20):
    samples = bytearray(data)
    for place in RNG.integers(8, 500, 3):
      samples[place] = RNG.integers(256)
    damaged.append(bytes(samples))
  refused = 0
  for one in damaged:
    try:
      pictures.read(one, max_pixels=1_000_000)
    except errors.UserError as error:
      refused += 1
      assert '\n' not in str(error)
  assert 3 <= refused < len(damaged)


def test_too_large_a_raw_photo_is_refused_by_its_header():
  pytest.importorskip('rawpy')
  data = odd_pictures.dng(np.zeros((40, 50), np.uint16))
  with pytest.raises(errors.UserError, match='50x40 pixels, and more than 1,9'):
    pictures.read(data, max_pixels=1999)
  assert raw_photos.RawPhoto(io.BytesIO(data)).size == (50, 40)
  assert 'RAW' not in Image.OPEN    # Pillow stays as it was
