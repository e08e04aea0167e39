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
from deblur_jax.metrics import ecc, kohler, shift

NEW = [name for name in metrics.FULL_REFERENCE if name not in metrics.METRICS]
FNS = {name: jax.jit(metrics.FULL_REFERENCE[name]) for name in NEW}
# Levels agree to 1e-6, decibels to 1e-4; what is left is float32.
CLOSE = {name: 1e-4 if name.startswith('psnr') else 2e-6 for name in NEW}
# Quick for all references; MS-SSIM needs 161 pixels, ECC enough to hold on to.
SIZES = {'psnr_shift': (56, 60), 'ssim_shift': (56, 60),
         'psnr_ecc': (128, 160), 'ssim_ecc': (128, 160),
         'ms_ssim_luma': (163, 170), 'ms_ssim_rgb': (163, 170)}
DEFAULT_SIZE = (72, 81)
SMALLEST = {'ms_ssim_luma': 161, 'ms_ssim_rgb': 161, 'psnr_shift': 41,
            'ssim_shift': 41, 'psnr_ecc': 16, 'ssim_ecc': 16,
            'psnr_luma_shaved': 9}


def _ecc(index):
  def reference(restored, sharp):
    # The homography of the package: others judge it below.
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


def _float(picture):
  return jnp.asarray(picture[None] / np.float32(255), jnp.float32)


def _homography(restored, sharp):
  z, x = _float(restored)[0], _float(sharp)[0]
  z = z * ((x * z).sum() / (z * z).sum())
  gray = lambda image: image @ jnp.asarray([0.299, 0.587, 0.114])
  return np.asarray(HOMOGRAPHY(gray(x), gray(z)), np.float64)


HOMOGRAPHY = jax.jit(ecc.homography)


def _floats(pictures):
  return jnp.asarray(pictures / np.float32(255), jnp.float32)


def _cut(picture, name):
  h, w = SIZES.get(name, DEFAULT_SIZE)
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


def test_every_metric_has_a_reference():
  assert set(REFERENCES) == set(NEW)


@pytest.mark.parametrize('name', NEW)
def test_each_of_a_batch_agrees_with_the_reference(name):
  restored, sharp = _cuts(name)
  values = FNS[name](_floats(restored), _floats(sharp))
  assert values.shape == (2,) and values.dtype == jnp.float32
  for value, *pair in zip(values, restored, sharp, strict=True):
    assert abs(value - REFERENCES[name](*pair)) < CLOSE[name]


@pytest.mark.parametrize('name', NEW)
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


@pytest.mark.parametrize('name', NEW)
def test_equal_pictures(name):
  sharp = _floats(_cuts(name)[1])
  values = FNS[name](sharp, sharp)
  if name.startswith('psnr'):
    assert (values > 90).all()   # ECC's float32 warp is not quite the identity
  else:
    np.testing.assert_allclose(values, 1, atol=1e-5, rtol=0)


@pytest.mark.parametrize('name', ['ms_ssim_luma', 'ms_ssim_rgb',
                                  'cw_ssim_pyssim'])
def test_symmetric(name):
  a, b = map(_floats, _cuts(name))
  np.testing.assert_allclose(FNS[name](a, b), FNS[name](b, a), rtol=1e-6)


@pytest.mark.parametrize('name', NEW)
def test_a_nan_is_seen(name):
  restored, sharp = map(_floats, _cuts(name))
  values = FNS[name](restored.at[0, 25, 25, 0].set(jnp.nan), sharp)
  assert list(np.isnan(values)) == [True, False]


@pytest.mark.parametrize('name', NEW)
def test_refuses_what_it_cannot_compare(name):
  fn = metrics.FULL_REFERENCE[name]
  a = jnp.zeros((1, 48, 48, 3))
  with pytest.raises(errors.UserError, match=r'\(1, 48, 48, 3\).*48, 40, 3'):
    fn(a, a[:, :, :40])
  with pytest.raises(errors.UserError, match=r'RGB images.*\(1, 48, 48, 1\)'):
    fn(a[..., :1], a[..., :1])


