"""Batch i is a function of (seed, i): for every loader, storage and start."""

import functools
import itertools
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import sample_pictures as pictures
from PIL import Image

from deblur_jax import data, errors
from deblur_jax.data import (
    gopro_tfds,
    parallel_map,
    prepared,
    sampler,
    sources,
    tf_pipeline,
)

SIZES = ((40, 56), (32, 32), (48, 40))
# tf_data reads each storage in its own way.
STORAGES = ('python', 'png', 'odd', 'jpeg', 'prepared', 'tfds')
WAYS = [('threads', 'python'), ('resident', 'python'),
        *(('tf_data', storage) for storage in STORAGES)]


def make_source(count=7):
  """Pictures of three sizes, made from their numbers."""
  pairs = [pictures.smooth(i, *SIZES[i % 3]) for i in range(count)]
  return sources.Source([f'p{i}' for i in range(count)], pairs.__getitem__,
                       'a test set')


def save(root, *, suffix='png', odd=False):
  """The same pictures in GoPro's folders; one of the odd ones has alpha."""
  for split in ('train', 'test'):
    for i in range(7):
      for key, picture in make_source().read(i).items():
        if odd and i == 4:
          picture = np.pad(
              picture, ((0, 0), (0, 0), (0, 1)), constant_values=255)
        pictures.save(root / split / 'p' / key / f'{i}.{suffix}', picture)
  return root


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
  """storage -> a source of the same seven pairs."""
  @functools.cache
  def find(storage):
    if storage == 'python':
      return make_source()
    root = tmp_path_factory.mktemp(storage)
    if storage == 'prepared':
      prepared.write(make_source(), root)
      return data.open_source(name='prepared', root=root)
    save(root, suffix='jpg' if storage == 'jpeg' else 'png',
         odd=storage in ('odd', 'tfds'))
    if storage == 'tfds':
      gopro_tfds.prepare(str(root), str(root), subset='blur')
      return data.open_source(
          name='tfds', dataset='gopro_large/blur', data_dir=root)
    return data.open_source(name='gopro', root=root, subset='blur')

  return find


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
  """Batches cross the borders of the datasets that tf_data joins."""
  monkeypatch.setattr(tf_pipeline, 'SEGMENT', 3)


def crops(loader, *, start=0, count=3):
  """Batches as the training step sees them."""
  unpack = jax.jit(loader.unpack)
  return [jax.device_get(unpack({**batch, **loader.constants()}))
          for batch in itertools.islice(loader.batches(start), count)]


def assert_equal(first, second):
  """The same batches, bit for bit."""
  for a, b in zip(first, second, strict=True):
    assert a.keys() == b.keys()
    for key in a:
      np.testing.assert_array_equal(a[key], b[key])


def build(source, backend, **kwargs):
  """A small loader."""
  return data.build(source, backend=backend, crop=16, batch_size=6, seed=3,
                    **kwargs)


def cut_plainly(source, count=5):
  """Batches cut with plain indexing."""
  batches = []
  plan = sampler.make(size=7, crop=16, batch_size=6, seed=3, process_index=0,
                      process_count=1)
  for i in range(count):
    numbers, fractions = sampler.draw(plan, 6 * i, 6)
    rows = {'blur': [], 'sharp': []}
    for number, fraction in zip(numbers, fractions, strict=True):
      for key, picture in source.read(number).items():
        y, x = (fraction * (np.array(picture.shape[:2]) - 15)).astype(int)
        rows[key].append(picture[y:y + 16, x:x + 16]
                         * np.float32(1 / 255))
    batches.append({key: np.stack(value) for key, value in rows.items()})
  return batches


@pytest.fixture(scope='module')
def expected(stored):
  """storage -> five batches; those of all storages without loss are equal."""
  lossless = cut_plainly(make_source())
  of_jpeg = functools.cache(lambda: cut_plainly(stored('jpeg')))
  return lambda storage: of_jpeg() if storage == 'jpeg' else lossless


def test_a_prepared_set_may_be_larger_than_the_memory(tmp_path):
  """Its map takes no memory of its own."""
  with open(tmp_path / 'pixels.bin', 'wb') as file:
    file.truncate(1 << 38)     # without content: 256 GiB of zeros
  pixels = tf_pipeline._writable_map(tmp_path / 'pixels.bin')
  assert pixels.shape == (1 << 38,) and pixels[1 << 37] == 0


@pytest.mark.parametrize(('backend', 'storage'), WAYS)
def test_batches_and_resume(backend, storage, stored, expected):
  loader = build(stored(storage), backend)
  assert_equal(crops(loader, count=5), expected(storage))
  assert_equal(crops(loader, start=4, count=1), expected(storage)[4:])


