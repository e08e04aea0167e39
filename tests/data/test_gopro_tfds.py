"""The TFDS builder passes TFDS' own test, and its data are the folders'."""

import functools
import pathlib
import tempfile

import numpy as np
import pytest
import sample_pictures as pictures
import tensorflow as tf
import tensorflow_datasets as tfds

from deblur_jax import data, errors
from deblur_jax.data import gopro_tfds


class GoproLargeTest(tfds.testing.DatasetBuilderTestCase):
  """Both configs on a small sample."""

  DATASET_CLASS = gopro_tfds.GoproLarge
  SPLITS = {'train': 5, 'test': 2}

  @classmethod
  def setUpClass(cls):
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.EXAMPLE_DIR = folder.name
    root = pathlib.Path(folder.name)
    pictures.gopro(root, subsets=('blur',))
    for path in root.glob('*/*/blur/*.png'):  # a subset with its own pixels
      pictures.save(path.parents[1] / 'blur_gamma' / path.name,
                    pictures.smooth(9)['blur'] + 1)
    super().setUpClass()


def test_source_reads_what_was_prepared(tmp_path):
  root = pictures.gopro(tmp_path / 'in')
  gopro_tfds.prepare(str(root), str(tmp_path / 'out'), subset='blur')
  for split in ('train', 'test'):
    folder = data.open_source(
        name='gopro', root=root, split=split, subset='blur')
    stored = data.open_source(
        name='tfds', dataset='gopro_large/blur', split=split,
        data_dir=tmp_path / 'out')
    assert stored.names == folder.names
    for i in range(len(folder.names)):
      for key, picture in folder.read(i).items():
        np.testing.assert_array_equal(stored.read(i)[key], picture)


def test_anybody_loads_a_tf_dataset(tmp_path):
  root = pictures.gopro(tmp_path / 'in')
  gopro_tfds.prepare(str(root), str(tmp_path / 'out'), subset='blur')
  load = functools.partial(
      tfds.load, 'gopro_large/blur', data_dir=tmp_path / 'out')
  folder = data.open_source(name='gopro', root=root, subset='blur')
  train = load(split='train')
  assert isinstance(train, tf.data.Dataset) and len(train) == 5
  for i, pair in enumerate(train.as_numpy_iterator()):
    assert pair.pop('name').decode() == folder.names[i]
    for key, picture in folder.read(i).items():
      np.testing.assert_array_equal(pair[key], picture)
      assert pair[key].dtype == np.uint8
  assert len(load(split='train[:40%]')) == 2 and set(load()) == {
      'train', 'test'}
  names = lambda found: [pair['name'] for pair in found.as_numpy_iterator()]
  shuffled = load(split='train', shuffle_files=True,
                  read_config=tfds.ReadConfig(shuffle_seed=1))
  assert names(shuffled) != names(train)
  assert sorted(names(shuffled)) == names(train)
  only_names = load(
      split='train', decoders=tfds.decode.PartialDecoding({'name': True}))
  assert only_names.element_spec.keys() == {'name'}
  (blur, _), *_ = load(split='test', as_supervised=True).as_numpy_iterator()
  assert blur.shape == (48, 64, 3)


def test_messages(tmp_path):
  def opening(match, **kwargs):
    with pytest.raises(errors.UserError, match=match):
      data.open_source(name='tfds', **{
          'dataset': 'gopro_large/blur', 'data_dir': tmp_path / 'out',
          **kwargs})

  opening('No TFDS data set gopro_large/blur in .*prepare_data --tfds')
  root = pictures.gopro(tmp_path / 'in', counts=[('train', 1)])
  with pytest.raises(errors.UserError, match="No folder 'test' in"):
    gopro_tfds.prepare(str(root), str(tmp_path / 'out'), subset='blur')
  pictures.gopro(root, counts=[('test', 1)])
  gopro_tfds.prepare(str(root), str(tmp_path / 'out'), subset='blur')
  opening("Unknown split 'val'; known: test, train", split='val')
  opening("Unknown feature 'blurry'", blur='blurry')
