"""Every kind of photo is read right and goes back as it came."""

import io
import os
import pathlib
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import odd_pictures
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from deblur_jax import errors
from deblur_jax.media import decoding, exif, pictures, writers
from deblur_jax.ops import bit_depth

RNG = np.random.default_rng(0)
LOSSLESS = ('BMP', 'PNG', 'TIFF')
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def smooth(mode, height=21, width=34):
  """A smooth Pillow picture of a mode."""
  small = RNG.integers(0, 256, (4, 5, 4), np.uint8)
  image = Image.fromarray(small).resize((width, height), Image.BICUBIC)
  if mode == 'I;16':
    return Image.fromarray(
        np.asarray(image.getchannel(0)).astype(np.uint16) * 251 + 7)
  return image.convert(mode)


def encoded(image, form, **options):
  file = io.BytesIO()
  image.save(file, form, **options)
  return file.getvalue()


def deep(channels, height=9, width=70):
  return RNG.integers(0, 65536, (height, width, channels), np.uint16)


def tiff(samples, **options):
  file = io.BytesIO()
  layout = {'photometric': 'rgb', 'planarconfig': 'contig'}
  if samples.shape[-1] == 1:
    samples, layout = samples[..., 0], {'photometric': 'minisblack'}
  tifffile.imwrite(file, samples, **{**layout, **options})
  return file.getvalue()


def same_alpha(one, other):
  if one.alpha is None or other.alpha is None:
    return one.alpha is other.alpha
  return one.alpha.dtype == other.alpha.dtype and (
      one.alpha == other.alpha).all()


# mode, form, what Pillow's file is of, which of its samples are colours.
EIGHT = [
    ('1', 'PNG', 'L'), ('1', 'TIFF', 'L'), ('1', 'BMP', 'L'),
    ('L', 'PNG', 'L'), ('L', 'TIFF', 'L'), ('L', 'JPEG', 'L'),
    ('L', 'BMP', 'L'), ('L', 'AVIF', 'L'), ('L', 'WEBP', 'RGB'),
    ('LA', 'PNG', 'LA'), ('LA', 'TIFF', 'LA'), ('LA', 'WEBP', 'RGBA'),
    ('LA', 'AVIF', 'RGBA'),
    ('P', 'PNG', 'RGBA'), ('P', 'BMP', 'RGB'), ('P', 'GIF', 'RGB'),
    ('RGB', 'PNG', 'RGB'), ('RGB', 'TIFF', 'RGB'), ('RGB', 'JPEG', 'RGB'),
    ('RGB', 'BMP', 'RGB'), ('RGB', 'WEBP', 'RGB'), ('RGB', 'AVIF', 'RGB'),
    ('RGBA', 'PNG', 'RGBA'), ('RGBA', 'TIFF', 'RGBA'),
    ('RGBA', 'WEBP', 'RGBA'), ('RGBA', 'AVIF', 'RGBA'),
    ('CMYK', 'JPEG', 'RGB'), ('CMYK', 'TIFF', 'RGB')]


@pytest.mark.parametrize('mode, form, kept', EIGHT)
def test_eight_bits_come_back(mode, form, kept):
  data = encoded(smooth(mode), form)
  picture = pictures.read(data)
  with Image.open(io.BytesIO(data)) as image:
    stored = np.asarray(image.convert(kept)).reshape(21, 34, -1)
  colours = stored[..., :3] if kept[:3] == 'RGB' else stored[..., [0, 0, 0]]
  assert picture.image.dtype == np.float32
  np.testing.assert_array_equal(np.rint(picture.image * 255), colours)
  assert (picture.bits, picture.gray) == (8, kept[0] == 'L')
  if kept[-1] == 'A':
    np.testing.assert_array_equal(picture.alpha, stored[..., -1])
  assert picture.form == {'GIF': 'PNG'}.get(form, form)
  again = pictures.read(pictures.encode(picture, picture.image))
  assert same_alpha(picture, again)
  assert again.form == picture.form
  differs = np.abs(again.image - picture.image).mean()
  assert differs == 0 if picture.form in LOSSLESS else differs < 0.02
  assert again.gray == picture.gray or form == 'AVIF'


@pytest.mark.parametrize('mode, form, note', [
    ('P', 'PNG', 'palette'), ('CMYK', 'JPEG', 'CMYK became RGB'),
    ('1', 'TIFF', 'single bit became 8'), ('RGB', 'PNG', None)])
def test_what_changes_is_told(mode, form, note):
  notes = pictures.read(encoded(smooth(mode), form)).notes
  assert notes == () if note is None else note in notes[0]


def test_gamma_is_told():
  gamma = odd_pictures.chunk(b'gAMA', struct.pack('>L', 100000))
  picture = pictures.read(odd_pictures.png16(deep(3), gamma))
  assert picture.notes == (
      'its gamma of 1 is left out: it may look lighter or darker',)