@pytest.mark.parametrize(('backend', 'storage'), WAYS)
def test_processes_share_a_batch(backend, storage, stored, expected):
  shares = [crops(build(stored(storage), backend, process_index=k,
                        process_count=2), count=2) for k in range(2)]
  joined = [{key: np.concatenate([a[key], b[key]]) for key in a}
            for a, b in zip(*shares, strict=True)]
  assert_equal(joined, expected(storage)[:2])


@pytest.mark.parametrize(('backend', 'storage'), [
    *WAYS[:2], ('tf_data', 'png'), ('tf_data', 'prepared')])
def test_crops_grow(backend, storage, stored, expected):
  grown = build(stored(storage), backend,
                progressive=[(2, 24, 3), (4, 32, 2)])
  batches = crops(grown, count=6)
  assert_equal(batches[:2], expected(storage)[:2])
  assert [batch['sharp'].shape[:2] for batch in batches[2:]] == [
      (3, 24), (3, 24), (2, 32), (2, 32)]
  for start in (1, 3, 5):               # a run resumes within any stage
    assert_equal(crops(grown, start=start, count=6 - start), batches[start:])


@pytest.mark.parametrize('storage', ['png', 'jpeg', 'prepared', 'tfds'])
def test_tensorflow_reads_without_python(storage, stored, expected):
  def read(i):
    raise AssertionError('Python decodes')
  source = stored(storage)._replace(read=read)
  assert_equal(crops(build(source, 'tf_data'), count=2), expected(storage)[:2])


def test_python_reads_what_tensorflow_does_not(tmp_path, expected):
  source = data.open_source(name='gopro', root=save(tmp_path), subset='blur')
  path = source.files(2)['sharp']
  path.write_bytes(path.read_bytes()[:-12])    # Pillow needs no end of a PNG
  assert_equal(crops(build(source, 'tf_data'), count=5), expected('png'))


def test_grown_batches_go_on_with_the_epoch():
  plan = sampler.make(size=22, crop=16, batch_size=6, seed=3, process_index=1,
                      process_count=2)
  plans = sampler.in_stages(plan, [(2, 24, 4), (4, 32, 2)])
  positions = [plan.position(batch * plan.rows + row) for plan, batches in
               zip(plans, ([0, 1], [2, 3], [4]), strict=True)
               for batch in batches for row in range(plan.rows)]
  assert positions == [3, 4, 5, 9, 10, 11, 14, 15, 18, 19, 21]


@pytest.mark.parametrize('loader', data.LOADERS)
def test_sharp_pictures_only(loader, tmp_path):
  photos = data.open_source(
      name='photos', root=save(tmp_path) / 'train/p/sharp')
  batch, = crops(
      data.build(photos, backend=loader, crop=16, batch_size=2), count=1)
  assert list(batch) == ['sharp'] and batch['sharp'].shape == (2, 16, 16, 3)


@pytest.mark.parametrize('loader', ['threads', 'tf_data'])
def test_real_pictures(loader, real_data):
  gopro = data.open_source(
      name='gopro', root=real_data / 'gopro', split='test', subset='blur')
  a, b = (crops(data.build(gopro, backend=name, crop=96, batch_size=4), count=1)
          for name in (loader, 'resident'))
  assert_equal(a, b)


def test_an_epoch_holds_each_picture_once():
  plan = sampler.make(size=7, crop=16, batch_size=6, seed=3, process_index=0,
                      process_count=1)
  numbers, fractions = sampler.draw(plan, 0, 70)
  assert (np.sort(numbers.reshape(10, 7), axis=1) == np.arange(7)).all()
  assert len({tuple(row) for row in numbers.reshape(10, 7)}) > 5
  assert len(np.unique(fractions)) == 140
  assert 0 <= fractions.min() < 0.1 and 0.9 < fractions.max() < 1


def test_draws_do_not_change():
  # A golden value: another one would silently change what a seed means.
  plan = sampler.make(size=7, crop=16, batch_size=6, seed=3, process_index=0,
                      process_count=1)
  numbers, fractions = sampler.draw(plan, 5, 4)
  later = sampler.draw(plan, 6, 3)
  np.testing.assert_array_equal(later[0], numbers[1:])
  np.testing.assert_array_equal(later[1], fractions[1:])
  assert numbers.tolist() == [3, 0, 0, 4]
  np.testing.assert_allclose(
      fractions[0], [0.99819776, 0.26267878], atol=1e-8)


def test_corners_reach_both_ends():
  ends = sampler.corner(np.array([[0.0, 1 - 2 ** -53]]), [[20, 19]], 16)
  assert ends.tolist() == [[0, 3]]
  assert sampler.corner(np.array([1 - 2 ** -53] * 2), [16, 16], 16).max() == 0


def _replace(content, *paths):
  """Replaces files at once: a loader reads ahead meanwhile."""
  news = [path.with_suffix('.new') for path in paths]
  for new in news:
    if isinstance(content, bytes):
      new.write_bytes(content)
    else:
      Image.fromarray(content).save(new, 'png')
  for new, path in zip(news, paths, strict=True):
    new.replace(path)


