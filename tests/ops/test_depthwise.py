"""The depthwise convolution against XLA's grouped one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax.ops import depthwise as depthwise_ops


def _example(stride, channels=3):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 7, 6, channels)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(3, 3, channels)), jnp.float32)

  def ours(x, kernel):
    return depthwise_ops.depthwise(x, kernel, stride=stride)

  def reference(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel[:, :, None, :], (stride, stride), ((1, 1), (1, 1)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=channels)
  return x, kernel, ours, reference


def _gradient(conv):
  return jax.jit(jax.grad(lambda *xs: jnp.sin(conv(*xs)).sum(), (0, 1)))


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
@pytest.mark.parametrize('stride', [1, 2])
def test_values_and_gradients(stride, backend, monkeypatch):
  x, kernel, ours, reference = _example(stride)
  expected = reference(x, kernel), *_gradient(reference)(x, kernel)
  monkeypatch.setattr(depthwise_ops.jax, 'default_backend', lambda: backend)
  for a, b in zip((ours(x, kernel), *_gradient(ours)(x, kernel)), expected,
                  strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_bfloat16_is_summed_in_float32():
  x, kernel, ours, _ = _example(1)
  x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
  y = ours(x, kernel)
  exact = ours(x.astype(jnp.float32), kernel.astype(jnp.float32))
  np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))
  assert {g.dtype for g in _gradient(ours)(x, kernel)} == {y.dtype}


def test_shapes_that_do_not_fit_are_printed():
  with pytest.raises(ValueError, match=r'\(1, 4, 4, 3\) and \(3, 3, 5\)'):
    depthwise_ops.depthwise(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 5)))
