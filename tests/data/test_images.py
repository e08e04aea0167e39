"""Training, evaluation and the command `deblur` read the same pixels."""

import io
import struct
import zlib

import jax
import numpy as np
import odd_pictures
import pytest
import sample_pictures
import tensorflow as tf
from PIL import Image, ImageCms

from deblur_jax import data, errors
from deblur_jax.app import restoring
from deblur_jax.data import device_transforms, images
from deblur_jax.evaluation import test_sets
from deblur_jax.media import decoding, writers
from deblur_jax.ops import bit_depth
from deblur_jax.state import Method
from deblur_jax.training import parallel

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (12, 18, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (12, 18, 4), np.uint16)
TURNED = odd_pictures.exif(orientation=6)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def pillow(form, mode='RGB', **options):
  file = io.BytesIO()
  Image.fromarray(COLOURS).convert(mode).save(file, form, **options)
  return file.getvalue()


def with_chunks(*, before=b'', after=b''):
  """A PNG of the colours with chunks before and after its pixels."""
  rows = np.pad(COLOURS.reshape(12, -1), ((0, 0), (1, 0)))
  pixels = odd_pictures.chunk(b'IDAT', zlib.compress(rows.tobytes()))
  return odd_pictures.png((18, 12, 8, 2, 0), before, pixels, after)


LATE_EXIF = odd_pictures.chunk(b'eXIf', TURNED.removeprefix(b'Exif\0\0'))
DISPLAY_P3 = odd_pictures.chunk(b'cICP', bytes([12, 13, 0, 1]))


def animated():
  """A PNG of two pictures."""
  other = Image.fromarray(255 - COLOURS)
  return pillow('PNG', save_all=True, append_images=[other])


FILES = {  # -> (bytes, upright size, whether the samples are the colours above)
    'turned.png': (pillow('PNG', exif=TURNED), (18, 12), True),
    'turned_late.png': (with_chunks(after=LATE_EXIF), (18, 12), True),
    'turned.jpg': (pillow('JPEG', exif=TURNED), (18, 12), False),
    'turned.webp': (
        pillow('WEBP', exif=TURNED, lossless=True), (18, 12), True),
    'turned.tiff': (pillow('TIFF', exif=TURNED), (18, 12), True),
    'animated.png': (animated(), (12, 18), True),
    'profile.png': (pillow('PNG', icc_profile=SRGB), (12, 18), True),
    'p3.png': (with_chunks(before=DISPLAY_P3), (12, 18), False),
    'gray.png': (pillow('PNG', 'L'), (12, 18), False),
    'gray_alpha.png': (pillow('PNG', 'LA'), (12, 18), False),
    'alpha.png': (pillow('PNG', 'RGBA'), (12, 18), True),
    'palette.png': (pillow('PNG', 'P'), (12, 18), False),
    'one_bit.png': (pillow('PNG', '1'), (12, 18), False),
    'cmyk.jpg': (pillow('JPEG', 'CMYK'), (12, 18), False),
    'cmyk_profile.tif': (pillow(
        'TIFF', 'CMYK', icc_profile=odd_pictures.cmyk_profile()), (12, 18),
                         False),
    'deep.png': (odd_pictures.png16(DEEP[..., :3]), (12, 18), False),
    'deep_gray.png': (odd_pictures.png16(DEEP[..., :1]), (12, 18), False),
    'deep.tiff': (writers.to_tiff(DEEP[..., :3]), (12, 18), False)}


@pytest.mark.parametrize('name', FILES)
def test_both_readers_give_the_same_pixels(name, tmp_path):
  content, size, is_lossless = FILES[name]
  (tmp_path / name).write_bytes(content)
  source = data.open_source(name='photos', root=tmp_path)
  picture, = source.read(0).values()
  assert picture.shape == (*size, 3)
  assert images.size(tmp_path / name) == size == source.sizes(0)['sharp']
  if is_lossless:
    upright = np.rot90(COLOURS, -1) if size == (18, 12) else COLOURS
    np.testing.assert_array_equal(picture, upright)
  app = restoring.read(tmp_path / name)
  if app.bits == 8:
    assert app.image.dtype == np.float32
    np.testing.assert_array_equal(bit_depth.to_float(picture), app.image)
  else:   # data sets keep 8 bits, the nearest ones
    assert name.startswith('deep')
    np.testing.assert_array_equal(picture, bit_depth.to_uint8(app.image))


