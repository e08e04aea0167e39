"""Metrics without a sharp picture, and the reblur residual."""

import functools

import jax
import jax.numpy as jnp
import metric_references as references
import numpy as np
import pytest
import skimage
from PIL import Image
from scipy import ndimage

from deblur_jax import errors, metrics
from deblur_jax.metrics import niqe, reblur

PHOTOS = ('astronaut', 'coffee', 'rocket')
# Relative: the variance of a Laplacian is in squared levels.
REFERENCES = {'laplacian_variance': references.laplacian_variance,
              'blur_effect': references.blur_effect}
FNS = {name: jax.jit(metrics.METRICS[name].fn) for name in REFERENCES}


def _float(picture):
  return picture[None] / np.float32(255)


def _floats(pictures):
  return np.concatenate([_float(picture) for picture in pictures])


def _photo(name):
  """Of one size, for few compilations; 16 blocks of 96 x 96."""
  return getattr(skimage.data, name)()[:384, :384]


@functools.cache
def _model():
  return niqe.fit(map(_photo, PHOTOS), threshold=0)


@functools.cache
def _niqe():
  model = _model()
  return jax.jit(lambda image: niqe.niqe(image, model))


@pytest.mark.parametrize('picture', PHOTOS)
@pytest.mark.parametrize('name', FNS)
def test_agrees_with_the_reference(name, picture):
  for cut in (np.s_[20:123, 40:181], np.s_[:11, :12]):
    image = _photo(picture)[cut]
    value = FNS[name](_float(image))
    assert value.shape == (1,) and value.dtype == jnp.float32
    np.testing.assert_allclose(value[0], REFERENCES[name](image), rtol=1e-6)


@pytest.mark.parametrize('name', FNS)
def test_agrees_on_gopro(name, real_data):
  path = sorted((real_data / 'gopro' / 'test').glob('*/blur/*.png'))[0]
  image = np.asarray(Image.open(path).convert('RGB'))[200:328, 300:460]
  np.testing.assert_allclose(
      FNS[name](_float(image))[0], REFERENCES[name](image), rtol=1e-6)


# OpenCV 5.0's Laplacian of Pillow's gray (of its own gray, rounded another way
# here and there, 993.713); scikit-image's measure.
@pytest.mark.parametrize('name, want', [
    ('laplacian_variance', 993.650445), ('blur_effect', 0.4176115)])
def test_golden(name, want):
  value = FNS[name](_float(_photo('astronaut')[100:228, 130:290]))[0]
  np.testing.assert_allclose(value, want, rtol=1e-6)


def test_niqe_sees_a_nan():
  images = _floats([_photo('coffee')[:200, :300]] * 3)
  images[0, 30, 30] = np.nan
  values = _niqe()(images)
  assert list(np.isnan(values)) == [True, False, False]


@pytest.mark.parametrize('name, sign', [
    ('laplacian_variance', -1), ('blur_effect', 1)])
def test_blur_is_less_sharp_and_noise_is_sharper(name, sign):
  """The second half is why these metrics rank nothing."""
  sharp = _photo('coffee')[:128, :160]
  blur = ndimage.gaussian_filter(sharp, (2, 2, 0))
  noise = np.random.default_rng(0).normal(0, 25, sharp.shape)
  noisy = np.clip(sharp + noise, 0, 255).astype(np.uint8)
  values = [sign * FNS[name](_float(x))[0] for x in (noisy, sharp, blur)]
  assert values[0] < values[1] < values[2]


FEATURES = jax.jit(niqe._features)


def test_niqe_features_agree_with_the_reference():
  image = _photo('coffee')[5:205, 3:303]
  features, sharpness = FEATURES(_float(image))
  want, want_sharpness = references.niqe_features(image)
  assert features.shape == (1, 6, 36)
  # A shape is one of a grid of 0.001: now and then the next one is taken.
  np.testing.assert_allclose(features[0], want, atol=2.1e-3)
  assert np.abs(features[0] - want).mean() < 1e-4
  np.testing.assert_allclose(sharpness[0], want_sharpness, rtol=1e-5)


def test_niqe_of_each_of_a_batch_agrees_with_the_reference():
  model = _model()
  images = [_photo(name)[20:220, 40:340]
            for name in ('chelsea', 'coffee', 'chelsea')]
  want = [references.niqe(image, model.mean, model.covariance)
          for image in images]
  np.testing.assert_allclose(
      _niqe()(_floats(images)), want, atol=2e-3, rtol=0)


def test_niqe_of_published_parameters(real_data):
  model = niqe.load(real_data / 'weights' / 'niqe_pris_params.npz')
  path = sorted((real_data / 'gopro' / 'test').glob('*/blur/*.png'))[1]
  blur, sharp = (
      np.asarray(Image.open(p).convert('RGB'))[200:500, 300:700]
      for p in (path, path.parents[1] / 'sharp' / path.name))
  fn = jax.jit(lambda image: niqe.niqe(image, model))
  values = [fn(_float(image))[0] for image in (blur, sharp)]
  want = [references.niqe(image, model.mean, model.covariance)
          for image in (blur, sharp)]
  np.testing.assert_allclose(values, want, atol=2e-3)
  assert values[1] < values[0]


def test_niqe_knows_its_own_photos():
  sharp = _photo('coffee')[:200, :300]
  blur = ndimage.gaussian_filter(sharp, (3, 3, 0))
  of_sharp, of_blur, _ = _niqe()(_floats([sharp, blur, blur]))
  assert of_sharp < of_blur