@pytest.mark.parametrize('loader', ['threads', 'tf_data'])
@pytest.mark.parametrize(('change', 'message'), [
    (lambda path: _replace(path.read_bytes()[:-99], path),
     r'^Cannot read .*000049\.png: .*truncated'),
    (lambda path: path.unlink(), r'^No file .*000049\.png'),
    (lambda path: _replace(np.zeros((48, 65, 3), np.uint8), path),
     r'pair differ in size: .*000049\.png is 64x48, .*000049\.png is 65x48'),
    (lambda path: _replace(np.zeros((15, 64, 3), np.uint8), *(
        path.parents[1] / side / path.name for side in ('blur', 'sharp'))),
     r'GOPR0372_07_00/000049 is 64x15, smaller than data\.crop=16')],
    ids=['truncated', 'missing', 'unequal', 'small'])
def test_a_broken_file_is_one_line(loader, change, message, tmp_path):
  gopro = data.open_source(
      name='gopro', root=pictures.gopro(tmp_path), subset='blur')
  batches = data.build(gopro, backend=loader, crop=16, batch_size=1).batches(0)
  next(batches)
  change(tmp_path / 'train/GOPR0372_07_00/sharp/000049.png')
  with pytest.raises(errors.UserError, match=message):
    list(itertools.islice(batches, 30))


@pytest.mark.parametrize(('backend', 'storage'), [
    way for way in WAYS if way[1] in ('python', 'prepared')])
def test_a_small_picture_is_one_line(backend, storage, stored):
  with pytest.raises(
      errors.UserError, match='p1 is 32x32, smaller than data'):
    crops(data.build(stored(storage), backend=backend, crop=36, batch_size=7),
          count=2)


@pytest.mark.parametrize(('kwargs', 'message'), [
    (dict(backend='tfdata'), 'Did you mean .tf_data.'),
    (dict(batch_size=5, process_count=2), '5 is not divisible by the 2 proc'),
    (dict(crop=None), 'data.crop must be 1 or more, not None'),
    (dict(progressive=[(2, 24)]), r'\(2, 24\) is not a row of step, crop'),
    (dict(progressive=(2, 24, 3)), r'2 is not a row .* \(\(90000, 320, 8\),\)'),
    (dict(progressive=[(2, 24, 4), (2, 32, 2)]), 'order of their steps'),
    (dict(progressive=[(2, 24, 3)], process_count=2), '3 is not divisible by'),
    (dict(batch_size=0), 'data.batch_size must be 1 or more, not 0'),
    (dict(backend='threads', prefetsh=2), 'Did you mean .prefetch.'),
    (dict(backend='threads', workers=0), 'workers must be 1 or more, not 0'),
    (dict(prefetch=-1), 'data.loader.prefetch must be 1 or more, not -1'),
    (dict(backend='resident', limit_gib=1e-6), r'needs 0\.00 GiB .*limit_gib'),
])
def test_messages(kwargs, message):
  with pytest.raises(errors.UserError, match=message):
    data.build(
        make_source(), **{'crop': 16, 'batch_size': 6, **kwargs}).constants()


def test_without_tensorflow(monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow', None)  # as if not installed
  with pytest.raises(errors.UserError, match=(
      r"needs TensorFlow: pip install 'deblur-jax\[train\]'; or set "
      "data.loader.backend='threads'")):
    build(make_source(), 'tf_data')
  assert crops(build(make_source(), 'threads'), count=1)


def test_look_ahead_is_bounded_and_ends_with_the_iterator():
  begun = []
  items = parallel_map.ordered(
      lambda i: begun.append(i) or i, itertools.count(), workers=2, ahead=4)
  assert list(itertools.islice(items, 3)) == [0, 1, 2]
  time.sleep(0.05)
  assert len(begun) <= 7
  items.close()
  count = len(begun)
  time.sleep(0.05)
  assert len(begun) == count


def test_python_ends_amid_an_epoch(tmp_path):
  # Readers still busy when Python ends have hung, or printed tracebacks.
  pictures.gopro(tmp_path)
  code = f'''
import sys
from deblur_jax import data
from deblur_jax.data import prepared
assert not {{'tensorflow', 'tensorflow_datasets'}} & set(sys.modules)
gopro = data.open_source(name='gopro', root={str(tmp_path)!r}, subset='blur')
prepared.write(gopro, {str(tmp_path / 'prepared')!r})
packed = data.open_source(name='prepared', root={str(tmp_path / 'prepared')!r})
readers = [data.build(source, backend=name, crop=8, batch_size=4).batches(0)
           for source in (gopro, packed) for name in ('threads', 'tf_data')]
for reader in readers:
  next(reader)
'''
  done = subprocess.run(
      [sys.executable, '-c', code], timeout=300, capture_output=True, text=True,
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'})
  assert done.returncode == 0, done.stderr
  assert 'Traceback' not in done.stderr
