"""JPEG XL is read by the extra, or refused in one line."""

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from deblur_jax import errors
from deblur_jax.media import exif, jpeg_xl, pictures
from deblur_jax.ops import bit_depth

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 31, 3), np.uint8)


def encoded(pixels=PIXELS, **options):
  pytest.importorskip('pillow_jxl')
  file = io.BytesIO()
  Image.fromarray(pixels).save(
      file, 'JXL', **{'lossless': True, 'effort': 1, **options})
  return file.getvalue()


def bits(*numbers):
  """A codestream of (value, bits), the lowest bit first."""
  word = place = 0
  for value, count in numbers:
    word, place = word | value << place, place + count
  return b'\xff\x0a' + word.to_bytes(80, 'little')


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_it_becomes_png(channels, tmp_path):
  pixels = RNG.integers(0, 256, (20, 31, channels), np.uint8).squeeze()
  (tmp_path / 'a.jxl').write_bytes(encoded(pixels))
  assert pictures.size(tmp_path / 'a.jxl') == (20, 31)
  picture = pictures.read(tmp_path / 'a.jxl')
  assert (picture.form, picture.bits, picture.notes) == ('PNG', 8, ())
  np.testing.assert_array_equal(
      bit_depth.to_uint8(picture.image),
      np.broadcast_to(pixels.reshape(20, 31, channels)[..., :3], (20, 31, 3)))
  assert (picture.alpha is not None) == (channels == 4)


def test_the_turn_of_exif_is_that_of_the_pixels():
  about = Image.Exif()
  about[0x0112], about[271] = 6, 'Camera!'
  # A JPEG inside is decoded as one; libjxl turns all others.
  file = io.BytesIO()
  Image.fromarray(PIXELS).save(file, 'JPEG', exif=about)
  plain = encoded(exif=about.tobytes(), xmp=b'<x:xmpmeta>5 stars</x:xmpmeta>')
  picture = pictures.read(plain)
  assert exif.orientation(picture.exif) == 1 and b'Camera!' in picture.exif
  assert picture.description.xmp == b'<x:xmpmeta>5 stars</x:xmpmeta>'
  assert picture.image.shape == (20, 31, 3)


def test_a_jpeg_inside_is_turned_by_its_exif(tmp_path):
  pytest.importorskip('pillow_jxl')
  about = Image.Exif()
  about[0x0112] = 6
  Image.fromarray(PIXELS).save(tmp_path / 'a.jpg', exif=about)
  with Image.open(tmp_path / 'a.jpg') as image:
    image.save(tmp_path / 'a.jxl', lossless_jpeg=True)
  assert pictures.size(tmp_path / 'a.jxl') == (31, 20)
  np.testing.assert_array_equal(pictures.read(tmp_path / 'a.jxl').image,
                                pictures.read(tmp_path / 'a.jpg').image)


@pytest.mark.parametrize('numbers, size, depth, moves', [
    # small, sides of 8 * (1 + 2); all as usual
    (((1, 1), (2, 5), (1, 3), (1, 1)), (24, 24), 8, False),
    # 9 bits: 1 + 99 rows; 13 bits: 1 + 2999 columns
    (((0, 1), (0, 2), (99, 9), (0, 3), (1, 2), (2999, 13), (1, 1)),
     (3000, 100), 8, False),
    # 16:9 of 90 rows; not as usual: no extra fields, integers of 10 bits
    (((0, 1), (0, 2), (89, 9), (5, 3), (0, 1), (0, 1), (0, 1), (1, 2)),
     (160, 90), 10, False),
    # turned (7 + 1), animated with 100 ticks, no loops; floats of 16 bits
    (((1, 1), (0, 5), (7, 3), (0, 1), (1, 1), (7, 3), (0, 1), (0, 1), (1, 1),
      (0, 2), (0, 2), (0, 2), (0, 1), (1, 1), (1, 2)), (8, 16), 16, True)])
def test_headers(numbers, size, depth, moves):
  stream = bits(*numbers)
  box = struct.pack('>L4s', len(stream) + 8, b'jxlc') + stream
  boxed = b'\0\0\0\x0cJXL \r\n\x87\n' + box
  for data in (stream, boxed):
    assert jpeg_xl.header(io.BytesIO(data)) == (size, depth, moves)


def test_too_large_a_picture_is_refused_by_its_header():
  pytest.importorskip('pillow_jxl')
  huge = bits((0, 1), (3, 2), (2**20 - 1, 30), (1, 3), (1, 1))
  with pytest.raises(errors.UserError, match='has 1048576x1048576 pixels'):
    pictures.read(huge)


def test_damaged_files_are_read_or_refused_in_a_line():
  data = encoded()
  damaged = [data[:-10], data[:40], data[:12], b'\0\0\0\x0cJXL \r\n\x87\n']
  for _ in range(60):
    samples = bytearray(data)
    for place in RNG.integers(2, len(data), 3):
      samples[place] = RNG.integers(256)
    damaged.append(bytes(samples))
  for one in damaged:
    try:
      pictures.read(one, max_pixels=1_000_000)
    except errors.UserError as error:
      assert '\n' not in str(error) and 'source' not in str(error)


def test_the_message_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pillow_jxl', None)
  with pytest.raises(errors.UserError, match=(
      r'is JPEG XL, which needs pillow-jxl-plugin: .*deblur-jax\[jxl\]')):
    pictures.read(bits((1, 1)))