def test_niqe_leaves_flat_blocks_out():
  photo = _photo('coffee')[:200, :204]
  flat = np.full((200, 96, 3), 255, np.uint8)
  beside = np.concatenate([photo[:, :192], flat, photo[:, 192:]], axis=1)
  features, _ = FEATURES(_float(beside))
  assert list(np.isfinite(features[0]).all(axis=1)) == [True, True, False] * 2
  flat = np.full_like(beside, 255)
  values = _niqe()(_floats([flat, beside, beside]))
  assert list(np.isnan(values)) == [True, False, False]


def test_niqe_fit_agrees_with_the_reference():
  photos = [_photo(name) for name in PHOTOS]
  model = niqe.fit(photos, threshold=0.2)
  rows = []
  for photo in photos:
    features, sharpness = references.niqe_features(photo)
    rows.append(features[sharpness > 0.2 * sharpness.max()])
  rows = np.concatenate(rows)
  np.testing.assert_allclose(model.mean, rows.mean(axis=0), atol=1e-4)
  np.testing.assert_allclose(
      model.covariance, np.cov(rows, rowvar=False), atol=1e-3)
  assert len(rows) < len(PHOTOS) * 16     # some blocks were not sharp enough


def test_niqe_save_and_load(tmp_path):
  path = tmp_path / 'own.npz'
  niqe.save(path, _model())
  loaded = niqe.load(path)
  np.testing.assert_array_equal(loaded.mean, _model().mean)
  np.testing.assert_array_equal(loaded.covariance, _model().covariance)


def test_niqe_mistakes(tmp_path):
  with pytest.raises(
      errors.UserError, match='No NIQE parameters at .*none.npz'):
    niqe.load(tmp_path / 'none.npz')
  (tmp_path / 'text.npz').write_text('no')
  with pytest.raises(errors.UserError, match='not an .npz file with mu_pris'):
    niqe.load(tmp_path / 'text.npz')
  np.savez(tmp_path / 'other.npz', mu_pris_param=np.zeros(18))
  with pytest.raises(errors.UserError, match='lacks NIQE parameters.*36x36'):
    niqe.load(tmp_path / 'other.npz')
  np.savez(tmp_path / 'singular.npz', mu_pris_param=np.zeros(36),
           cov_pris_param=np.zeros((36, 36)))
  with pytest.raises(errors.UserError, match='singular.npz is not positive'):
    niqe.load(tmp_path / 'singular.npz')
  with pytest.raises(errors.UserError, match='more than 36 blocks.*got 16'):
    niqe.fit([_photo('coffee')], threshold=0)
  with pytest.raises(errors.UserError, match='got 0: give more'):
    niqe.fit([])
  with pytest.raises(errors.UserError, match='at least 96x96 pixels, got 95x'):
    niqe.niqe(jnp.zeros((1, 200, 95, 3)), _model())


def _kernel(shape=(7, 9), count=()):
  kernel = np.random.default_rng(3).random((*count, *shape)).astype(np.float32)
  return kernel / kernel.sum(axis=(-2, -1), keepdims=True)


RESIDUAL = jax.jit(reblur.reblur_residual)


def test_reblur_residual_agrees_with_the_reference():
  sharp, blur = (_float(z) for z in (
      _photo('coffee')[:60, :70],
      ndimage.uniform_filter(_photo('coffee')[:60, :70], (1, 5, 1))))
  kernels = _kernel(count=(2,))
  values = RESIDUAL(np.concatenate([sharp, blur]),
                    np.concatenate([blur, sharp]), kernels)
  want = [references.reblur_residual(np.float64(a[0]), np.float64(b[0]), k)
          for a, b, k in ((sharp, blur, kernels[0]), (blur, sharp, kernels[1]))]
  np.testing.assert_allclose(values, want, atol=1e-7)
  np.testing.assert_allclose(
      RESIDUAL(sharp, blur, kernels[0])[0], values[0], rtol=1e-6)


def test_reblur_residual_is_nought_for_the_truth_only():
  sharp = np.random.default_rng(0).random((1, 40, 50, 3)).astype(np.float32)
  kernel = _kernel()
  blur = ndimage.convolve(sharp, kernel[None, :, :, None], mode='reflect')
  assert RESIDUAL(sharp, blur, kernel)[0] < 1e-6
  assert RESIDUAL(sharp, blur, kernel[::-1, ::-1])[0] > 1e-2   # convolution
  assert RESIDUAL(blur, blur, kernel)[0] > 1e-2
  delta = np.zeros((3, 3), np.float32)
  delta[1, 1] = 1
  assert RESIDUAL(blur, blur, delta)[0] < 1e-6    # its blind spot


def test_reblur_residual_mistakes():
  image = jnp.zeros((2, 30, 40, 3))
  with pytest.raises(errors.UserError, match=r'30, 40, 3\) and \(2, 30, 30'):
    reblur.reblur_residual(image, image[:, :, :30], _kernel())
  for kernel in (_kernel((4, 5)), _kernel((5, 5), count=(3,))):
    with pytest.raises(errors.UserError, match='of odd sides, got'):
      reblur.reblur_residual(image, image, jnp.asarray(kernel))
  with pytest.raises(errors.UserError, match='31x5 is larger.* of 30x40'):
    reblur.reblur_residual(image, image, _kernel((31, 5)))