DEEP = {
    **{f'png{c}': lambda x: odd_pictures.png16(x) for c in (1, 2, 3, 4)},
    'interlaced3': lambda x: odd_pictures.png16(x, interlaced=True),
    'interlaced4': lambda x: odd_pictures.png16(x, interlaced=True),
    'tiff1': tiff, 'tiff3': tiff,
    'big3': lambda x: tiff(x, byteorder='>'),
    'big1': lambda x: tiff(x, byteorder='>'),
    'zip3': lambda x: tiff(x, compression='zlib'),
    'bigzip3': lambda x: tiff(x, compression='zlib', byteorder='>'),
    'tiles3': lambda x: tiff(x, tile=(16, 16)),
    'ziptiles3': lambda x: tiff(x, tile=(16, 16), compression='zlib'),
    'tiff4': lambda x: tiff(x, extrasamples=['unassalpha']),
    'zip4': lambda x: tiff(x, extrasamples=['unassalpha'], compression='zlib'),
    'own_png2': writers.to_png16, 'own_png3': writers.to_png16,
    'own_tiff1': writers.to_tiff, 'own_tiff4': writers.to_tiff,
}


@pytest.mark.parametrize('name', DEEP)
def test_sixteen_bits_come_back(name):
  channels = int(name[-1])
  samples = deep(channels)
  picture = pictures.read(DEEP[name](samples))
  assert (picture.bits, picture.gray) == (16, channels < 3)
  colours = samples[..., :3] if channels > 2 else samples[..., [0, 0, 0]]
  np.testing.assert_array_equal(np.rint(picture.image * 65535), colours)
  if channels in (2, 4):
    np.testing.assert_array_equal(picture.alpha, samples[..., -1])
  for form in ('PNG', 'TIFF'):
    again = pictures.read(pictures.encode(picture, picture.image, form=form))
    assert again.bits == 16 and same_alpha(picture, again)
    np.testing.assert_array_equal(again.image, picture.image)
    assert again.gray == picture.gray or (form, channels) == ('TIFF', 2)


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_others_read_what_we_write(channels):
  samples = deep(channels, height=130)
  for stored in (samples, samples.astype(np.uint8)):
    tall = tifffile.imread(io.BytesIO(writers.to_tiff(stored)))
    np.testing.assert_array_equal(tall, np.squeeze(stored))
  data = writers.to_png16(samples)
  start = data.index(b'IDAT')
  size, = struct.unpack('>L', data[start - 4:start])
  rows = np.frombuffer(zlib.decompress(data[start + 4:start + 4 + size]),
                       np.uint8).reshape(130, -1)
  assert (rows[:, 0] == 1).all()  # less the pixel to the left
  bytes_ = rows[:, 1:].reshape(130, 70, -1).astype(int).cumsum(axis=1) % 256
  np.testing.assert_array_equal(
      bytes_[..., 0::2] * 256 + bytes_[..., 1::2], samples)


def test_a_16_bit_png_of_golden_bytes():
  data = odd_pictures.png16(np.uint16([[[0x0102, 0xFFFF, 0x8001]]]))
  assert data.endswith(b'IEND\xaeB`\x82')
  np.testing.assert_allclose(
      pictures.read(data).image, [[[258 / 65535, 1, 32769 / 65535]]], rtol=1e-6)


def test_a_transparent_colour_of_16_bits():
  samples = deep(3)
  key = odd_pictures.chunk(b'tRNS', samples[2, 3].astype('>u2').tobytes())
  alpha = pictures.read(odd_pictures.png16(samples, key)).alpha
  assert alpha[2, 3] == 0 and (alpha == 65535).sum() == alpha.size - 1


def test_white_is_zero():
  gray = deep(1)
  picture = pictures.read(tiff(gray, photometric='miniswhite'))
  np.testing.assert_array_equal(
      np.rint(picture.image[..., :1] * 65535), 65535 - gray)


def test_multiplied_alpha_is_divided_out():
  samples = np.uint16([[[10000, 20000, 30000, 40000], [0, 0, 0, 0]]])
  picture = pictures.read(tiff(samples, extrasamples=['assocalpha']))
  np.testing.assert_allclose(
      picture.image[0, 0], [0.25, 0.5, 0.75], atol=2e-5)
  np.testing.assert_array_equal(picture.alpha, samples[..., 3])


