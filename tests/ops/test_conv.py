"""Our convolution against XLA's: values, first and second gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax.ops import conv as conv_ops

# n, h, w, c_in, c_out, kh, kw, stride, padding: few channels to more and back,
# each stride, kernels of one pixel and larger than the image, much padding.
CASES = [
    (1, 8, 10, 16, 24, 3, 3, 1, 1),
    (2, 8, 8, 4, 4, 1, 1, 2, 0),
    (2, 10, 11, 4, 3, 4, 4, 2, 1),
    (1, 9, 9, 3, 5, 5, 5, 4, 2),
    (2, 7, 8, 3, 4, 3, 5, 1, 0),
    (1, 8, 8, 3, 4, 3, 3, 1, 4),
    (1, 3, 4, 3, 2, 5, 5, 1, 2),
    (2, 8, 8, 4, 4, 1, 1, 1, 0),
]


def _example(case):
  n, h, w, c_in, c_out, kh, kw, stride, padding = case
  rng = np.random.default_rng(0)
  x = rng.normal(size=(n, h, w, c_in)).astype(np.float32)
  kernel = rng.normal(size=(kh, kw, c_in, c_out)).astype(np.float32)

  def ours(x, kernel):
    return conv_ops.conv(x, kernel, stride=stride, padding=padding)

  def reference(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((padding, padding),) * 2,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  return x, kernel, ours, reference


def _assert_close(ours, reference):
  for a, b in zip(ours, reference, strict=True):
    np.testing.assert_allclose(a, b, atol=4e-6 * np.abs(b).max())


def _gradient(conv):
  return jax.jit(jax.grad(lambda *xs: jnp.sin(conv(*xs)).sum(), (0, 1)))


def _all(conv, *, twice):
  """Its values, gradients and, if `twice`, gradients of these, in one program.

  The last are of the squared norm of the first: a gradient penalty needs them.
  """
  def value(*xs):
    y = conv(*xs)
    return jnp.sin(y).sum(), y

  def norm(*xs):
    first, y = jax.grad(value, (0, 1), has_aux=True)(*xs)
    return sum((g**2).sum() for g in first), (y, *first)

  if not twice:
    return jax.jit(lambda *xs: norm(*xs)[1])

  @jax.jit
  def run(*xs):
    second, first = jax.grad(norm, (0, 1), has_aux=True)(*xs)
    return *first, *second
  return run


@pytest.mark.parametrize('case, twice', [
    (case, i % 2 == 0) for i, case in enumerate(CASES)], ids=str)
def test_values_and_gradients(case, twice):
  """For every other case also second gradients."""
  x, kernel, ours, reference = _example(case)
  _assert_close(*(_all(conv, twice=twice)(x, kernel)
                  for conv in (ours, reference)))


def test_many_strips(monkeypatch):
  """Several images in several strips; the last one is not full."""
  monkeypatch.setattr(conv_ops, 'STRIP', 30)
  x, kernel, ours, reference = _example((3, 11, 13, 4, 4, 3, 3, 1, 1))
  _assert_close(_gradient(ours)(x, kernel), _gradient(reference)(x, kernel))


def test_our_gradient_is_used():
  """On CPUs the weight gradient has matrix products and no convolution."""
  x, kernel, ours, reference = _example(CASES[0])
  for conv, convolutions in ((ours, 1), (reference, 2)):
    gradient = jax.jit(jax.grad(lambda k, conv=conv: jnp.sin(conv(x, k)).sum()))
    text = gradient.lower(kernel).as_text()
    assert text.count('stablehlo.convolution') == convolutions


def test_bfloat16():
  x, kernel, ours, reference = _example(CASES[0])
  x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
  for a, b in zip(_gradient(ours)(x, kernel), _gradient(reference)(x, kernel),
                  strict=True):
    assert a.dtype == jnp.bfloat16
    a, b = (np.asarray(each, np.float32) for each in (a, b))
    assert np.abs(a - b).max() < 0.05 * np.abs(b).max()


def test_shapes_that_do_not_fit_are_printed():
  with pytest.raises(ValueError, match=r'\(1, 4, 4, 3\) and \(3, 3, 2, 5\)'):
    conv_ops.conv(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 2, 5)))


def _transposed_example(size, padding, output_padding):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
  kernel = rng.normal(size=(size, size, 5, 6)).astype(np.float32)
  around = (size - 1 - padding, size - 1 - padding + output_padding)

  def ours(x, kernel):
    return conv_ops.conv_transpose(
        x, kernel, padding=padding, output_padding=output_padding)

  def reference(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), (around, around), lhs_dilation=(2, 2),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  return x, kernel, ours, reference


def test_transposed_convolution_and_its_gradients():
  x, kernel, ours, reference = _transposed_example(3, 1, 1)
  assert jax.eval_shape(ours, x, kernel).shape == (2, 6, 8, 6)
  _assert_close(*(_all(conv, twice=True)(x, kernel)
                  for conv in (ours, reference)))


@pytest.mark.parametrize('numbers', [(4, 1, 0), (2, 0, 0), (5, 2, 1)])
def test_other_transposed_convolutions(numbers):
  x, kernel, ours, reference = _transposed_example(*numbers)
  _assert_close(*jax.jit(
      lambda *xs: ([ours(*xs)], [reference(*xs)]))(x, kernel))


def test_accelerators_compute_the_same_transposed_convolution(monkeypatch):
  """Also plain convolutions: no zeros between the values of an image."""
  x, kernel, ours, _ = _transposed_example(3, 1, 1)
  both = lambda *xs: (ours(*xs), *_gradient(ours)(*xs))
  on_cpu = jax.jit(lambda *xs: both(*xs))(x, kernel)
  monkeypatch.setattr(conv_ops.jax, 'default_backend', lambda: 'gpu')
  _assert_close(jax.jit(lambda *xs: both(*xs))(x, kernel), on_cpu)
  forward = jax.jit(ours).lower(x, kernel).as_text()
  assert forward.count('stablehlo.convolution') == 4
  assert 'lhs_dilate' not in forward.replace('lhs_dilate = [1, 1]', '')


def test_pixel_unshuffle_is_the_inverse():
  x = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
  small = conv_ops.pixel_unshuffle(x, factor=2)
  assert small.shape == (2, 2, 3, 12)
  np.testing.assert_array_equal(conv_ops.pixel_shuffle(small, factor=2), x)
  with pytest.raises(ValueError, match='not a multiple of 4 in h and w'):
    conv_ops.pixel_unshuffle(x, factor=4)


def test_pixel_shuffle_has_the_order_of_pytorch():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 3, 4, 3 * 4))
  n, h, w, c, r = 2, 3, 4, 3, 2
  # torch: view(n, c, r, r, h, w).permute(0, 1, 4, 2, 5, 3) on [n, c r r, h, w]
  shuffled = x.transpose(0, 3, 1, 2).reshape(n, c, r, r, h, w)
  shuffled = shuffled.transpose(0, 1, 4, 2, 5, 3).reshape(n, c, h * r, w * r)
  ours = conv_ops.pixel_shuffle(jnp.asarray(x), factor=r)
  np.testing.assert_allclose(ours, shuffled.transpose(0, 2, 3, 1), rtol=1e-6)
  for a in range(2):
    for b in range(2):  # the definition in the docstring
      np.testing.assert_allclose(
          ours[:, a::2, b::2, 1], x[..., 1 * 4 + a * 2 + b], rtol=1e-6)


def test_pixel_shuffle_of_a_wrong_number_of_channels():
  with pytest.raises(ValueError, match='10 channels are not a multiple of 2'):
    conv_ops.pixel_shuffle(jnp.zeros((1, 2, 2, 10)), factor=2)
