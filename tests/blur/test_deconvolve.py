"""Classical deconvolution: it sharpens and does not ring."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import skimage.data
from PIL import Image

from deblur_jax import errors
from deblur_jax.blur import deconvolve, kernels, operators

SIZE = 9


@functools.cache
def scene():
  """(sharp, blur, kernel); light from outside is at the picture's border."""
  wide = skimage.data.astronaut()[20:116, 160:270][None] / np.float32(255)
  kernel = jax.jit(lambda: kernels.line(7.0, 0.5, size=SIZE))()
  blur = jax.jit(operators.uniform(kernel, border='valid').forward)(wide)
  half = SIZE // 2
  noise = 0.002 * np.random.default_rng(0).standard_normal(blur.shape)
  return (wide[:, half:-half, half:-half], blur + noise.astype(np.float32),
          kernel)


@functools.cache
def solver(name, **options):
  """Compiled once for all pictures and kernels of one size."""
  return jax.jit(deconvolve.with_kernel(name, **options))


@functools.cache
def restored(name, **options):
  _, blur, kernel = scene()
  return np.asarray(solver(name, **options)(blur, kernel))


def psnr(image, sharp):
  error = np.clip(np.float64(image), 0, 1) - sharp
  return -10 * np.log10((error ** 2).mean() + 1e-12)


@pytest.mark.parametrize('name', deconvolve.DECONVOLUTIONS)
def test_every_row_sharpens(name):
  sharp, blur, _ = scene()
  result = restored(name)
  assert result.shape == blur.shape and np.isfinite(result).all()
  inside = lambda x: np.asarray(x)[:, 2 * SIZE:-2 * SIZE, 2 * SIZE:-2 * SIZE]
  gain = psnr(inside(result), inside(sharp)) - psnr(inside(blur), inside(sharp))
  assert gain > 4


@pytest.mark.parametrize('name', ['richardson_lucy', 'hyper_laplacian'])
def test_the_border_is_as_good_as_the_middle(name):
  sharp, blur, _ = scene()
  error = np.abs(np.clip(restored(name), 0, 1) - sharp)
  before = np.abs(np.asarray(blur) - sharp)
  edge = np.ones(error.shape, bool)
  edge[:, SIZE:-SIZE, SIZE:-SIZE] = False
  # Each part relative to the blurry one: no ringing at the border.
  assert error[edge].mean() < 0.9 * before[edge].mean()
  assert error[~edge].mean() < 0.8 * before[~edge].mean()


@pytest.mark.parametrize('name', deconvolve.DECONVOLUTIONS)
def test_the_identity_changes_little(name):
  _, blur, _ = scene()
  result = solver(name)(blur, kernels.delta(size=SIZE))
  assert psnr(result, np.asarray(blur)) > 38


@pytest.mark.parametrize('name', deconvolve.DECONVOLUTIONS)
def test_a_kernel_for_each_picture(name):
  _, blur, kernel = scene()
  other = jax.jit(lambda: kernels.disk(2.0, size=SIZE))()
  blurs = np.concatenate([blur, blur[:, ::-1]])
  both = solver(name)(blurs, np.stack([kernel, other]))
  np.testing.assert_allclose(both[:1], restored(name), atol=2e-4)
  alone = solver(name)(blurs[1:], other)
  np.testing.assert_allclose(both[1:], alone, atol=2e-4)


def test_wiener_is_the_formula():
  """For a periodic picture, which has no border."""
  kernel = np.asarray(jax.jit(
      lambda: kernels.gaussian(1.5, 1.0, 0.3, size=SIZE))())
  y, x = np.mgrid[:64, :64]
  sharp = 0.5 + 0.4 * np.cos(2 * np.pi * x / 16) * np.cos(2 * np.pi * y / 32)
  blur = jax.jit(operators.uniform(kernel, border='circular').forward)(
      np.float32(sharp[None, :, :, None]))
  ours = solver('wiener', noise=1e-4)(blur, kernel)
  transfer = np.fft.fft2(np.pad(kernel, ((0, 55), (0, 55))))
  ideal = np.fft.ifft2(
      np.fft.fft2(sharp) * np.abs(transfer) ** 2
      / (np.abs(transfer) ** 2 + 1e-4)).real
  np.testing.assert_allclose(
      np.asarray(ours)[0, 20:44, 20:44, 0], ideal[20:44, 20:44], atol=0.02)


