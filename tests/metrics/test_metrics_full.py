"""Metrics with a sharp picture, against float64 references."""

import jax
import jax.numpy as jnp
import metric_references as references
import numpy as np
import pytest
import skimage
from PIL import Image
from scipy import ndimage

from deblur_jax import errors, metrics
from deblur_jax.metrics import kohler, psnr, realblur, shift


def _ecc(index):
  def reference(restored, sharp):
    # The homography of the package, which other tests check.
    return references.after_homography(
        restored, sharp, _homography(restored, sharp))[index]
  return reference


REFERENCES = {
    'ms_ssim_luma': references.ms_ssim_luma,
    'ms_ssim_rgb': references.ms_ssim_rgb,
    'cw_ssim_pyssim': references.cw_ssim_pyssim,
    'psnr_luma_shaved': references.psnr_luma_shaved,
    'psnr_shift': references.psnr_shift,
    'ssim_shift': references.ssim_shift,
    'psnr_ecc': _ecc(0),
    'ssim_ecc': _ecc(1),
}
FNS = {name: jax.jit(metrics.METRICS[name].fn) for name in REFERENCES}
# Levels agree to 1e-6, decibels to 1e-4; the rest is float32.
CLOSE = {name: 1e-4 if name.startswith('psnr') else 2e-6 for name in REFERENCES}


def _float(picture):
  return jnp.asarray(picture[None] / np.float32(255), jnp.float32)


def _homography(restored, sharp):
  z, x = _float(restored)[0], _float(sharp)[0]
  z = z * ((x * z).sum() / (z * z).sum())
  gray = lambda image: image @ jnp.asarray([0.299, 0.587, 0.114])
  return np.asarray(HOMOGRAPHY(gray(x), gray(z)), np.float64)


HOMOGRAPHY = jax.jit(realblur.homography)


def _floats(pictures):
  return jnp.asarray(pictures / np.float32(255), jnp.float32)


def _cut(picture, name):
  h, w = metrics.METRICS[name].test_size
  return picture[100:100 + h, 130:130 + w]


def _blurred(name='astronaut'):
  """A photograph and its blur, moved by (1, 2) pixels; uint8, whole."""
  sharp = getattr(skimage.data, name)()
  return np.roll(ndimage.uniform_filter(sharp, (3, 5, 1)), (1, 2), (0, 1)), (
      sharp)


def _cuts(name):
  """Cuts of two photographs, blurred and sharp: uint8 [2, h, w, 3] each.

  Most tests take both, for fewer compilations.
  """
  pairs = [[_cut(z, name) for z in _blurred(picture)]
           for picture in ('astronaut', 'coffee')]
  return [np.stack(z) for z in zip(*pairs, strict=True)]


@pytest.mark.parametrize('name', REFERENCES)
def test_each_of_a_batch_agrees_with_the_reference(name):
  restored, sharp = _cuts(name)
  values = FNS[name](_floats(restored), _floats(sharp))
  assert values.shape == (2,) and values.dtype == jnp.float32
  for value, *pair in zip(values, restored, sharp, strict=True):
    assert abs(value - REFERENCES[name](*pair)) < CLOSE[name]


@pytest.mark.parametrize('name', REFERENCES)
def test_agrees_on_gopro(name, real_data):
  paths = sorted((real_data / 'gopro' / 'test').glob('*/blur/*.png'))[:2]
  cut = lambda path: _cut(
      np.asarray(Image.open(path).convert('RGB'))[240:, 500:], name)
  restored = np.stack([cut(path) for path in paths])
  sharp = np.stack([
      cut(path.parents[1] / 'sharp' / path.name) for path in paths])
  value = FNS[name](_floats(restored), _floats(sharp))[1]
  assert abs(value - REFERENCES[name](restored[1], sharp[1])) < CLOSE[name]


# pyssim's formula on SciPy 1.14's cwt and ricker; scikit-image on what OpenCV
# 5.0 aligned.
GOLDEN = {'cw_ssim_pyssim': (0.9434979, 2e-6), 'psnr_ecc': (26.89919, 2e-3),
          'ssim_ecc': (0.8786757, 2e-4)}


@pytest.mark.parametrize('name', GOLDEN)
def test_agrees_with_the_programs_of_others(name):
  want, close = GOLDEN[name]
  restored, sharp = map(_floats, _cuts('psnr_ecc'))
  assert abs(FNS[name](restored, sharp)[0] - want) < close


