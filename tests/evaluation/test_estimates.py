"""Predictions of blur, and the evaluation of runs without the truth."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import onnx_files
import pytest
import run_folders
import sample_pictures as pictures

from deblur_jax import blur as blurs
from deblur_jax import errors, methods, models
from deblur_jax.blur import kernels, operators, uniform
from deblur_jax.data import kernel_files
from deblur_jax.evaluation import (
  blur_estimates as kernel_scores,
)
from deblur_jax.evaluation import (
  no_reference,
  test_sets,
)
from deblur_jax.metrics import gradient_distance
from deblur_jax.models import blur_classifier, kernel_fourier
from deblur_jax.training import checkpoint, train, workdir


def photos(folder, *names, size=(40, 48)):
  random = np.random.default_rng(0)
  for name in names:
    pictures.save(folder / f'{name}.png', random.integers(
        0, 256, (*size, 3), np.uint8))
  return folder


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """(config, folder) of a run that predicts all, before its first step."""
  folder = tmp_path_factory.mktemp('run')
  config = helpers.get_config('cycle_physics').to_dict()
  method = methods.build(config)
  crop = jnp.zeros((1, 32, 32, 3))
  shelf = checkpoint.Checkpoints(folder / 'checkpoints')
  state = jax.jit(method.init)(jax.random.key(0), {'blur': crop})
  shelf.save(0, state, None)
  shelf.wait()
  shelf.close()
  return config, folder


def test_likeness_does_not_mind_a_shift():
  likeness = jax.jit(kernels.likeness)
  one, other, point = map(np.asarray, jax.jit(lambda: (
      kernels.line(5.0, 0.7, size=11), kernels.disk(3.0, size=11),
      kernels.delta(size=3)))())
  moved = np.roll(one, (2, -3), (0, 1))
  found = likeness(np.stack([one, one, one]), np.stack([moved, 2 * one, other]))
  np.testing.assert_allclose(found[:2], 1, rtol=1e-5)
  assert found[2] < 0.8
  even = np.full((3, 3), 1 / 9, np.float32)
  np.testing.assert_allclose(likeness(point, even), 1 / 3, rtol=1e-5)


def test_least_squares_find_the_kernel_from_true_gradients():
  random = np.random.default_rng(0)
  sharp = jnp.asarray(random.random((1, 64, 64)), jnp.float32)

  @jax.jit
  def of_true_gradients(sharp):
    true = kernels.line(6.0, 0.4, size=9)[None]
    blur = operators.uniform(true).forward(sharp[..., None])[..., 0]
    guessed = jnp.moveaxis(kernel_fourier.slopes(sharp), 0, -1)
    own = kernel_fourier.spectra(kernel_fourier.slopes(blur), 9)
    found = kernel_fourier.quotients(guessed, own, jnp.array([1e-3]), 9)[..., 0]
    return kernels.likeness(jnp.maximum(found, 0), true)

  assert of_true_gradients(sharp)[0] > 0.97


def test_kernels_are_compared_with_those_that_blurred(run, tmp_path):
  config, folder = run
  true = np.zeros((3, 8, 8), np.float32)
  true[0, 2:5, 3], true[1, 4, 1:4], true[2, :, 0] = 1, 2, 1
  np.savez(tmp_path / 'ks.npz', k=true, note=np.array('not a kernel'))
  result = kernel_scores.kernels(
      config, folder, photos=photos(tmp_path / 'photos', 'a', 'b'),
      kernels=tmp_path / 'ks.npz', crop=32)
  assert (result['kernels'], result['left_out'], result['size']) == (2, 1, 5)
  rows = [row['likeness'] for row in result['rows']]
  assert 0 < min(rows) and max(rows) <= 1 + 1e-5
  assert result['likeness'] == np.median(rows)
  assert workdir.read_json(folder / 'kernels.json') == result


def test_confusion_has_a_row_for_each_truth(run, tmp_path):
  config, folder = run
  labelled = photos(
      tmp_path / 'labelled', 'none/a', 'none/b', 'defocus/deep/c')
  result = kernel_scores.blur_types(
      config, folder, photos=labelled, labelled=True, crop=32)
  assert result['names'] == [*uniform.BLUR_TYPES, 'none']
  assert np.sum(result['confusion'], axis=1).tolist() == [0, 1, 0, 0, 2]
  assert result['accuracy'].keys() == {'defocus', 'none', 'all'}
  shown, truths = jax.eval_shape(
      kernel_scores.drawing(config, dict(size=5, margin=4)), jax.random.key(0),
      jax.ShapeDtypeStruct((32, 32, 3), jnp.float32))
  assert shown.shape == (kernel_scores.DRAWS + 1, 24, 24, 3)
  assert truths.shape == (kernel_scores.DRAWS + 1,)
  assert truths.dtype == jnp.int32


def test_a_run_on_photos_without_sharp_originals(run, tmp_path):
  config, folder = run
  # One sure object, whatever it is shown: YOLOX's 21 places of 32x32.
  sees = np.zeros((1, 21, 6))
  sees[0, 0, 4:] = 0.9
  detector = onnx_files.write(
      tmp_path / 'sees.onnx', inputs=[1, 3, 32, 32], constant=sees,
      colour=np.zeros((3, 6)))
  shown = {}
  result = no_reference.run(
      config, folder, photos=photos(tmp_path / 'photos', 'a'),
      natural_photos=photos(tmp_path / 'natural', 'b', 'c'),
      detector=detector, on_picture=shown.__setitem__)
  row, = result['rows']
  assert result['kernels'] == 'run' and shown.keys() == {'a'}
  assert result['mean'].keys() == {
      'reblur', 'natural', 'objects', 'confidence'}
  assert result['mean']['objects'] == 1
  assert result['input']['confidence'] == pytest.approx(0.81)
  assert result['mean']['reblur'] == row['restored']['reblur'] > 0
  assert row['blur']['blur_type'] in blur_classifier.NAMES
  assert (folder / 'no_reference_pictures' / 'a.restored.png').exists()
  assert workdir.read_json(folder / 'no_reference.json') == result


def test_natural_distance_grows_on_both_sides():
  random = np.random.default_rng(0)
  # Log gradients of a picture of steps: few strong ones, many of none.
  steps = np.kron(random.random((1, 8, 8, 1)), np.ones((1, 8, 8, 3)))
  steps = steps.astype(np.float32)
  quantiles = jax.jit(gradient_distance.quantiles)
  reference = quantiles(steps)[0]
  blurry = jax.jit(lambda x: operators.uniform(
      kernels.disk(3.0, size=7)).forward(x))(steps)
  noisy = steps + 0.1 * random.normal(size=steps.shape).astype(np.float32)
  far = jax.jit(functools.partial(gradient_distance.distance,
                                  reference=reference))
  assert far(steps) == 0
  assert far(blurry) > 0.1 and far(noisy) > 0.1
  # Over the places of one value each: all gradients are of one level.
  flat = np.zeros((1, 4, 4, 3), np.float32)
  flat[:, ::2] = 1 / 255
  np.testing.assert_allclose(
      np.asarray(quantiles(flat))[0, [0, -1]], [0, np.log(2)], rtol=1e-6)


def test_parts_of_a_mixture_with_unlike_kernels_have_none():
  parts = [dict(kind='line', size=5, length=(1.0, 4.0)),
           dict(kind='disk', size=7, radius=(0.5, 2.0))]
  made = jax.eval_shape(
      blurs.build(kind='mixture', parts=parts), jax.random.key(0),
      jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32))
  assert made.keys() == {'blur', 'sharp', 'blur_type'}


# ---- mistakes


@pytest.mark.parametrize(
    'name', ['kernel_estimation', 'blur_classification'])
def test_crops_may_grow_where_labels_come_from_the_blur(name):
  config = helpers.get_config(name).to_dict()
  config['data']['loader']['progressive'] = ((1, 36, 2),)
  assert train.setup(config).abstract_state.step.shape == ()


def test_mistakes_are_one_line(run, tmp_path):
  config, folder = run
  wrong = photos(tmp_path / 'wrong', 'moton/a')
  some = photos(tmp_path / 'some', 'a')
  np.savez(tmp_path / 'large.npz', k=np.ones((9, 9)))
  np.savez(tmp_path / 'small.npz', k=np.ones((3, 3)))
  np.savez(tmp_path / 'dark.npz', k=np.zeros((3, 3)))
  small = photos(tmp_path / 'small', 'a', size=(64, 64))
  photos(tmp_path / 'small', 'b', size=(20, 24))
  plain = helpers.tiny()
  run_folders.untrained(tmp_path / 'plain', plain)
  (tmp_path / 'empty').mkdir()
  kernels_of = functools.partial(kernel_scores.kernels, config, folder, crop=32)
  for fails, message in [
      (lambda: kernel_scores.blur_types(
          config, folder, photos=wrong, labelled=True, crop=32),
       "Unknown blur type of .*moton/a: 'moton'; known: .*'motion'"),
      (lambda: kernel_scores.blur_types(config, folder,
                                        photos=tmp_path / 'empty'),
       'no pictures there'),
      (lambda: kernels_of(photos=some, kernels=tmp_path / 'large.npz'),
       'none of 1 kernels fits into 5x5'),
      (lambda: kernels_of(photos=some, kernels=tmp_path / 'small.npz', limit=0),
       'limit must be at least 1'),
      (lambda: kernel_files.read_all(tmp_path / 'dark.npz'), 'k is no kernel'),
      (lambda: kernel_scores.middle(np.zeros((9, 8, 3), np.uint8), 9,
                                    where='x'),
       'x: 8x9 is below the crop of 9'),
      (lambda: no_reference.run(config, folder, photos=tmp_path / 'empty'),
       'no pictures there'),
      (lambda: no_reference.run(plain, tmp_path / 'plain', photos=small,
                                kernel_size=31),
       'b.png is smaller than kernels of 31x31: give a smaller kernel_size'),
      (lambda: gradient_distance.distance(jnp.zeros((1, 4, 4, 3)),
                                          jnp.zeros(3)),
       'Expected 256 quantiles'),
      (lambda: models.build(name='kernel_fourier', size=8), 'must be odd'),
      (lambda: models.build(name='kernel_fourier', rounds=0), 'rounds must be'),
  ]:
    with pytest.raises(errors.UserError, match=message) as error:
      fails()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name, change, message', [
    ('kernel_estimation', {}, 'kernels must be known: data.blur'),
    ('kernel_estimation', {'kernel': jnp.zeros((1, 7, 7))},
     'blur.size=7 must be nets'),
    ('blur_classification', {}, 'type of blur must be known: data.blur'),
])
def test_labels_must_be_known(name, change, message):
  method = methods.build(helpers.get_config(name).to_dict())
  batch = dict.fromkeys(('blur', 'sharp'), jnp.zeros((1, 32, 32, 3))) | change
  state = jax.eval_shape(method.init, jax.random.key(0), batch)
  with pytest.raises(errors.UserError, match=message):
    jax.eval_shape(method.step, state, batch, jax.random.key(0))


def test_who_tells_nothing_is_not_asked(run, tmp_path):
  config = helpers.tiny()
  method = methods.build(config)
  assert test_sets.estimates(method, None, config) == {}