@pytest.mark.parametrize('bits', [8, 16])
def test_rounded_to_the_nearest(bits):
  levels = np.arange(2**bits, dtype=np.float64).reshape(-1, 16)
  for shift in (-0.45, 0, 0.45):
    stored = bit_depth.quantize((levels + shift) / (2**bits - 1), bits=bits)
    np.testing.assert_array_equal(stored, levels)
  assert bit_depth.quantize(np.float32([-3, 7]), bits=8).tolist() == [0, 255]


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'TIFF', 'WEBP', 'AVIF'])
@pytest.mark.parametrize('turn', range(1, 9))
def test_turned_upright(form, turn):
  image = smooth('RGB')
  block = Image.Exif()
  block[0x0112], block[271] = turn, 'Camera'
  data = encoded(image, form, exif=block.tobytes(), icc_profile=SRGB)
  picture = pictures.read(data)
  with Image.open(io.BytesIO(data)) as stored:
    upright = ImageOps.exif_transpose(stored)
  np.testing.assert_array_equal(
      np.rint(picture.image * 255), np.asarray(upright))
  with Image.open(io.BytesIO(
      pictures.encode(picture, picture.image))) as restored:
    assert restored.size == upright.size
    assert restored.getexif().get(0x0112, 1) == 1
    assert restored.getexif()[271] == 'Camera'
    assert restored.info['icc_profile'] == SRGB


def test_orientation_in_xmp_alone():
  xmp = b'<x:xmpmeta><rdf tiff:Orientation="6"/></x:xmpmeta>'
  picture = pictures.read(encoded(smooth('RGB'), 'JPEG', xmp=xmp))
  assert picture.image.shape == (34, 21, 3)


@pytest.mark.parametrize('strip_gps', [False, True])
@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP'])
def test_exif_is_kept(form, order, strip_gps):
  source = odd_pictures.exif(order=order)
  picture = pictures.read(encoded(smooth('RGB', 7, 9), form, exif=source))
  assert picture.notes == () and picture.image.shape == (9, 7, 3)
  data = pictures.encode(picture, picture.image, strip_gps=strip_gps)
  assert (b'SECRET' in data) != strip_gps
  with Image.open(io.BytesIO(data)) as image:
    block = image.getexif()
    assert block[271] == 'Camera!' and block[0x0112] == 1
    camera = block.get_ifd(0x8769)
    assert (camera[0xA002], camera[0xA003]) == (7, 9)
    assert camera[0x927C] == b'NOTE'
    assert bool(block.get_ifd(0x8825)) != strip_gps
    assert not block.get_ifd(1)  # the thumbnail


def _ifd(*entries, after=0):
  """A directory of EXIF, little endian."""
  return struct.pack('<H', len(entries)) + b''.join(
      struct.pack('<HHII', *entry) for entry in entries) + struct.pack(
          '<I', after)


def _tiff(*directories):
  return b'II*\0\x08\0\0\0' + b''.join(directories)


PLACE = struct.pack('<2I', 12345, 7)
POINTER, MAKER = (0x8825, 4, 1, 26), (271, 2, 3, 0x414141)
OWN = _tiff(_ifd(POINTER), _ifd((2, 5, 1, 44)), PLACE)


@pytest.mark.parametrize('block', [
    OWN, OWN + OWN,
    _tiff(_ifd((0x8769, 4, 1, 26)), _ifd((0x8825, 4, 1, 44)),
          _ifd((2, 5, 1, 62)), PLACE),
    _tiff(_ifd(MAKER, after=26), _ifd((0x8825, 4, 1, 44)),
          _ifd((2, 5, 1, 62)), PLACE),
    _tiff(_ifd(POINTER), _ifd((2, 99, 8, 44)), PLACE),
    _tiff(_ifd((0x8825, 13, 1, 26)), _ifd((2, 5, 1, 44)), PLACE),
    _tiff(_ifd((0x8825, 4, 1, 38), (0x8825, 4, 1, 38)), _ifd((2, 5, 1, 56)),
          PLACE),
    _tiff(_ifd(MAKER), PLACE),
    _tiff(_ifd((0x8769, 4, 1, 26), ), _ifd((0x8825, 4, 1, 26)), PLACE),
], ids=['alone', 'twice', 'camera', 'thumbnail', 'unknown type', 'type 13',
        'two pointers', 'behind', 'a circle'])
def test_no_place_is_left(block):
  stripped = exif.without_gps(exif.PREFIX + block)
  assert PLACE not in stripped and len(stripped) == len(exif.PREFIX + block)
  if block[10:12] == struct.pack('<H', 271):
    assert stripped[len(exif.PREFIX) + 10:][:12] == block[10:22]
  data = encoded(smooth('RGB', 7, 9), 'JPEG', exif=exif.PREFIX + block)
  picture = pictures.read(data)
  assert PLACE not in pictures.encode(picture, picture.image, strip_gps=True)


@pytest.mark.parametrize('first', [True, False])
def test_no_place_is_left_of_two_segments(first):
  own = exif.PREFIX + _tiff(_ifd(MAKER))
  data = encoded(smooth('RGB', 7, 9), 'JPEG', exif=own)
  segment = exif.PREFIX + OWN
  segment = b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment
  at = 2 if first else data.index(b'\xff\xdb')
  picture = pictures.read(data[:at] + segment + data[at:])
  assert PLACE not in pictures.encode(picture, picture.image, strip_gps=True)


