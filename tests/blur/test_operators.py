"""Operators of blur: exact adjoints, equal results by FFT and directly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from deblur_jax import errors
from deblur_jax.blur import kernels, operators

SIZES = [(1, 1), (4, 4), (9, 5), (2, 7)]
IMAGE = 2, 12, 18, 3


def random(*shape, seed=0):
  return np.float32(np.random.default_rng(seed).random(shape))


def random_kernels(*shape, seed=1):
  drawn = random(*shape, seed=seed)
  return drawn / drawn.sum(axis=(-2, -1), keepdims=True)


def operators_of(border, method, size):
  """{label: operator} by the name of its function, on images of IMAGE."""
  n, h, w, _ = IMAGE
  small = (h - size[0] + 1, w - size[1] + 1)
  y_size = small if border == 'valid' else (h, w)
  options = dict(border=border, method=method)
  return {
      'uniform': {
          'one': operators.uniform(random_kernels(*size), **options),
          'each': operators.uniform(random_kernels(n, *size), **options)},
      'gather': {
          'one': operators.gather(
              random_kernels(3, *size), random(*y_size, 3), **options),
          'each': operators.gather(
              random_kernels(n, 3, *size), random(n, *y_size, 3), **options)},
      'scatter': {
          'one': operators.scatter(
              random_kernels(3, *size), random(h, w, 3), **options),
          'each': operators.scatter(
              random_kernels(n, 3, *size), random(n, h, w, 3), **options)},
      'lanczos_downsample': {
          factor: operators.lanczos_downsample(factor=factor)
          for factor in (1, 2, 3)},
      'mask': {'mask': operators.mask(random(n, h, w, 1) > 0.5)},
      'identity': {'identity': operators.identity()},
  }


def both_ways(operator, x):
  """(Hx, y, H'y) for a random y."""
  forward = operator.forward(x)
  y = random(*forward.shape, seed=3) - 0.5
  return forward, y, operator.adjoint(y)


def relative_gap(x, forward, y, back):
  """The difference of <Hx, y> and <x, H'y>, over |Hx| |y|."""
  dot = lambda a, b: np.vdot(np.float64(a), np.float64(b))
  assert back.shape == x.shape
  size = np.linalg.norm(np.float64(forward)) * np.linalg.norm(np.float64(y))
  return abs(dot(forward, y) - dot(x, back)) / size


@functools.cache
def image():
  return random(*IMAGE, seed=2) - 0.5


@functools.cache
def applied(border):
  """{(method, size): `both_ways` of `uniform`}, one program for a border."""
  # Alternately one kernel for all pictures, and one for each.
  drawn = {size: random_kernels(*count, *size)
           for count, size in zip(2 * [(), (2,)], SIZES, strict=True)}
  return jax.jit(lambda x: {
      (method, size): both_ways(
          operators.uniform(kernel, border=border, method=method), x)
      for method in ('direct', 'fft') for size, kernel in drawn.items()})(
          image())


@functools.cache
def applied_of_all(border, method, size):
  """{name: {label: `both_ways`}} of `operators_of`, one program."""
  return jax.jit(lambda x: {
      name: {label: both_ways(operator, x)
             for label, operator in variants.items()}
      for name, variants in operators_of(border, method, size).items()})(
          image())


@pytest.mark.parametrize('method', ['direct', 'fft'])
@pytest.mark.parametrize('border', operators.BORDERS)
def test_adjoints_of_all_borders(border, method):
  for size in SIZES:
    assert relative_gap(image(), *applied(border)[method, size]) < 1e-5, size


@pytest.mark.parametrize('name', [
    'uniform', 'gather', 'scatter', 'lanczos_downsample', 'mask', 'identity'])
@pytest.mark.parametrize('border, method, size', [
    ('valid', 'fft', (4, 5)), ('reflect', 'direct', (5, 2)),
    ('circular', 'fft', (3, 3))])
def test_adjoints_of_all_operators(name, border, method, size):
  for label, found in applied_of_all(border, method, size)[name].items():
    assert relative_gap(image(), *found) < 1e-5, label


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('border', operators.BORDERS)
def test_fft_is_direct(border, size):
  for direct, fft in zip(
      applied(border)['direct', size], applied(border)['fft', size],
      strict=True):
    np.testing.assert_allclose(direct, fft, atol=1e-6)


@pytest.mark.parametrize('border, mode', [
    ('reflect', 'mirror'), ('symmetric', 'reflect'), ('edge', 'nearest'),
    ('circular', 'wrap'), ('zero', 'constant')])
def test_is_true_convolution(border, mode):
  x = random(1, 16, 20, 1)
  drawn = [random_kernels(*size) for size in ((3, 3), (5, 7), (4, 4), (2, 5))]
  blurred = jax.jit(lambda x: [
      operators.uniform(kernel, border=border).forward(x) for kernel in drawn])
  for y, kernel in zip(blurred(x), drawn, strict=True):
    expected = scipy.ndimage.convolve(
        np.float64(x[0, :, :, 0]), np.float64(kernel), mode=mode)
    np.testing.assert_allclose(
        y[0, :, :, 0], expected, atol=2e-6, err_msg=str(kernel.shape))


def test_valid_is_the_inside_of_all_others():
  kernel = random_kernels(5, 7)
  blurred = jax.jit(lambda x: {
      border: operators.uniform(kernel, border=border).forward(x)
      for border in operators.BORDERS})(random(1, 20, 24, 3))
  inside = blurred.pop('valid')
  for border, whole in blurred.items():
    np.testing.assert_allclose(
        whole[:, 2:-2, 3:-3], inside, atol=1e-6, err_msg=border)


def test_a_point_becomes_the_kernel():
  kernel = random_kernels(3, 5)
  point = jnp.zeros((1, 9, 11, 1)).at[0, 4, 5, 0].set(1.0)
  y = operators.uniform(kernel).forward(point)[0, :, :, 0]
  np.testing.assert_allclose(y[3:6, 3:8], kernel, atol=1e-7)


def test_a_constant_picture_does_not_change():
  x = np.full((2, 16, 16, 3), 0.4, np.float32)
  basis, weights = random_kernels(4, 5, 5), random(16, 16, 4)
  weights = weights / weights.sum(-1, keepdims=True)
  *same, scattered = map(np.asarray, jax.jit(lambda x: [
      operator.forward(x) for operator in (
          operators.uniform(basis[0]), operators.gather(basis, weights),
          operators.scatter(basis, weights, border='circular'))])(x))
  for blurred in same:
    np.testing.assert_allclose(blurred, x, atol=1e-6)
  # `scatter` keeps the sum of light, not the constant.
  assert abs(scattered.mean() - 0.4) < 1e-6
  assert np.abs(scattered - x).max() > 1e-3


def test_the_light_that_scatter_keeps():
  """All of it with circular borders; elsewhere part of a corner's is lost."""
  basis, ones = random_kernels(1, 5, 5), np.ones((12, 14, 1), np.float32)
  point = jnp.zeros((1, 12, 14, 1)).at[0, 0, 0, 0].set(1.0)
  light = jax.jit(lambda x: [
      operators.scatter(basis, ones, border=border).forward(x).sum()
      for border in ('circular', 'zero', 'reflect')])(point)
  np.testing.assert_allclose(
      light, [1, *[basis[0, 2:, 2:].sum()] * 2], atol=1e-6)


def test_mixtures_are_each_others_adjoints():
  """With circular borders gather is the adjoint of scatter, kernels flipped."""
  basis, weights = random_kernels(3, 5, 5), random(12, 14, 3)
  x = random(2, 12, 14, 3, seed=5)
  gathered = operators.gather(basis, weights, border='circular')
  flipped = operators.scatter(
      basis[:, ::-1, ::-1], weights, border='circular')
  np.testing.assert_allclose(
      *jax.jit(lambda x: (gathered.adjoint(x), flipped.forward(x)))(x),
      atol=2e-6)


def test_mixture_of_one_kernel_is_uniform():
  kernel, ones = random_kernels(5, 5), np.ones((12, 14, 1), np.float32)
  expected, *mixed = jax.jit(lambda x: [
      operator.forward(x) for operator in (
          operators.uniform(kernel), operators.gather(kernel[None], ones),
          operators.scatter(kernel[None], ones))])(random(2, 12, 14, 3))
  for blurred in mixed:
    np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_transfer_function_is_circular_convolution():
  x, kernel = random(1, 12, 15, 1), random_kernels(4, 5)
  y = jnp.fft.irfft2(
      jnp.fft.rfft2(x[0, :, :, 0]) * operators.otf(kernel, (12, 15)), (12, 15))
  expected = operators.uniform(kernel, border='circular').forward(x)
  np.testing.assert_allclose(y, expected[0, :, :, 0], atol=1e-6)


@pytest.mark.parametrize('factor', [2, 4, 8])
def test_lanczos_downsample(factor):
  """The filter of the paper's code, by its formula, at one pixel."""
  x = random(1, 8 * factor, 8 * factor, 1)
  forward = jax.jit(operators.lanczos_downsample(factor=factor).forward)
  y = forward(x)
  assert y.shape == (1, 8, 8, 1)
  taps = 4 * factor
  distance = (np.arange(taps) + 0.5 - taps / 2) / factor
  filter_ = np.sinc(distance) * np.sinc(distance / 2)
  filter_ = np.outer(filter_, filter_) / filter_.sum() ** 2
  start = 4 * factor - (taps - factor) // 2
  expected = (filter_ * np.float64(
      x[0, start:start + taps, start:start + taps, 0])).sum()
  assert float(y[0, 4, 4, 0]) == pytest.approx(expected, abs=1e-6)
  np.testing.assert_allclose(forward(np.ones_like(x)), 1, atol=1e-6)


# The first half of their taps along one axis; the other half mirrors it.
LANCZOS = {
    2: (-0.0088633321, -0.0419400340, 0.1165000943, 0.4343032717),
    4: (-0.0010653827, -0.0097517015, -0.0203839875, -0.0148778908,
        0.0245940645, 0.0986584995, 0.1831152829, 0.2397111157),
}


@pytest.mark.parametrize('factor', LANCZOS)
def test_lanczos_taps_of_the_papers_code(factor):
  """Also their positions, and the sums for repeated edges."""
  length = 6 * factor
  # Channel j is one where column j is, so y holds all taps of each column.
  points = jnp.broadcast_to(jnp.eye(length), (1, factor, length, length))
  y = operators.lanczos_downsample(factor=factor).forward(points)
  expected = np.zeros((6, length))
  half = list(LANCZOS[factor])
  for row in range(6):
    for i, tap in enumerate(half + half[::-1]):
      # 3/2 factor taps lie on either side of the pixels that it is made of.
      place = factor * row - 3 * factor // 2 + i
      expected[row, min(max(place, 0), length - 1)] += tap
  np.testing.assert_allclose(y[0, 0], expected, atol=1e-7)


def test_composition_and_norm():
  kernel = random_kernels(5, 5)
  x = random(1, 12, 16, 3, seed=2) - 0.5
  known = random(1, 6, 8, 1) > 0.3
  chain = operators.compose(
      operators.uniform(kernel), operators.lanczos_downsample(factor=2),
      operators.mask(known))
  assert relative_gap(x, *jax.jit(lambda x: both_ways(chain, x))(x)) < 1e-5
  # Circular blur by a kernel of sum one keeps constants, and is not above.
  circular = operators.uniform(kernel, border='circular')
  norm = jax.jit(lambda: operators.norm(circular, x.shape))()
  assert float(norm) == pytest.approx(1, abs=1e-4)


# The transform has the same borders as the sums, but for `valid`.
@pytest.mark.parametrize('border, method', [
    *((border, 'direct') for border in operators.BORDERS),
    ('valid', 'fft'), ('reflect', 'fft')])
def test_gradients_are_those_of_the_adjoint(border, method):
  x, kernel = random(1, 10, 12, 2), random_kernels(3, 5)

  @jax.jit
  def differentiated(x, kernel):
    apply = lambda x, kernel: operators.uniform(
        kernel, border=border, method=method).forward(x)
    y, pull_back = jax.vjp(apply, x, kernel)
    operator = operators.uniform(kernel, border=border, method=method)
    return pull_back(y), operator.adjoint(y)

  (of_x, of_kernel), adjoint = differentiated(x, kernel)
  np.testing.assert_allclose(of_x, adjoint, atol=2e-6)
  assert np.isfinite(of_kernel).all() and np.abs(of_kernel).max() > 0


def test_mapped_and_jitted():
  x, basis = random(3, 1, 12, 12, 3), random_kernels(3, 5, 5)
  apply = lambda x, kernel: operators.uniform(kernel).forward(x)
  together, alone = jax.jit(jax.vmap(apply)), jax.jit(apply)
  for i, found in enumerate(together(x, basis)):
    np.testing.assert_allclose(found, alone(x[i], basis[i]), atol=1e-6)


@pytest.mark.parametrize('call, message', [
    (lambda: operators.uniform(random_kernels(3, 3), border='mirror'),
     "Unknown border 'mirror'"),
    (lambda: operators.uniform(random_kernels(3, 3), method='fourier'),
     'Unknown method of convolution'),
    (lambda: operators.uniform(random_kernels(9, 9)).forward(
        random(1, 8, 12, 3)), '9x9 is larger than the picture of 8x12'),
    (lambda: operators.uniform(random_kernels(2, 3, 3)).forward(
        random(3, 8, 12, 3)), '2 kernels do not fit 3 pictures'),
    (lambda: operators.gather(random_kernels(2, 3, 3), random(8, 8, 3)),
     '2 basis kernels need 2 weights'),
    (lambda: operators.lanczos_downsample(factor=3).forward(
        random(1, 8, 9, 3)), '8x9 cannot be made 3 times smaller'),
    (lambda: operators.lanczos_downsample(factor=0), 'factor must be'),
    (lambda: operators.gather(jnp.ones((2, 3, 3)), jnp.ones((8, 9, 2))).forward(
        jnp.ones((1, 8, 8, 1))), 'Weights of 8x9 .* 1 of 8x8'),
    (lambda: operators.scatter(
        jnp.ones((2, 3, 3)), jnp.ones((3, 8, 8, 2))).adjoint(
            jnp.ones((1, 8, 8, 1))), 'for 3 pictures do not fit 1'),
    (lambda: operators.uniform(jnp.ones((2, 3, 3))).adjoint(
        jnp.ones((3, 8, 8, 1))), '2 kernels do not fit 3 pictures'),
    (lambda: operators.uniform(jnp.ones((9, 9))).adjoint(
        jnp.ones((1, 4, 4, 1))), '9x9 is larger than the picture of 4x4'),
    (lambda: kernels.check_kernel(np.full((4, 3), 1 / 12)), 'even size 4x3'),
    (lambda: kernels.check_kernel(np.ones((3, 3))), 'sums to 9 instead'),
    (lambda: kernels.check_kernel([[0.5, -0.5, 1.0]]), 'neither negative'),
    (lambda: kernels.check_kernel(np.ones(3)), r'shape \(3,\)'),
])
def test_mistakes_are_named(call, message):
  with pytest.raises(errors.UserError, match=message):
    call()


def test_good_kernels_pass():
  kernel = kernels.check_kernel(np.eye(3) / 3)
  assert kernel.dtype == np.float32 and kernel.shape == (3, 3)