def decode_by_tensorflow(content):
  """As the loader tf_data does."""
  return tf.io.decode_jpeg(
      content, channels=3, dct_method='INTEGER_ACCURATE').numpy()


@pytest.mark.parametrize('name', FILES)
def test_tensorflow_decodes_plain_files_alike(name, tmp_path):
  content = FILES[name][0]
  plain = name in ('profile.png', 'gray.png')
  assert decoding.header(content, name=name).plain == plain
  as_plain = images.as_plain(content, name=name)
  assert (as_plain is content) == plain
  np.testing.assert_array_equal(
      decode_by_tensorflow(as_plain), images.from_bytes(content, name=name))


@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize('subsampling', [0, 1, 2])
@pytest.mark.parametrize('progressive', [False, True])
def test_tensorflow_decodes_jpeg_alike(mode, subsampling, progressive):
  content = pillow('JPEG', mode, quality=80, progressive=progressive,
                   subsampling=subsampling if mode == 'RGB' else -1)
  assert decoding.header(content, name='x').plain
  np.testing.assert_array_equal(
      decode_by_tensorflow(content), images.from_bytes(content, name='x'))


def test_transparent_pictures_are_no_data(tmp_path):
  colour = odd_pictures.chunk(b'tRNS', struct.pack('>3H', *DEEP[2, 3, :3]))
  (tmp_path / 'x.png').write_bytes(
      odd_pictures.png16(DEEP[..., :3], colour))
  with pytest.raises(errors.UserError, match='x.png is partly transparent'):
    images.read(tmp_path / 'x.png')
  assert restoring.read(tmp_path / 'x.png').alpha.min() == 0


@pytest.mark.parametrize('backend', ['threads', 'resident'])
def test_training_and_evaluation_see_equal_pairs(backend, tmp_path):
  """A crop of the whole picture, without augmentation, bit for bit."""
  gopro = sample_pictures.gopro(tmp_path, height=48, width=48)
  source = data.open_source(name='gopro', root=gopro, subset='blur')
  loader = data.build(source, backend=backend, crop=48, batch_size=5)
  batch = next(loader.batches(0)) | loader.constants()
  prepare = device_transforms.make_prepare({'augment': {}, 'data': {}},
                                           loader.unpack)
  trained = jax.jit(prepare)(jax.random.key(0), batch)
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  method = Method(None, None, lambda state, blur: blur)
  tested = {i: shown for i, shown, _ in test_sets.evaluate_source(
      method, {}, source, range(5), mesh, fns={})}
  for key in ('blur', 'sharp'):
    np.testing.assert_array_equal(
        sorted(np.asarray(trained[key]).tolist()),
        sorted(shown[key].tolist() for shown in tested.values()))


def test_every_level_comes_back():
  for dtype in (np.uint8, np.uint16):
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    values = bit_depth.to_float(levels)
    assert values.dtype == np.float32 and values.min() == 0
    assert values.max() == 1 and (np.diff(values) > 0).all()
    np.testing.assert_array_equal(
        bit_depth.quantize(values, bits=8 * levels.itemsize), levels)
    np.testing.assert_array_equal(jax.jit(bit_depth.to_float)(levels), values)
  np.testing.assert_array_equal(
      bit_depth.to_8_bits(levels), bit_depth.to_uint8(values))


def test_each_folder_is_visited_once_and_what_is_left_out_is_told(
    tmp_path, caplog):
  for name in ('a.png', 'sub/b.jfif'):
    sample_pictures.save(tmp_path / f'{name}.png', COLOURS)
    (tmp_path / f'{name}.png').rename(tmp_path / name)
  (tmp_path / 'c.heic').touch()
  for link in ('l1', 'sub/l2'):
    (tmp_path / link).symlink_to(tmp_path)
  assert list(images.find(tmp_path)) == ['a', 'sub/b']
  assert '1 .heic are passed over; training reads' in caplog.text