def test_only_what_changes_changes_in_exif():
  source = odd_pictures.exif()
  block = exif.with_size(exif.upright(source), height=9, width=7)
  assert len(block) == len(source)
  changed = [i for i in range(len(source)) if source[i] != block[i]]
  assert len(changed) <= 8
  assert exif.orientation(source) == 6 and exif.orientation(block) == 1


def test_tiff_keeps_what_describes_it():
  block = Image.Exif()
  block.load(odd_pictures.exif(orientation=8))
  data = encoded(smooth('RGB', 7, 9), 'TIFF', exif=block, dpi=(300, 200),
                 icc_profile=SRGB)
  picture = pictures.read(data)
  assert picture.image.shape == (9, 7, 3)
  assert picture.dpi == (200, 300)
  deep_picture = picture._replace(bits=16)
  for one in (picture, deep_picture):
    for form in ('TIFF', 'PNG'):
      again = pictures.read(pictures.encode(one, one.image, form=form))
      assert again.icc == SRGB and again.bits == one.bits
      np.testing.assert_allclose(again.dpi, (200, 300), rtol=1e-3)
      read = Image.Exif()
      read.load(again.exif)
      assert read[271] == 'Camera!'
      assert read.get_ifd(0x8769)[0x927C] == b'NOTE'
      assert read.get_ifd(0x8825)[29] == 'SECRET PLACE'


def test_exif_does_not_say_how_a_tiff_is_stored():
  block = Image.Exif()
  block[256], block[259], block[317], block[270] = 5000, 5, 3, 'A photo'
  picture = pictures.from_array(deep(3))._replace(exif=block.tobytes())
  again = pictures.read(pictures.encode(picture, picture.image, form='TIFF'))
  np.testing.assert_array_equal(again.image, picture.image)
  assert b'A photo' in again.exif


def test_broken_exif_is_a_note():
  for block in (b'Exif\0\0rubbish', odd_pictures.exif()[:60], b'Exif\0\0',
                b'Exif\0\0II*\0\xff\xff\xff\xff'):
    picture = pictures.read(encoded(smooth('RGB'), 'JPEG', exif=block))
    assert picture.exif is None
    assert picture.notes == ('its EXIF is broken and is left out',)


def test_exif_of_random_bytes_is_broken_or_read():
  source = np.frombuffer(odd_pictures.exif(), np.uint8)
  read = 0
  for _ in range(300):
    block = source.copy()
    block[RNG.integers(6, 140, 3)] = RNG.integers(0, 256, 3)
    try:
      changed = exif.without_gps(exif.with_size(
          exif.upright(block.tobytes()), height=1, width=2))
    except exif.BROKEN:
      continue
    read += 1
    assert len(changed) == len(source)
  assert read > 30


@pytest.mark.parametrize('turned', [False, True])
def test_resolution_is_kept(turned):
  block = Image.Exif()
  block[0x0112] = 6 if turned else 1
  for form in ('JPEG', 'PNG', 'TIFF'):
    picture = pictures.read(encoded(
        smooth('RGB'), form, dpi=(72, 144), exif=block.tobytes()))
    again = pictures.read(pictures.encode(picture, picture.image))
    np.testing.assert_allclose(
        again.dpi, (144, 72) if turned else (72, 144), rtol=1e-3)


@pytest.mark.parametrize('sampling', [0, 1, 2])
@pytest.mark.parametrize('quality, least', [(70, 95), (98, 98), (100, 100)])
def test_jpeg_is_as_fine_as_it_was(sampling, quality, least):
  data = encoded(smooth('RGB'), 'JPEG', quality=quality, subsampling=sampling)
  picture = pictures.read(data)
  file = pictures.encode(picture, picture.image)
  wanted = encoded(smooth('RGB'), 'JPEG', quality=least, subsampling=sampling)
  with (Image.open(io.BytesIO(file)) as image,
        Image.open(io.BytesIO(wanted)) as reference):
    assert image.quantization == reference.quantization
    assert image.layer == reference.layer  # with the subsampling
  smaller = pictures.encode(picture, picture.image, quality=30)
  assert len(smaller) < len(file)


def test_cmyk_by_its_profile():
  image = Image.new('CMYK', (8, 8), (0, 0, 0, 0))
  image.paste((255, 255, 255, 255), (4, 0, 8, 8))
  profile = odd_pictures.cmyk_profile()
  picture = pictures.read(encoded(image, 'TIFF', icc_profile=profile))
  assert picture.image[:, :4].max() < 0.02 and picture.image[:, 4:].min() > 0.98
  assert picture.notes == ('CMYK became RGB (sRGB, by its profile)',)
  assert picture.icc is None
  broken = pictures.read(encoded(image, 'TIFF', icc_profile=b'no profile'))
  assert broken.image[:, :4].min() > 0.98
  assert 'without a profile' in broken.notes[0]


