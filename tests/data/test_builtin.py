"""The built-in pictures: really there, really blurred, never shared."""

import importlib.resources

import numpy as np
import pytest
from PIL import Image

from deblur_jax import errors
from deblur_jax.data import builtin
from deblur_jax.inference import cache_folder

SIZES = {'train': (36, 256, 256, 3), 'test': (9, 256, 320, 3)}


def load(split):
  source = builtin.pictures(split=split)
  pairs = [source.read(i) for i in range(len(source.names))]
  return source, {
      name: np.stack([pair[name] for pair in pairs])
      for name in ('blur', 'sharp')}


def psnr(pairs):
  error = pairs['blur'].astype(float) - pairs['sharp'].astype(float)
  return 10 * np.log10(255**2 / (error ** 2).mean((1, 2, 3)))


@pytest.mark.parametrize('split', SIZES)
def test_pairs(split):
  source, pairs = load(split)
  assert len(set(source.names)) == len(source.names)
  assert split in source.where
  size = SIZES[split][1:3]
  assert source.sizes(0) == {'blur': size, 'sharp': size}
  for images in pairs.values():
    assert images.dtype == np.uint8 and images.shape == SIZES[split]
  input_psnr = psnr(pairs)
  assert 25 < input_psnr.mean() < 33
  assert input_psnr.min() > 20 and input_psnr.max() < 42


def test_golden():
  source, pairs = load('test')
  assert source.names[::4] == ['astronaut/0', 'coffee/1', 'hopper/2']
  np.testing.assert_allclose(psnr(pairs), GOLDEN, atol=0.1)


GOLDEN = [30.9, 26.1, 27.1, 27.0, 32.8, 29.7, 24.8, 32.4, 32.4]


def test_sharp_is_the_photograph_itself():
  photo = builtin.SPLITS['test'].photos[2]
  file = importlib.resources.files(photo.package).joinpath(photo.file)
  with file.open('rb') as stream, Image.open(stream) as image:
    size = round(image.width * photo.scale), round(image.height * photo.scale)
    pixels = np.asarray(
        image.convert('RGB').resize(size, Image.Resampling.LANCZOS))
  top, left = np.add(photo.corners[1], 16)
  _, pairs = load('test')
  np.testing.assert_array_equal(
      pairs['sharp'][7], pixels[top:top + 256, left:left + 320])


def test_train_and_test_share_no_photograph():
  train, test = (
      {photo.file for photo in builtin.SPLITS[split].photos}
      for split in ('train', 'test'))
  assert train and test and not train & test
  # A stereo pair would be two files of one scene.
  assert not any('motorcycle' in file for file in train | test)


def test_pairs_are_made_once_and_cannot_be_changed():
  first, second = (builtin.pictures(split='test').read(0) for _ in range(2))
  assert np.shares_memory(first['blur'], second['blur'])
  with pytest.raises(ValueError, match='read-only'):
    first['blur'][0, 0, 0] = 1


def test_the_cache_folder_keeps_them(tmp_path, monkeypatch):
  monkeypatch.setenv(cache_folder.VARIABLE, str(tmp_path / 'cache'))
  calls = []

  def render(split, sharp, motion):    # the real one takes seconds
    calls.append(motion)
    return {'blur': sharp // 2, 'sharp': sharp.copy()}

  monkeypatch.setattr(builtin, '_render', render)

  def read(**motion):
    builtin._pairs.cache_clear()      # as in another process
    return builtin.pictures(split='test', **motion).read(0)

  motion = dict(frames=3)
  first, second = read(**motion), read(**motion)
  assert len(calls) == 1
  for name, pixels in first.items():
    np.testing.assert_array_equal(pixels, second[name])
    assert not second[name].flags.writeable
  path, = (tmp_path / 'cache').glob('*.pictures')
  path.write_bytes(path.read_bytes()[:-1])
  np.testing.assert_array_equal(read(**motion)['blur'], first['blur'])
  assert len(calls) == 2
  read(frames=5)
  assert len(calls) == 3
  assert cache_folder.clear() == 2
  builtin._pairs.cache_clear()


@pytest.mark.parametrize('options, message', [
    (dict(split='tests'), "split of the built-in.*'tests'.*mean 'test'"),
    (dict(split=''), 'known: test, train'),
    (dict(frames=2), 'frames must be odd'),
])
def test_mistakes_are_named(options, message):
  with pytest.raises(errors.UserError, match=message):
    builtin.pictures(**options)


@pytest.mark.parametrize('photo, message', [
    (builtin.Photo('gone', 'skimage', 'data/gone.png', 1, ((0, 0),)),
     'gone is not where skimage keeps it.*reinstall'),
    (builtin.Photo('small', 'skimage', 'data/coffee.png', 0.5, ((0, 60),)),
     r'small has \(200, 300\) pixels, too few for 256x256 at \(0, 60\)'),
])
def test_a_changed_package_is_named(photo, message):
  with pytest.raises(errors.UserError, match=message):
    list(builtin._crops(photo, 256, 256))