def test_richardson_lucy_is_the_formula():
  """Three steps in float64 by scipy; the scene is larger than the picture."""
  _, blur, kernel = scene()
  y, k = np.float64(np.maximum(blur[0, :, :, 1], 1e-6)), np.float64(kernel)
  forward = lambda x: scipy.signal.convolve2d(x, k, mode='valid')
  adjoint = lambda y: scipy.signal.convolve2d(y, k[::-1, ::-1], mode='full')
  x = np.pad(y, SIZE // 2, mode='edge')
  for _ in range(3):
    covered = np.maximum(adjoint(np.ones_like(y)), 1e-6)
    x = x * adjoint(y / forward(x)) / covered
  half = SIZE // 2
  ours = solver('richardson_lucy', steps=3)(blur, kernel)
  np.testing.assert_allclose(
      ours[0, :, :, 1], x[half:-half, half:-half], atol=2e-5)


@pytest.mark.parametrize('alpha', [0.5, 2 / 3, 0.8, 1.0])
def test_shrinking_finds_the_minimum(alpha):
  weight = 30.0
  values = np.linspace(-0.6, 0.6, 41)
  candidates = np.linspace(-0.7, 0.7, 28001)
  ours = np.asarray(jax.jit(functools.partial(
      deconvolve.proximal, alpha=alpha, weight=weight))(values))
  cost = lambda w, v: np.abs(w) ** alpha + weight / 2 * (w - v) ** 2
  for value, w in zip(values, ours, strict=True):
    assert cost(w, value) <= cost(candidates, value).min() + 1e-5


def test_total_variation_reduces_noise():
  rough = lambda x: np.abs(np.diff(x, axis=1)).mean()
  plain = restored('richardson_lucy', steps=100)
  smooth = restored('richardson_lucy', steps=100, tv=0.005)
  assert rough(smooth) < 0.9 * rough(plain)


@pytest.mark.parametrize('call, message', [
    (lambda: deconvolve.with_kernel('weiner'), "mean 'wiener'"),
    (lambda: deconvolve.with_kernel('wiener', nois=1),
     'Unknown key wiener.nois'),
    (lambda: deconvolve.wiener(jnp.ones((1, 8, 8, 3)), jnp.ones((9, 9)) / 81),
     '9x9 is larger than the picture of 8x8'),
    (lambda: deconvolve.hyper_laplacian(*scene()[1:], alpha=1.5), 'alpha must'),
    (lambda: deconvolve.wiener(jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3))),
     'sums to 9 instead of 1'),
    (lambda: deconvolve.wiener(jnp.ones((3, 8, 8, 3)), jnp.ones((2, 3, 3)) / 9),
     '2 kernels do not fit 3 pictures'),
    (lambda: deconvolve.wiener(*scene()[1:], noise=0.0), 'noise must be above'),
    (lambda: deconvolve.richardson_lucy(*scene()[1:], tv=-1), 'tv must be 0'),
    (lambda: deconvolve.richardson_lucy(*scene()[1:], steps=0), 'steps must'),
])
def test_mistakes_are_named(call, message):
  with pytest.raises(errors.UserError, match=message):
    call()


@functools.cache
def levin(root):
  """[(blur, kernel, sharp, score)] of 4 of 16; kernels rotated for convolution.

  The files mix two orientations: of each kernel both are tried. Each solver
  takes seconds a picture: every other kernel, on one of the two scenes.
  """
  read = lambda name: np.asarray(
      Image.open(root / name).convert('L'), np.float32) / 255
  pairs = []
  for k, i in ((1, 1), (3, 2), (5, 1), (7, 2)):
    blur, sharp = read(f'im{i}_kernel{k}_img.png'), read(f'gt/im{i}.png')
    kernel = read(f'gt/kernel{k}.png')
    # All have one size, for one program.
    room = [((27 - side) // 2,) * 2 for side in kernel.shape]
    kernel = np.pad(kernel / kernel.sum(), room)
    score, kernel = max(
        ((aligned_psnr(blurred(sharp, each), blur), each)
         for each in (kernel, kernel[::-1, ::-1])), key=lambda pair: pair[0])
    pairs.append((blur, kernel, sharp, score))
  return pairs


def blurred(sharp, kernel):
  return np.asarray(blur_it(
      jnp.asarray(sharp)[None, :, :, None], jnp.asarray(kernel)))[0, :, :, 0]


blur_it = jax.jit(lambda sharp, kernel: operators.uniform(
    kernel, border='symmetric').forward(sharp))


def aligned_psnr(image, sharp, crop=15, reach=6):
  """PSNR at the best shift, to a quarter of a pixel: kernels are off centre."""
  h, w = sharp.shape
  image = np.clip(image, 0, 1)
  error_at = lambda dy, dx: (
      image[crop + dy:h - crop + dy, crop + dx:w - crop + dx]
      - sharp[crop:-crop, crop:-crop]).ravel()
  whole = range(-reach, reach + 1)
  _, dy, dx = min(((error := error_at(dy, dx)) @ error, dy, dx)
                  for dy in whole for dx in whole)
  # Between pixels the error is a mean of those at the nine around.
  around = np.stack([error_at(dy + y, dx + x)
                     for y in (-1, 0, 1) for x in (-1, 0, 1)])
  squares = np.float64(around @ around.T) / around.shape[1]
  parts = np.maximum(0, 1 - np.abs(
      np.arange(-3, 4)[:, None] / 4 - np.arange(-1, 2)))
  shares = np.einsum('ay,bx->abyx', parts, parts).reshape(49, 9)
  return -10 * np.log10(np.einsum('si,ij,sj->s', shares, squares, shares).min())


@pytest.mark.parametrize('name, options, least', [
    ('wiener', {}, 33.3), ('richardson_lucy', dict(steps=100), 34.2),
    ('hyper_laplacian', {}, 34.7)])
def test_levin(name, options, least, real_data):
  """Blind SelfDeblur has 33.25 dB there, the papers' oracle 35.29."""
  solve = jax.jit(deconvolve.with_kernel(name, **options))
  scores = []
  for blur, kernel, sharp, given in levin(real_data / 'levin'):
    assert given > 40         # blurring the sharp picture gives the blurred
    result = solve(jnp.asarray(blur)[None, :, :, None], jnp.asarray(kernel))
    scores.append(aligned_psnr(np.asarray(result)[0, :, :, 0], sharp))
  assert np.mean(scores) > least, scores