@pytest.mark.parametrize('form', ['GIF', 'PNG', 'WEBP', 'TIFF', 'MPO'])
def test_the_first_of_many_pictures(form):
  first, *rest = (Image.new('RGB', (9, 7), (60 * i, 90, 30)) for i in range(3))
  data = encoded(first, form, save_all=True, append_images=rest)
  picture = pictures.read(data)
  assert 'only the first of 3 is taken' in picture.notes[0]
  np.testing.assert_allclose(picture.image[0, 0] * 255, (0, 90, 30), atol=2)


@pytest.mark.parametrize('bits', [8, 10])
def test_more_than_8_bits_of_heic_are_told(bits):
  heif = pytest.importorskip('pillow_heif')
  heif.options.SAVE_HDR_TO_12_BIT = False
  file = io.BytesIO()
  mode, samples = ('RGB', smooth('RGB')) if bits == 8 else (
      'RGB;16', deep(3, 32, 32))
  heif.encode(mode, samples.size if bits == 8 else (32, 32),
              np.asarray(samples).tobytes(), file, quality=90)
  notes = pictures.read(file.getvalue()).notes
  assert notes == (('its 10 bits became 8',) if bits == 10 else ())


def test_16_bits_of_cmyk_are_told():
  notes = pictures.read(tiff(deep(4), photometric='separated')).notes
  assert 'its 16 bits became 8' in notes


@pytest.mark.parametrize('lossless', [True, False])
@pytest.mark.parametrize('with_more', [True, False])
def test_webp_without_loss_stays_so(lossless, with_more):
  more = dict(icc_profile=SRGB, exif=odd_pictures.exif()) if with_more else {}
  image = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8))
  picture = pictures.read(encoded(image, 'WEBP', lossless=lossless, **more))
  for quality in (None, 80):
    again = pictures.read(pictures.encode(
        picture, picture.image, quality=quality)).image
    assert np.array_equal(again, picture.image) == (
        lossless and quality is None)
  pictures.encode(picture, picture.image, form='JPEG')


def test_a_bomb_in_a_process_of_its_own(tmp_path):
  status = pathlib.Path('/proc/self/status')
  if not status.exists():
    pytest.skip('the peak memory of a process is known on Linux only')
  (tmp_path / 'bomb.png').write_bytes(bomb(tmp_path))
  code = ('import sys\nfrom deblur_jax.media import pictures\n'
          'try: pictures.read(sys.argv[1])\n'
          'except ValueError as error: print(error)\n'
          'print(open("/proc/self/status").read())')
  printed = subprocess.run(
      [sys.executable, '-c', code, str(tmp_path / 'bomb.png')], check=True,
      capture_output=True, text=True).stdout
  assert '30000x30000 pixels' in printed
  most = int(re.search(r'VmHWM:\s*(\d+) kB', printed)[1])
  assert most < 500e3


def bomb(tmp_path):
  return odd_pictures.png(
      (30000, 30000, 1, 0, 0), odd_pictures.chunk(b'IDAT', zlib.compress(b'')))


def long_text(tmp_path):
  text = zlib.compress(bytes(20_000_000))
  return odd_pictures.png(
      (8, 8, 8, 0, 0),
      odd_pictures.chunk(b'iTXt', b'key\0\1\0\0\0' + text),
      odd_pictures.chunk(b'IDAT', zlib.compress(bytes(72))))


@pytest.mark.parametrize('make, words', [
    (bomb, '30000x30000 pixels, and more than 200,000,000'),
    (long_text, 'Decompressed data too large')])
def test_bombs_cost_nothing(make, words, tmp_path):
  data = make(tmp_path)
  tracemalloc.start()
  try:
    with pytest.raises(errors.UserError, match=words):
      pictures.read(data)
    assert tracemalloc.get_traced_memory()[1] < 5e6
  finally:
    tracemalloc.stop()


