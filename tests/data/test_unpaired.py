"""Sources without pairs: other pictures on each side, seen from the batches."""

import itertools

import jax
import numpy as np
import pytest
import sample_pictures as pictures
from helpers import get_config

from deblur_jax import data, errors
from deblur_jax.data import device_transforms, prepared, verify
from deblur_jax.evaluation import test_sets

BLURRY, SHARP = range(10, 14), range(100, 106)   # each picture has one value


@pytest.fixture
def two_folders(tmp_path):
  """Blurry pictures and sharp ones, more of these, and of another size."""
  for key, values, size in (('blur', BLURRY, (20, 30)), ('sharp', SHARP,
                                                         (40, 25))):
    for value in values:
      pictures.save(tmp_path / key / f'{value}.png',
                    np.full((*size, 3), value, np.uint8))
  return dict(name='unpaired', blur=str(tmp_path / 'blur'),
              sharp=str(tmp_path / 'sharp'))


def values(batch):
  """Of each key the value of each picture, which is one everywhere."""
  batch = {key: np.asarray(image) for key, image in batch.items()}
  first = {key: image[:, :1, :1, :1] for key, image in batch.items()}
  assert all((batch[key] == first[key]).all() for key in batch)
  return {key: np.rint(255 * image.ravel()).astype(int).tolist()
          for key, image in first.items()}


def batches(source, *, loader='threads', start=0, count=6):
  built = data.build(source, backend=loader, crop=16, batch_size=2, seed=3)
  return [built.unpack(batch | built.constants()) for batch
          in itertools.islice(built.batches(start), count)]


def test_sides_are_drawn_apart(two_folders):
  source = data.open_source(**two_folders)
  assert source.keys == ('blur', 'sharp') and len(source.names) == 10
  drawn = [values(batch) for batch in batches(source)]
  seen = {key: [v for batch in drawn for v in batch[key]] for key in drawn[0]}
  # Twelve rows: three epochs of the four blurry ones, two of the six sharp.
  assert sorted(seen['blur']) == sorted(3 * list(BLURRY))
  assert sorted(seen['sharp']) == sorted(2 * list(SHARP))
  # No blurry picture has one partner.
  pairs = set(zip(seen['blur'], seen['sharp'], strict=True))
  assert len(pairs) > len(BLURRY)
  verify.pixels(source, crop=16)


@pytest.mark.parametrize('loader', ['resident', 'tf_data'])
def test_loaders_agree_and_resume(loader, two_folders):
  source = data.open_source(**two_folders)
  expected = batches(source, count=4)
  found = batches(source, loader=loader, start=2, count=2)
  for one, other in zip(found, expected[2:], strict=True):
    assert values(one) == values(other)


def test_halves_share_no_picture(tmp_path):
  pictures.gopro(tmp_path)
  options = dict(name='gopro', root=str(tmp_path), subset='blur')
  pairs = data.open_source(**options)
  source = data.open_source(**options, halves=True)
  assert source.names == [
      f'blur/{name}' for name in pairs.names[:2]] + [
          f'sharp/{name}' for name in pairs.names[2:]]
  for number, name in enumerate(source.names):
    (key, picture), = source.read(number).items()
    assert name.startswith(key)
    np.testing.assert_array_equal(picture, pairs.read(number)[key])
    assert source.sizes(number) == {key: (48, 64)}
  smaller = data.open_source(**options, halves=True, scale=0.5)
  assert smaller.parts['sharp'].read(0)['sharp'].shape == (24, 32, 3)


def test_one_half_of_photos_is_blurred_in_the_step(two_folders):
  photos = dict(name='photos', root=two_folders['sharp'], halves=True)
  source = data.open_source(**photos)
  assert source.keys == ('to_blur', 'sharp')
  config = get_config('quickstart').to_dict()
  config['augment'] = dict(preset='none')
  config['data']['blur'] = dict(kind='gaussian', size=3, sigma=(0.4, 1.0))
  built = data.build(source, backend='threads', crop=16, batch_size=4, seed=0)
  prepare = jax.jit(device_transforms.make_prepare(config, built.unpack))
  batch = prepare(jax.random.key(0), next(built.batches(0)))
  assert 'to_blur' not in batch and batch['kernel'].shape == (4, 3, 3)
  middle = len(SHARP) // 2
  found = values({key: np.round(255 * np.asarray(batch[key])) / 255
                  for key in ('blur', 'sharp')})
  assert set(found['blur']) <= set(SHARP[:middle])
  assert set(found['sharp']) <= set(SHARP[middle:])


def test_sources_that_cannot_be_without_pairs(two_folders, tmp_path):
  (tmp_path / 'empty').mkdir()
  blur, sharp = two_folders['blur'], two_folders['sharp']
  one = tmp_path / 'one' / 'only.png'
  pictures.save(one, np.zeros((9, 9, 3), np.uint8))
  for options, message in [
      (dict(blur=blur, sharp=tmp_path / 'empty'), 'empty: no pictures there'),
      (dict(blur=tmp_path / 'empty', sharp=sharp), 'empty: no pictures there'),
      (dict(blur=blur, sharp=tmp_path / 'nowhere'), 'No folder .*nowhere'),
      (dict(blur=sharp, sharp=f'{sharp}/../sharp'), 'are both .*form :small'),
      (dict(blur=blur, sharp=tmp_path), 'one is inside of the other'),
      (two_folders | dict(halves=True), 'no sharp picture for each name'),
      (dict(name='photos', root=one.parent, halves=True), 'only one picture'),
      (dict(name='blurred_photos', root=blur, halves=True), 'no sharp picture'),
  ]:
    with pytest.raises(errors.UserError, match=message) as error:
      data.open_source(**{'name': 'unpaired'} | options)
    assert '\n' not in str(error.value)


def test_source_method_and_blur_must_fit(two_folders):
  photos = dict(name='photos', root=two_folders['sharp'])
  halves = photos | dict(halves=True)
  for options, unpaired, makes_blur, message in [
      (photos, True, None, 'M learns without pairs, .* or halves=True'),
      (two_folders, False, None, 'M needs pairs, and .*set method.name=cycle'),
      (two_folders, True, dict(kind='line'), 'leave data.blur out'),
      (halves, True, None, 'sharp pictures only: set data.blur'),
      (two_folders | dict(identity=0.1), True, None, 'augment.identity would'),
  ]:
    options = dict(options)
    augment = dict(identity=options.pop('identity', 0.0))
    config = dict(method=dict(name='M'), data=dict(blur=makes_blur),
                  augment=augment)
    with pytest.raises(errors.UserError, match=message) as error:
      device_transforms.check_pairing(
          data.open_source(**options), config, unpaired=unpaired)
    assert '\n' not in str(error.value)


def test_what_is_too_small_or_has_no_pairs(two_folders, tmp_path):
  source = data.open_source(**two_folders)
  with pytest.raises(errors.UserError, match='30x20 is below crop 32'):
    verify.headers(source, crop=32)
  with pytest.raises(errors.UserError, match='prepare a set of pairs'):
    prepared.write(source, tmp_path / 'prepared')
  with pytest.raises(errors.UserError, match='evaluation needs pairs'):
    test_sets.check_test_set(source)