@pytest.mark.parametrize('name', SMALLEST)
def test_refuses_small_images(name):
  side = SMALLEST[name]
  tiny = jnp.zeros((1, side - 1, 200, 3))
  with pytest.raises(errors.UserError,
                     match=f'at least {side}x{side}.*got 200x{side - 1}'):
    metrics.FULL_REFERENCE[name](tiny, tiny)


def test_cw_ssim_refuses_too_few_pixels():
  tiny = jnp.zeros((1, 10, 29, 3))
  with pytest.raises(errors.UserError, match='at least 300 pixels.*29x10'):
    metrics.FULL_REFERENCE['cw_ssim_pyssim'](tiny, tiny)


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
  assert (back > metrics.METRICS['psnr_uint8'](moved, sharp)).all()
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
  h, w = SIZES['psnr_ecc']
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
  before = metrics.METRICS['psnr_uint8'](*pair)
  assert (FNS['psnr_ecc'](*pair) > before + 15).all()


def test_ecc_without_an_alignment_is_nan():
  sharp = _floats(_cuts('psnr_ecc')[1])
  for name in ('psnr_ecc', 'ssim_ecc'):
    assert np.isnan(FNS[name](jnp.full_like(sharp, 0.5), sharp)).all()
    assert np.isnan(FNS[name](1 - sharp, sharp)).all()


KOHLER = {'psnr_kohler': (96, 131), 'ms_ssim_kohler': (163, 170)}
KOHLER_FNS = {name: jax.jit(getattr(kohler, name)) for name in KOHLER}


def _path(name, count=3):
  """A restored picture and the sharp frames along a path."""
  h, w = KOHLER[name]
  sharp = skimage.data.coffee()
  frames = np.stack([sharp[60 + 2 * t:60 + 2 * t + h, 90 - t:90 - t + w]
                     for t in range(count)])
  restored = ndimage.uniform_filter(frames[1], (1, 5, 1)) * 0.8
  return restored.astype(np.uint8), frames


@pytest.mark.parametrize('name', KOHLER)
def test_kohler_agrees_with_the_reference(name):
  restored, frames = _path(name)
  value = KOHLER_FNS[name](_float(restored), jnp.asarray(frames[None]))
  want = getattr(references, name)(restored, frames)
  assert value.shape == (1,)
  assert abs(value[0] - want) < (1e-4 if 'psnr' in name else 2e-6)


def test_kohler_takes_floats_or_bytes():
  restored, frames = _path('psnr_kohler')
  same = [KOHLER_FNS['psnr_kohler'](_float(restored), x)
          for x in (_float(frames), jnp.asarray(frames[None]))]
  np.testing.assert_allclose(*same, rtol=1e-6)


@pytest.mark.parametrize('name', KOHLER)
def test_kohler_forgives_brightness_and_place(name):
  restored, frames = _path(name)
  fn = KOHLER_FNS[name]
  best = fn(_float(frames[2]), jnp.asarray(frames[None]))[0]
  assert best > (60 if 'psnr' in name else 0.99999)
  # Of one frame only, in the same program.
  one = fn(_float(restored), jnp.asarray(frames[None, [0] * 3]))[0]
  assert fn(_float(restored), jnp.asarray(frames[None]))[0] >= one
  moved = np.roll(frames[1], (3, -4), (0, 1))
  value = fn(_float(moved), jnp.asarray(frames[None, [1] * 3]))[0]
  # All that is left is the scale, which is found before the shift.
  assert value > (35 if 'psnr' in name else 0.999)


def test_kohler_refuses_other_paths():
  image = jnp.zeros((2, 170, 180, 3))
  with pytest.raises(errors.UserError, match=r'2 paths.*got \(1, 3, 170'):
    kohler.psnr_kohler(image, jnp.zeros((1, 3, 170, 180, 3)))
  with pytest.raises(errors.UserError, match='at least 161x161'):
    kohler.ms_ssim_kohler(image[:, :100], image[None, :, :100])