def test_more_pixels_than_pillow_allows_are_ours_to_allow(monkeypatch):
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
  data = encoded(smooth('RGB'), 'PNG')
  assert pictures.read(data).image.shape == (21, 34, 3)
  assert Image.MAX_IMAGE_PIXELS == 10
  with pytest.raises(errors.UserError, match='34x21.*restore --max-pixels'):
    pictures.read(data, max_pixels=713)


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'TIFF', 'WEBP', 'BMP', 'AVIF'])
def test_a_file_that_ends_too_early(form):
  data = encoded(Image.fromarray(
      RNG.integers(0, 256, (64, 64, 3), np.uint8)), form)
  with pytest.raises(errors.UserError) as caught:
    pictures.read(data[:len(data) * 6 // 10])
  assert '\n' not in str(caught.value)


def test_a_file_that_ends_too_early_is_read_where_it_is_allowed():
  data = encoded(Image.fromarray(
      RNG.integers(0, 256, (64, 64, 3), np.uint8)), 'JPEG')
  part = pictures.read(data[:len(data) // 2], allow_truncated=True)
  whole = pictures.read(data)
  np.testing.assert_array_equal(part.image[:14], whole.image[:14])
  with pytest.raises(errors.UserError, match=(
      'truncated.*; `deblur restore --allow-truncated`')):
    pictures.read(data[:len(data) // 2])


def test_names_do_not_matter(tmp_path):
  path = tmp_path / 'photo.jpg'
  path.write_bytes(encoded(smooth('RGB'), 'PNG'))
  picture = pictures.read(path)
  assert picture.form == 'PNG'
  assert picture.notes == ('it is a PNG; its name says otherwise',)


@pytest.mark.parametrize('name, data, words', [
    ('empty.jpg', b'', 'empty.jpg is empty; JPEG, PNG'),
    ('text.png', b'Dear all,\n', 'text.png is no picture, or a broken one'),
    ('page.eps', b'%!PS-Adobe-3.0 EPSF-3.0\n', 'no picture'),
    ('gone.png', None, 'No file .*gone.png')])
def test_no_pictures(name, data, words, tmp_path):
  if data is not None:
    (tmp_path / name).write_bytes(data)
  with pytest.raises(errors.UserError, match=words) as caught:
    pictures.read(tmp_path / name)
  assert '\n' not in str(caught.value)


def test_a_folder_and_a_closed_file(tmp_path):
  with pytest.raises(errors.UserError, match='Is a directory'):
    pictures.read(tmp_path)
  path = tmp_path / 'closed.png'
  path.write_bytes(encoded(smooth('L'), 'PNG'))
  path.chmod(0)
  user = os.geteuid()
  os.seteuid(65534 if user == 0 else user)
  try:
    with pytest.raises(errors.UserError, match='Permission denied'):
      pictures.read(path)
  finally:
    os.seteuid(user)


def test_samples_that_are_not_read():
  floats = RNG.random((5, 6), np.float32)
  with pytest.raises(errors.UserError, match='32 bits.*with 8 or 16'):
    pictures.read(encoded(Image.fromarray(floats), 'TIFF'))
  with pytest.raises(errors.UserError, match='has 32 bits a sample; save it'):
    pictures.read(tiff(RNG.random((5, 6, 3), np.float32), photometric='rgb'))
  signed = RNG.integers(-9, 9, (5, 6, 1)).astype(np.int16)
  with pytest.raises(errors.UserError, match='not read; save it with 8 or 16'):
    pictures.read(tiff(signed))
  apart = np.moveaxis(deep(3), -1, 0)
  with pytest.raises(errors.UserError, match='apart; save it with them inter'):
    pictures.read(tiff(apart, photometric='rgb', planarconfig='separate'))


def test_heic_names_its_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pillow_heif', None)
  with pytest.raises(errors.UserError, match=r'deblur-jax\[heif\]'):
    pictures.read(b'\0\0\0\x1cftypheic\0\0\0\0mif1heic' + bytes(64))


def test_heic():
  pytest.importorskip('pillow_heif').register_heif_opener()
  data = encoded(smooth('RGBA'), 'HEIF', quality=95,
                 exif=odd_pictures.exif(orientation=6), icc_profile=SRGB)
  picture = pictures.read(data)
  assert picture.image.shape == (34, 21, 3) and picture.form == 'HEIF'
  assert exif.orientation(picture.exif) == 1
  again = pictures.read(pictures.encode(picture, picture.image))
  assert np.abs(again.image - picture.image).mean() < 0.05
  assert again.icc == SRGB and again.alpha.shape == (34, 21)
  assert pictures.lost(picture, form='HEIF')


@pytest.mark.parametrize(
    'form', ['JPEG', 'PNG', 'TIFF', 'WEBP', 'BMP', 'GIF', 'AVIF'])
@pytest.mark.filterwarnings('ignore::UserWarning')  # Pillow's, of bad tags
def test_damaged_files_are_read_or_refused_in_a_line(form):
  data = np.frombuffer(encoded(smooth('RGB'), form), np.uint8)
  for _ in range(60):
    damaged = data.copy()
    places = RNG.integers(0, min(len(data), 200), 3)
    damaged[places] = RNG.integers(0, 256, 3)
    try:
      picture = pictures.read(damaged.tobytes(), max_pixels=1_000_000)
    except errors.UserError as error:
      assert '\n' not in str(error)
    else:
      assert np.isfinite(picture.image).all()


def test_what_a_form_cannot_keep():
  picture = pictures.read(writers.to_png16(deep(4)))
  with pytest.raises(errors.UserError, match='JPEG cannot keep; write .png'):
    pictures.encode(picture, picture.image, form='JPEG')
  assert pictures.lost(picture, form='WEBP') == (
      '16 bits became 8, as WEBP has no more',)
  webp = pictures.read(pictures.encode(picture, picture.image, form='WEBP'))
  np.testing.assert_array_equal(
      webp.alpha, np.rint(picture.alpha / 257).astype(np.uint8))
  solid = picture._replace(alpha=np.full_like(picture.alpha, 65535))
  assert pictures.encode(solid, solid.image, form='JPEG')[:2] == b'\xff\xd8'
  long = picture._replace(exif=odd_pictures.exif() + bytes(70000), alpha=None)
  assert 'too long for JPEG' in pictures.lost(long, form='JPEG')[1]
  assert pictures.read(
      pictures.encode(long, long.image, form='JPEG')).exif is None
  assert 'neither EXIF' in pictures.lost(long, form='BMP')[1]


def test_alpha_grows_with_the_picture():
  picture = pictures.read(encoded(smooth('LA'), 'PNG'))
  larger = np.zeros((42, 68, 3), np.float32)
  again = pictures.read(pictures.encode(picture, larger))
  assert again.image.shape == (42, 68, 3) and again.gray
  middle = again.alpha[::2, ::2].astype(int)
  assert np.abs(middle - picture.alpha).mean() < 8


@pytest.mark.parametrize('change, words', [
    (lambda x: x * np.nan, 'not finite'),
    (lambda x: x[..., :1], r'\[h, w, 3\], got \[21, 34, 1\]')])
def test_restored_pictures_that_cannot_be(change, words):
  picture = pictures.read(encoded(smooth('RGB'), 'PNG'))
  with pytest.raises(errors.UserError, match=words):
    pictures.encode(picture, change(picture.image))


def test_forms_and_their_names():
  picture = pictures.from_array(np.zeros((1, 20000, 3), np.uint8))
  with pytest.raises(errors.UserError, match="Did you mean 'JPEG'"):
    pictures.encode(picture, picture.image, form='JPG')
  with pytest.raises(errors.UserError, match='as WEBP: .*another form'):
    pictures.encode(picture, picture.image, form='WEBP')
  assert pictures.form_of('A.JPG') == 'JPEG'
  for name, words in (('a.pgn', 'as .pgn; take .png, or'), ('a', 'no suffix')):
    with pytest.raises(errors.UserError, match=words):
      pictures.form_of(name)


@pytest.mark.parametrize('dtype', [
    np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize('channels', [(), (1,), (3,), (4,)])
def test_arrays_come_back(dtype, channels):
  levels = {1: 255, 2: 65535}[np.dtype(dtype).itemsize] if (
      np.dtype(dtype).kind == 'u') else 1
  array = (RNG.random((5, 6, *channels)) * levels).astype(dtype)
  picture = pictures.from_array(array)
  assert picture.image.shape == (5, 6, 3)
  assert picture.image.dtype == np.float32 and picture.image.max() <= 1
  back = pictures.to_array(picture, picture.image, like=array)
  assert (back.shape, back.dtype) == (array.shape, array.dtype)
  np.testing.assert_allclose(back, array, rtol=1e-6)
  twice = np.repeat(np.repeat(picture.image, 2, axis=0), 2, axis=1)
  larger = pictures.to_array(picture, twice, like=array)
  assert larger.shape == (10, 12, *channels) and larger.dtype == dtype


@pytest.mark.parametrize('array, words', [
    (np.zeros((2, 5, 6, 3)), r'not \[2, 5, 6, 3\]'),
    (np.zeros((5, 6, 2)), r'not \[5, 6, 2\]'),
    (np.zeros((0, 6, 3)), 'is empty'),
    (np.zeros((5, 6), np.int32), 'of int32; make it uint8'),
    (np.full((5, 6), 200.0), r'not \[200, 200\]; divide'),
    (np.full((5, 6), np.nan), 'NaN or infinity')])
def test_arrays_that_are_no_pictures(array, words):
  with pytest.raises(errors.UserError, match=words):
    pictures.from_array(array)


@pytest.mark.parametrize('mode, kept', [
    ('1', 'L'), ('L', 'L'), ('LA', 'LA'), ('P', 'RGBA'), ('RGB', 'RGB'),
    ('RGBA', 'RGBA'), ('CMYK', 'RGB'), ('I;16', 'I;16')])
def test_pillow_images_come_back(mode, kept):
  image = smooth(mode)
  block = Image.Exif()
  block[0x0112] = 6
  image.info.update(exif=block.tobytes(), icc_profile=SRGB)
  picture = pictures.from_pil(image)
  assert picture.image.shape == (34, 21, 3)
  out = pictures.to_pil(picture, picture.image)
  assert out.mode == kept and out.size == (21, 34)
  turned = image.transpose(Image.Transpose.ROTATE_270)
  wanted = turned if kept == 'I;16' else turned.convert(kept)
  np.testing.assert_array_equal(np.asarray(out), np.asarray(wanted))
  assert out.getexif()[0x0112] == 1
  assert ('icc_profile' in out.info) == (mode != 'CMYK')


def test_reading_is_light():
  code = ('import sys; from deblur_jax.media import output_files, pictures; '
          'assert not {"jax", "flax", "scipy", "tifffile"} & set(sys.modules)')
  subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize('name, options', [
    ('a.tga', {}), ('a.ppm', {}), ('a.jp2', {'irreversible': False}),
    ('without_suffix', {'format': 'PNG'}), ('a.j2k', {'irreversible': False})])
def test_forms_that_become_png(name, options, tmp_path):
  random = np.random.default_rng(0)
  pixels = random.integers(0, 256, (12, 16, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / name, **options)
  picture = pictures.read(tmp_path / name)
  assert (picture.form, picture.bits, picture.notes) == ('PNG', 8, ())
  np.testing.assert_array_equal(
      bit_depth.to_uint8(picture.image), pixels)
  assert pictures.suffix_by_content(tmp_path / name) == '.png'


@pytest.mark.parametrize('name, head, bits', [
    ('a.pgm', b'P5 16 12 65535\n', 16), ('a.pgm', b'P5 16 12 1023\n', 16),
    ('a.ppm', b'P6\n# by hand\n16 12\n65535\n', 8)])
def test_deep_ppm(name, head, bits, tmp_path):
  random, channels = np.random.default_rng(0), 3 if head[1:2] == b'6' else 1
  top = int(head.split()[-1])
  values = random.integers(0, top + 1, (12, 16, channels))
  (tmp_path / name).write_bytes(head + values.astype('>u2').tobytes())
  picture = pictures.read(tmp_path / name)
  assert picture.bits == bits
  assert picture.notes == (() if bits == 16 else ('its 16 bits became 8',))
  np.testing.assert_allclose(
      picture.image[..., :channels], values / top, atol=0.5 / (2**bits - 1))
  assert picture.gray == (channels == 1)


def test_garbage_is_no_tga(tmp_path):
  for seed in range(20):
    (tmp_path / 'a.tga').write_bytes(np.random.default_rng(seed).bytes(500))
    with pytest.raises(errors.UserError, match=r'a\.tga'):
      pictures.read(tmp_path / 'a.tga')


@pytest.mark.parametrize('bits', [1, 16])
def test_a_large_tiff_is_read_up_to_the_limit_that_is_given(
    bits, tmp_path, monkeypatch):
  pixels = np.zeros((40, 50, 3), np.uint16 if bits == 16 else np.uint8)
  path = tmp_path / 'a.tif'
  if bits == 16:
    tifffile.imwrite(path, pixels, photometric='rgb')
  else:
    Image.fromarray(pixels[..., 0]).convert('1').save(
        path, compression='group4')
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 900)   # it refuses twice this
  assert pictures.read(path, max_pixels=2000).image.shape == (40, 50, 3)
  assert Image.MAX_IMAGE_PIXELS == 900
  with pytest.raises(errors.UserError, match='50x40 pixels, and more than 1,9'):
    pictures.read(path, max_pixels=1999)


def test_few_bytes_hold_an_empty_fax_and_nothing_else(tmp_path, monkeypatch):
  page = Image.new('1', (6000, 1500), 1)
  page.save(tmp_path / 'fax.tif', compression='group4')
  page.convert('RGB').save(tmp_path / 'page.png')
  monkeypatch.setattr(decoding, 'ROOM', 0)
  assert (tmp_path / 'fax.tif').stat().st_size < 9_000_000 / decoding.MAX_RATIO
  assert pictures.read(tmp_path / 'fax.tif').image.shape == (1500, 6000, 3)
  assert pictures.read(tmp_path / 'page.png').image.shape == (1500, 6000, 3)
  monkeypatch.setattr(decoding, 'MAX_RATIO', 100)
  with pytest.raises(errors.UserError, match='cannot hold the 6000x1500'):
    pictures.read(tmp_path / 'page.png')


def test_a_tile_larger_than_its_picture_counts(tmp_path):
  tifffile.imwrite(tmp_path / 'a.tif', np.zeros((16, 16), np.uint8),
                   tile=(512, 512))
  with pytest.raises(errors.UserError, match='has 512x512 pixels'):
    pictures.read(tmp_path / 'a.tif', max_pixels=10_000)