@pytest.mark.parametrize('name', ['ms_ssim_luma', 'ms_ssim_rgb',
                                  'cw_ssim_pyssim'])
def test_symmetric(name):
  a, b = map(_floats, _cuts(name))
  np.testing.assert_allclose(FNS[name](a, b), FNS[name](b, a), rtol=1e-6)


def test_cw_ssim_refuses_too_few_pixels():
  tiny = jnp.zeros((1, 10, 29, 3))
  with pytest.raises(errors.UserError, match='at least 300 pixels.*29x10'):
    metrics.METRICS['cw_ssim_pyssim'].fn(tiny, tiny)


@pytest.mark.parametrize('move', [(0, 0), (3, -2), (-5, 5)])
def test_whole_shifts_cost_nothing(move):
  sharp = _floats(_cuts('psnr_shift')[1])
  moved = jnp.roll(sharp, move, (1, 2))
  assert np.isinf(FNS['psnr_shift'](moved, sharp)).all()
  np.testing.assert_allclose(FNS['ssim_shift'](moved, sharp), 1, rtol=1e-6)


def test_a_quarter_of_a_pixel_is_found():
  sharp = _floats(_cuts('psnr_shift')[1])
  moved = 0.75 * sharp + 0.25 * jnp.roll(sharp, 1, axis=1)
  back = FNS['psnr_shift'](moved, sharp)
  assert (back > metrics.STANDARD['psnr_uint8'](moved, sharp)).all()
  # The other way round the very same interpolation is undone.
  assert (FNS['psnr_shift'](sharp, moved) > 50).all()


def test_max_shift():
  sharp = _floats(_cuts('psnr_shift')[1])
  far = jnp.roll(sharp, 8, 1)
  assert (FNS['psnr_shift'](far, sharp) < 40).all()
  further = jax.jit(lambda a, b: shift.psnr_shift(a, b, max_shift=8))
  assert np.isinf(further(far, sharp)).all()
  with pytest.raises(errors.UserError, match='border of 15, got 16'):
    shift.psnr_shift(far, far, max_shift=16)


def test_error_ratio():
  restored, sharp = (_cut(z, 'psnr_shift') for z in _blurred())
  oracle = ndimage.uniform_filter(sharp, (1, 3, 1))
  ratio = jax.jit(shift.error_ratio)
  value = ratio(_float(restored), _float(sharp), _float(oracle))[0]
  want = references.error_ratio(restored, sharp, oracle)
  assert abs(value / want - 1) < 1e-5
  assert ratio(_float(oracle), _float(sharp), _float(oracle))[0] == 1


def test_homography_is_where_correlation_is_greatest():
  restored, sharp = (_cut(z, 'psnr_ecc') for z in _blurred())
  found = _homography(restored, sharp)
  x, z = references.ecc_grays(restored, sharp)
  best = references.correlation(x, z, found)
  assert best > references.correlation(x, z, np.eye(3)) + 1e-3
  for at in [(0, 2), (1, 2), (0, 0), (1, 1), (0, 1), (2, 0), (2, 1)]:
    size = 0.05 if at[1] == 2 else 5e-4 if at[0] < 2 else 5e-6
    for change in (-size, size):
      other = found.copy()
      other[at] += change
      assert references.correlation(x, z, other) < best


MATRICES = (
    [[1, 0, 2.4], [0, 1, -1.7], [0, 0, 1]],
    [[1.01, -.02, 1.], [.015, .99, -2.], [2e-5, -3e-5, 1]])


