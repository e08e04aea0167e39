"""Checkpoints: save and load, and one line about each error."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors
from deblur_jax.state import TrainState
from deblur_jax.training import checkpoint, parallel


def state(value, width=3):
  return TrainState(
      step=jnp.asarray(value, jnp.int32),
      params={'net': {'kernel': jnp.full((2, width), value, jnp.float32)}},
      opt_state={'net': {'mu': jnp.zeros((2, width))}})


def put(tree):
  return parallel.put(jax.tree.map(np.asarray, tree),
                      parallel.replicated(parallel.data_mesh()))


@pytest.fixture
def checkpoints(tmp_path):
  opened = checkpoint.Checkpoints(tmp_path / 'checkpoints')
  yield opened
  opened.close()


def test_round_trip(checkpoints):
  checkpoints.save(1, put(state(1)), {'psnr_uint8': 20.0})
  checkpoints.wait()
  restored = checkpoints.restore(put(state(0)))
  assert isinstance(restored, TrainState)
  jax.tree.map(np.testing.assert_array_equal, restored, state(1))


def test_newest_and_best_are_kept(checkpoints):
  for step, score in enumerate([30.0, 33.0, 32.0, 29.0, 28.0], start=1):
    checkpoints.save(step, put(state(step)), {'psnr_uint8': score})
  checkpoints.wait()
  assert checkpoints.latest_step() == 5
  assert checkpoints.best_step() == 2
  assert int(checkpoints.restore(put(state(0)), 2).step) == 2


def test_another_network_is_refused(checkpoints):
  checkpoints.save(1, put(state(1)), {'psnr_uint8': 1.0})
  checkpoints.wait()
  with pytest.raises(
      errors.UserError,
      match=r'another network: params/net/kernel \(2, 3\) in the checkpoint, '
            r'\(2, 4\) here'):
    checkpoints.restore(put(state(0, width=4)))


def test_missing_checkpoints(checkpoints, tmp_path):
  with pytest.raises(errors.UserError, match='No complete checkpoint in'):
    checkpoints.restore(put(state(0)))
  with pytest.raises(
      errors.UserError, match='No complete checkpoint of step 7'):
    checkpoints.restore(put(state(0)), 7)
  with pytest.raises(errors.UserError, match='No checkpoint in .*train there'):
    checkpoint.Checkpoints(tmp_path / 'none' / 'checkpoints', read_only=True)
  assert not (tmp_path / 'none').exists()


def test_damaged_checkpoint_is_named(checkpoints, tmp_path):
  checkpoints.save(1, put(state(1)), {'psnr_uint8': 1.0})
  checkpoints.save(2, put(state(2)), {'psnr_uint8': 0.0})
  checkpoints.wait()
  for path in (tmp_path / 'checkpoints' / '2' / 'state').rglob('*'):
    if path.is_file() and path.parent.name == 'd':
      path.write_bytes(path.read_bytes()[:10])
  with pytest.raises(errors.UserError, match='checkpoints/2 is damaged'):
    checkpoints.restore(put(state(0)))
  assert int(checkpoints.restore(put(state(0)), 1).step) == 1


def _flipped(data, random):
  data = bytearray(data)
  if data:
    data[random.integers(len(data))] ^= 1 << random.integers(8)
  return bytes(data)


SPOILED = {'cut': lambda data, random: data[:len(data) // 2],
           'a bit': _flipped, 'deleted': lambda data, random: None}


@pytest.mark.parametrize('how', SPOILED)
def test_a_changed_file_never_gives_other_values(how, tmp_path):
  """Whatever file of a checkpoint: all its values, or one line."""
  random, refused = np.random.default_rng(0), 0
  saved = put(state(2).replace(params={'net': {
      'kernel': random.normal(size=(60, 50)).astype(np.float32)}}))
  checkpoints = checkpoint.Checkpoints(tmp_path / 'whole')
  checkpoints.save(2, saved, None)
  checkpoints.close()
  files = [path.relative_to(tmp_path / 'whole')
           for path in sorted((tmp_path / 'whole').rglob('*'))
           if path.is_file()]
  for number, file in enumerate(files):
    folder = shutil.copytree(tmp_path / 'whole', tmp_path / str(number))
    data = SPOILED[how]((folder / file).read_bytes(), random)
    (folder / file).unlink()
    if data is not None:
      (folder / file).write_bytes(data)
    opened = checkpoint.Checkpoints(folder, read_only=True)
    try:
      found = opened.restore(saved)
      jax.tree.map(np.testing.assert_array_equal, found, saved)
    except errors.UserError as error:
      assert '\n' not in str(error)
      refused += 1
    opened.close()
  assert 2 < refused < len(files)


def test_damaged_ones_are_set_aside(checkpoints, tmp_path):
  for step in (1, 2):
    checkpoints.save(step, put(state(step)), {'psnr_uint8': -float(step)})
  checkpoints.wait()
  kept = put(state(0))
  for path in (tmp_path / 'checkpoints' / '2' / 'state').rglob('*'):
    if path.is_file() and path.parent.name == 'd':
      path.write_bytes(b'')
  with pytest.raises(
      checkpoint.Damaged, match='before it is of step 1: .*newest_good'):
    checkpoints.restore(kept)
  checkpoints.set_damaged_aside(kept)
  assert int(checkpoints.restore(kept).step) == 1
  assert (tmp_path / 'checkpoints_damaged' / '2' / 'state').is_dir()
  checkpoints.save(2, put(state(2)), {'psnr_uint8': 3.0})
  checkpoints.wait()
  assert int(checkpoints.restore(kept).step) == 2


def test_a_reader_beside_training_takes_the_newer_one(checkpoints, tmp_path):
  kept, metrics = put(state(0)), {'psnr_uint8': 1.0}
  checkpoints.save(1, put(state(1)), metrics)
  checkpoints.wait()
  reader = checkpoint.Checkpoints(tmp_path / 'checkpoints', read_only=True)
  for step in (2, 3):      # 1 is neither the newest nor the best any more
    checkpoints.save(step, put(state(step)), {'psnr_uint8': 1.0 + step})
  checkpoints.wait()
  assert not (tmp_path / 'checkpoints' / '1').exists()
  with pytest.raises(checkpoint.Replaced, match='start again'):
    reader.restore(kept, 1)
  found = reader.at('last', lambda step: reader.restore(kept, step))
  assert int(found.step) == 3
  reader.close()


def test_a_full_disk_is_refused_before_writing(checkpoints, tmp_path):
  checkpoints.save(1, put(state(1)), {'psnr_uint8': 1.0})
  checkpoints.wait()
  huge = state(2).replace(
      buffers={'huge': jax.ShapeDtypeStruct((2**60,), jnp.float32)})
  with pytest.raises(
      errors.UserError,
      match=r'no space left \(.* MB needed, .* MB free\); the last good one is '
            'of step 1. Make room'):
    checkpoints.save(2, huge, {'psnr_uint8': 2.0})
  assert [path.name for path in (tmp_path / 'checkpoints').iterdir()] == ['1']


def test_what_a_killed_save_left_is_deleted(checkpoints, tmp_path):
  """It is no checkpoint, and the next process that trains deletes it."""
  checkpoints.save(1, put(state(1)), {'psnr_uint8': 1.0})
  checkpoints.wait()
  folder = tmp_path / 'checkpoints'
  half = folder / '2.orbax-checkpoint-tmp'
  shutil.copytree(folder / '1', half)
  reader = checkpoint.Checkpoints(folder, read_only=True)
  assert reader.latest_step() == 1 and half.is_dir()
  reader.close()
  again = checkpoint.Checkpoints(folder)
  assert int(again.restore(put(state(0))).step) == 1
  again.close()
  assert [path.name for path in folder.iterdir()] == ['1']


# Of threads of orbax that have failed.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_save_that_fails_later_is_no_checkpoint(checkpoints):
  """The threads that write fail, as on a disk that fills meanwhile."""
  resource = pytest.importorskip('resource')
  checkpoints.save(1, put(state(1)), {'psnr_uint8': 1.0})
  checkpoints.wait()
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  noise = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
  large = state(2).replace(params={'net': {'kernel': noise}})
  try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    with pytest.raises(errors.UserError, match=(
        r'Could not save .*; the last good one is of step 1\. Make room')):
      checkpoints.save(2, put(large), {'psnr_uint8': 2.0})
      checkpoints.wait()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert checkpoints.latest_step() == 1
  assert int(checkpoints.restore(put(state(0))).step) == 1
