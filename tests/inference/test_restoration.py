"""Restoration of batches, and test sets: order, sizes, means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny

from deblur_jax import data, errors, methods, metrics
from deblur_jax.evaluation import test_sets
from deblur_jax.inference import restoration
from deblur_jax.training import loop, parallel, workdir

METHODS = {'supervised': tiny()}


def images(*sizes):
  random = np.random.default_rng(0)
  return [random.random((*size, 3), np.float32) for size in sizes]


@pytest.fixture(scope='module', params=METHODS)
def trained(request):
  config = METHODS[request.param]
  method = methods.build(config)
  mesh = parallel.data_mesh()
  return method, loop.init(method, jax.random.key(0), 16, mesh), mesh


def test_keeps_order_and_sizes(trained):
  method, state, mesh = trained
  blurs = images((16, 24), (16, 24), (16, 24), (17, 23), (16, 24))
  restored = list(restoration.restore_images(method, state, blurs, mesh))
  for one, blur in zip(restored, blurs, strict=True):
    assert one.image.shape == blur.shape and one.image.dtype == np.float32
    assert 0 <= one.image.min() and one.image.max() <= 1
    assert one.seconds > 0
    alone = np.clip(method.restore(state, jnp.asarray(blur[None]))[0], 0, 1)
    np.testing.assert_allclose(one.image, alone, atol=1e-6)


def test_batch_size_changes_nothing(trained):
  method, state, mesh = trained
  blurs = images(*[(16, 16)] * 5)
  two, four = (
      [one.image for one in restoration.restore_images(
          method, state, blurs, mesh, batch_size=size)] for size in (2, 4))
  np.testing.assert_allclose(two, four, atol=1e-6)


def test_batch_must_divide_over_the_devices(trained):
  method, state, mesh = trained
  with pytest.raises(errors.UserError, match='not divisible by the 2 devices'):
    list(restoration.restore_images(
        method, state, images((8, 8)), mesh, batch_size=3))


def test_state_survives_restoring(trained):
  method, state, mesh = trained
  list(restoration.restore_images(method, state, images((8, 8)), mesh))
  assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_rows_are_those_of_the_pictures(trained):
  """An untrained residual network of zeros gives the input back."""
  config = tiny(**{'nets.net.residual': True})
  method = methods.build(config)
  mesh = parallel.data_mesh()
  state = jax.tree.map(
      jnp.zeros_like, loop.init(method, jax.random.key(0), 16, mesh))
  source = data.open_source(name='builtin', split='test')
  rows = [row for _, _, row in test_sets.evaluate_source(
      method, state, source, range(2), mesh)]
  for index, row in enumerate(rows):
    pair = source.read(index)
    expected = metrics.STANDARD['psnr_uint8'](
        pair['blur'][None] / np.float32(255),
        pair['sharp'][None] / np.float32(255))[0]
    np.testing.assert_allclose(row['psnr_uint8'], expected, rtol=1e-6)
    for name in metrics.STANDARD:
      np.testing.assert_allclose(row[name], row['input'][name], rtol=1e-5)
  summary = test_sets.summarise(rows)
  np.testing.assert_allclose(
      summary['mean']['psnr_uint8'],
      np.mean([row['psnr_uint8'] for row in rows]))


def test_evaluation_needs_pairs(picture_folder):
  source = data.open_source(name='photos', root=picture_folder)
  with pytest.raises(errors.UserError, match='has no blur picture'):
    test_sets.check_test_set(source)


def test_which_must_exist(tmp_path):
  config = tiny()
  method = methods.build(config)
  with pytest.raises(errors.UserError, match='No checkpoint in'):
    test_sets.load(config, method, tmp_path)
  (tmp_path / workdir.CHECKPOINTS).mkdir()
  with pytest.raises(errors.UserError, match='which must be last, best or'):
    test_sets.load(config, method, tmp_path, which='newest')
  with pytest.raises(
      errors.UserError, match='No complete checkpoint of step 3'):
    test_sets.load(config, method, tmp_path, which='3')
