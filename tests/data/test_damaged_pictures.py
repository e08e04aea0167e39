"""`max_damaged`: a share of a training set may be unreadable."""

import itertools

import numpy as np
import pytest
import sample_pictures

from deblur_jax import data, errors
from deblur_jax.data import verify
from deblur_jax.evaluation import test_sets


@pytest.fixture
def folder(tmp_path):
  """Four pairs, of which the second is cut and the third has no header."""
  for i in range(4):
    for side, picture in sample_pictures.smooth(i, 16, 16).items():
      sample_pictures.save(tmp_path / side / f'{i}.png', picture)
  cut, empty = tmp_path / 'blur' / '1.png', tmp_path / 'sharp' / '2.png'
  cut.write_bytes(cut.read_bytes()[:200])
  empty.write_bytes(b'')
  return tmp_path


def pairs(folder, **options):
  return data.open_source(
      name='folder_pairs', blur=str(folder / 'blur'),
      sharp=str(folder / 'sharp'), **options)


@pytest.mark.parametrize('backend', ['threads', 'resident'])
def test_the_next_whole_pair_stands_for_a_damaged_one(backend, folder, caplog):
  source = pairs(folder, max_damaged=0.5)
  verify.headers(source, crop=16)
  loader = data.build(source, backend=backend, crop=16, batch_size=4)
  constants = loader.constants()
  for number, batch in enumerate(itertools.islice(loader.batches(0), 2)):
    sharp = np.asarray(loader.unpack(batch | constants)['sharp'])
    for name, picture in zip(loader.names(number), sharp, strict=True):
      stands = {'1': 3, '2': 3}.get(name, int(name))
      expected = sample_pictures.smooth(stands, 16, 16)['sharp']
      np.testing.assert_array_equal(np.rint(picture * 255), expected)
  said = sorted(record.getMessage() for record in caplog.records)
  assert len(said) == 2 and said[0].startswith('1 is damaged and passed over, ')
  assert ' of at most 2: ' in said[1] and '2.png is empty' in said[1]


def test_more_damaged_pairs_than_allowed_stop(folder):
  source = pairs(folder, max_damaged=0.1)
  with pytest.raises(errors.UserError, match=(
      r'more than 1 of 4 names are damaged \(data\.max_damaged=0\.1\), such as '
      r'2: [^\n]*2\.png is empty')):
    [source.read(i) for i in range(4)]


@pytest.mark.parametrize('share', [-0.1, 1, True, 'some', float('nan')])
def test_what_is_no_share(share, folder):
  with pytest.raises(errors.UserError, match=r'max_damaged must be a share'):
    pairs(folder, max_damaged=share)


def test_a_test_set_must_be_whole(folder):
  with pytest.raises(errors.UserError, match=r'^data\.test\.max_damaged: '):
    test_sets.check_test_set(pairs(folder, max_damaged=0.5))
