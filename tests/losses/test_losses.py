"""Losses: zero at equality, known values, finite gradients, clear errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from skimage import metrics as skimage_metrics

from deblur_jax import errors, losses


@pytest.fixture
def images():
  random = np.random.default_rng(0)
  return [jnp.asarray(random.random((2, 8, 6, 3)), jnp.float32)
          for _ in range(2)]


AT_EQUALITY = {'charbonnier': 1e-3, 'edge': 1e-3, 'psnr_loss': -80.0}
# Of a constant difference of 0.1: |d|, d^2, sqrt(d^2 + 1e-6), 20 log10 d; the
# spectrum has 0.1 * h * w at frequency 0, whose mean over h * w and {Re, Im}
# is 0.05.
OF_A_TENTH = {'l1': 0.1, 'mse': 0.01, 'charbonnier': 0.10000500,
              'psnr_loss': -20.0, 'fft_l1': 0.05, 'huber': 0.05 * (0.1 - 0.025)}


def test_golden_values_are_of_losses_that_are_there():
  assert OF_A_TENTH.keys() <= losses.PIXEL.keys()


@pytest.mark.parametrize('name', losses.PIXEL)
def test_lowest_at_equality(name, images):
  same = losses.PIXEL[name](images[0], images[0])
  np.testing.assert_allclose(same, AT_EQUALITY.get(name, 0.0), rtol=1e-5)
  assert losses.PIXEL[name](*images) > same


@pytest.mark.parametrize('name', OF_A_TENTH)
def test_value_of_a_constant_difference(name, images):
  value = losses.PIXEL[name](images[0] + 0.1, images[0])
  np.testing.assert_allclose(value, OF_A_TENTH[name], rtol=1e-4)


@pytest.mark.parametrize('name', losses.PIXEL)
def test_gradient_is_finite_even_at_equality(name, images):
  gradient = jax.jit(jax.grad(losses.PIXEL[name]))
  for other in images:
    assert np.isfinite(gradient(images[0], other)).all()


@pytest.mark.parametrize('name', losses.PIXEL)
def test_shapes_must_agree(name, images):
  with pytest.raises(ValueError, match=r'\(2, 8, 6, 3\) and \(1, 8, 6, 3\)'):
    losses.PIXEL[name](images[0], images[1][:1])


@pytest.mark.parametrize('name', losses.PIXEL)
def test_float32_for_half_precision(name, images):
  half = [image.astype(jnp.bfloat16) for image in images]
  assert losses.PIXEL[name](*half).dtype == jnp.float32


def test_ssim_is_that_of_pictures_within_black(images):
  x, y = (np.pad(image, ((0, 0), (5, 5), (5, 5), (0, 0))) for image in images)
  # scikit-image means over what lies 5 pixels off the border: the pictures.
  expected = [skimage_metrics.structural_similarity(
      a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
      channel_axis=-1, data_range=1.0) for a, b in zip(x, y, strict=True)]
  np.testing.assert_allclose(
      losses.ssim(*images), 1 - np.mean(expected), atol=1e-6)


def test_total_variation():
  ramp = np.broadcast_to(
      np.arange(5, dtype=np.float32)[:, None, None], (1, 5, 4, 3))
  np.testing.assert_allclose(jax.jit(losses.tv)(ramp), 1, rtol=1e-5)


def test_psnr_is_the_mean_over_images(images):
  values = [losses.psnr(a[None], b[None])
            for a, b in zip(*images, strict=True)]
  np.testing.assert_allclose(losses.psnr(*images), np.mean(values), rtol=1e-6)


def test_regularizers_are_terms_of_the_content_loss(images):
  # Larger than the windows of the dark channel.
  images = [np.tile(image, (1, 5, 6, 1)) for image in images]
  for name, regularizer in losses.REGULARIZERS.items():
    value, pixels, prior = jax.jit(lambda a, b, name=name, term=regularizer: (
        losses.content(f'l1 + 0.5*{name}')([a], [b]), losses.l1(a, b),
        term(a)))(*images)
    np.testing.assert_allclose(value, pixels + 0.5 * prior, rtol=1e-6)


def test_content_is_equation_4(images):
  restored = [images[0], images[0][:, ::2, ::2], images[0][:, ::4, ::4]]
  sharp = [images[1], images[1][:, ::2, ::2], images[1][:, ::4, ::4]]
  expected = sum(np.mean((np.asarray(a) - np.asarray(b))**2)
                 for a, b in zip(restored, sharp, strict=True)) / (2 * 3)
  value = losses.content('mse', over_scales='half_mean')(restored, sharp)
  np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_content_adds_weighted_terms(images):
  restored, sharp = [images[0]], [images[1]]
  value = losses.content('2*l1 + 0.1 * fft_l1')(restored, sharp)
  expected = 2 * losses.l1(*images) + 0.1 * losses.fft_l1(*images)
  np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_edge_is_a_level_of_the_laplacian_pyramid(images):
  """With SciPy: what blurring every second pixel twice does not give back."""
  def blur(x):
    for axis in (1, 2):
      x = ndimage.correlate1d(
          x, (0.05, 0.25, 0.4, 0.25, 0.05), axis=axis, mode='nearest')
    return x

  x = np.asarray(images[0] - images[1], np.float64)
  coarse = 4 * blur(x)
  coarse[:, 1::2] = coarse[:, :, 1::2] = 0
  np.testing.assert_allclose(
      losses.edge(*images), np.sqrt((x - blur(coarse))**2 + 1e-6).mean(),
      rtol=1e-5)


@pytest.mark.parametrize(('text', 'terms'), [
    ('l1', [('l1', 1, {})]),
    (' 2e+3*l1+ 1e-4 * mse ', [('l1', 2000, {}), ('mse', 1e-4, {})]),
    ('-1*tv', [('tv', -1, {})]),
    ('2*0.25*l1 +\n mse', [('l1', 0.5, {}), ('mse', 1, {})]),
    ('0.5*huber(threshold=0.1) + dark_channel(window=7)', [
        ('huber', 0.5, {'threshold': 0.1}),
        ('dark_channel', 1, {'window': 7})]),
])
def test_terms(text, terms):
  assert losses.parse(text) == terms


@pytest.mark.parametrize('text', [
    '', 'l1 +', 'x*l1', 'l1*2', 'l1 - mse', 'huber(0.1)', 'huber(**{})',
    'tv.x', "'a'*l1", '[1]*l1', 'huber(threshold=open)', 'l1\nmse',
    'True*l1', '9' * 400 + '*l1', 'tv(a=1, a=2)',
    '+'.join(['l1'] * 5000)])
def test_a_text_that_is_no_sum_of_losses(text):
  with pytest.raises(errors.UserError, match='is not of the form l1'):
    losses.parse(text)


def test_options_of_a_loss(images):
  value = losses.content('2*huber(threshold=0.2) + dark_channel(window=3)')(
      images[:1], images[1:])
  np.testing.assert_allclose(
      value, 2 * losses.PIXEL['huber'](*images, threshold=0.2)
      + losses.dark_channel(images[0], window=3), rtol=1e-6)
  with pytest.raises(errors.UserError, match="huber.treshold.*'threshold'"):
    losses.content('huber(treshold=1)')
  with pytest.raises(errors.UserError, match="loss huber.threshold"):
    losses.content("huber(threshold='a')")
  with pytest.raises(errors.UserError, match="'perceptual' takes no options"):
    losses.content(
        'perceptual(a=1)', frozen={'perceptual': lambda *_: 0.0})


def test_content_explains_mistakes(images):
  with pytest.raises(
      errors.UserError, match="Unknown loss 'l2'; known: .* l1,"):
    losses.content('l2')
  with pytest.raises(errors.UserError, match="'x\\*l1' is not of the form"):
    losses.content('x*l1')
  with pytest.raises(errors.UserError, match='half_mean, sum'):
    losses.content('l1', over_scales='mean')
  with pytest.raises(ValueError, match='as many scales, got 1 and 2'):
    losses.content('l1')(images[:1], images)


def test_priors_of_one_image():
  random = np.random.default_rng(0)
  image = random.random((2, 9, 12, 3)).astype(np.float32)
  down, right = np.diff(image, axis=1), np.diff(image, axis=2)
  expected = np.sqrt(down[:, :, :-1]**2 + right[:, :-1]**2).mean()
  tv = jax.jit(losses.tv)
  dark = jax.jit(lambda x: losses.dark_channel(x, window=5))
  np.testing.assert_allclose(tv(image), expected, rtol=1e-3)
  windows = np.lib.stride_tricks.sliding_window_view(
      image.min(-1), (5, 5), axis=(1, 2))
  np.testing.assert_allclose(
      dark(image), windows.min((-2, -1)).mean(), rtol=1e-6)
  for prior in (tv, dark):
    assert np.isfinite(
        jax.jit(jax.grad(prior))(jnp.ones((1, 9, 9, 3)))).all()
  with pytest.raises(errors.UserError, match='windows of 1 to 9 pixels .* 12'):
    losses.dark_channel(image, window=12)