def test_known_homographies_are_found_and_undone():
  whole = ndimage.gaussian_filter(skimage.data.astronaut(), (1, 1, 0))
  h, w = metrics.METRICS['psnr_ecc'].test_size
  sharp = whole[80:80 + h, 100:100 + w]
  ys, xs = np.mgrid[:h, :w]
  pictures = []
  for matrix in MATRICES:
    u, v, s = np.einsum('ij,jhw->ihw', np.linalg.inv(matrix),
                        np.stack([xs, ys, 1 + 0 * xs]))
    moved = np.stack([ndimage.map_coordinates(
        whole[..., c].astype(float), [80 + v / s, 100 + u / s], order=3)
                      for c in range(3)], axis=-1)
    moved = np.round(np.clip(moved, 0, 255)).astype(np.uint8)
    pictures.append(moved)
    found = _homography(moved, sharp)
    # At the very corners the mirrored border pulls a little, as in OpenCV.
    corners = np.array([[40, 120, 40, 120], [40, 40, 88, 88], [1, 1, 1, 1]])
    places = [m @ corners for m in (found, np.array(matrix))]
    apart = np.subtract(*(p[:2] / p[2] for p in places))
    assert np.abs(apart).max() < 0.05
  pair = _floats(np.stack(pictures)), _floats(np.stack([sharp, sharp]))
  before = metrics.STANDARD['psnr_uint8'](*pair)
  assert (FNS['psnr_ecc'](*pair) > before + 15).all()


def test_ecc_without_an_alignment_is_nan():
  sharp = _floats(_cuts('psnr_ecc')[1])
  for name in ('psnr_ecc', 'ssim_ecc'):
    assert np.isnan(FNS[name](jnp.full_like(sharp, 0.5), sharp)).all()
    assert np.isnan(FNS[name](1 - sharp, sharp)).all()


KOHLER = {name: jax.jit(getattr(kohler, name))
          for name in ('psnr_kohler', 'ms_ssim_kohler')}


def _kohler(name, restored, frames):
  """Of one path, by the program of test_table.py."""
  return KOHLER[name](*(jnp.stack([x, x]) for x in (restored, frames)))[0]


def _path(name, count=3):
  """A restored picture and the sharp frames along a path."""
  h, w = metrics.METRICS[name].test_size
  sharp = skimage.data.coffee()
  frames = np.stack([sharp[60 + 2 * t:60 + 2 * t + h, 90 - t:90 - t + w]
                     for t in range(count)])
  restored = ndimage.uniform_filter(frames[1], (1, 5, 1)) * 0.8
  return restored.astype(np.uint8), frames


@pytest.mark.parametrize('name', KOHLER)
def test_kohler_agrees_with_the_reference(name):
  restored, frames = _path(name)
  value = _kohler(name, _float(restored)[0], frames)
  want = getattr(references, name)(restored, frames)
  assert abs(value - want) < (1e-4 if 'psnr' in name else 2e-6)


def test_kohler_takes_floats_or_bytes():
  restored, frames = _path('psnr_kohler')
  same = [_kohler('psnr_kohler', _float(restored)[0], x)
          for x in (_float(frames)[0], frames)]
  np.testing.assert_allclose(*same, rtol=1e-6)


@pytest.mark.parametrize('name', KOHLER)
def test_kohler_forgives_brightness_and_place(name):
  restored, frames = _path(name)
  fn = lambda image, frames: _kohler(name, _float(image)[0], frames)
  best = fn(frames[2], frames)
  assert best > (60 if 'psnr' in name else 0.99999)
  # Of one frame only, in the same program.
  assert fn(restored, frames) >= fn(restored, frames[[0] * 3])
  moved = np.roll(frames[1], (3, -4), (0, 1))
  value = fn(moved, frames[[1] * 3])
  # All that is left is the scale, which is found before the shift.
  assert value > (35 if 'psnr' in name else 0.999)


def test_kohler_refuses_other_paths():
  image = jnp.zeros((2, 170, 180, 3))
  with pytest.raises(errors.UserError, match=r'2 paths.*got \(1, 3, 170'):
    kohler.psnr_kohler(image, jnp.zeros((1, 3, 170, 180, 3)))
  with pytest.raises(errors.UserError, match='at least 161x161'):
    kohler.ms_ssim_kohler(image[:, :100], image[None, :, :100])


@pytest.mark.parametrize('shave', [0, 3])
def test_shaved_psnr_of_other_borders(shave):
  random = np.random.default_rng(0)
  a, b = (random.integers(0, 256, (20, 17, 3)).astype(np.uint8)
          for _ in range(2))
  inside = (slice(shave, 20 - shave), slice(shave, 17 - shave))
  pad = lambda x: np.pad(x[inside], ((4, 4), (4, 4), (0, 0)))
  np.testing.assert_allclose(
      psnr.psnr_luma_shaved(_float(a), _float(b), shave=shave)[0],
      references.psnr_luma_shaved(pad(a), pad(b)), rtol=1e-5)
