"""The count of multiplications: by hand, and for the paper's networks."""

import jax
import jax.numpy as jnp
import pytest

from deblur_jax import models
from deblur_jax.ops import conv as conv_ops
from deblur_jax.ops import macs


def _shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, jnp.float32)


@pytest.mark.parametrize('stride, height, width', [(1, 6, 7), (2, 3, 4)])
def test_convolution_by_hand(stride, height, width):
  count = macs.macs(
      lambda x, k: conv_ops.conv(x, k, stride=stride, padding=1),
      _shape(2, 6, 7, 4), _shape(3, 3, 4, 5))
  assert count == 2 * height * width * 3 * 3 * 4 * 5


def test_grouped_convolution_by_hand():
  def depthwise(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), 'SAME', feature_group_count=4,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  count = macs.macs(depthwise, _shape(1, 6, 7, 4), _shape(3, 3, 1, 4))
  assert count == 6 * 7 * 4 * 9


def test_products_in_nested_functions():
  def fn(a, b):
    def body(carry, _):
      return jax.checkpoint(jax.jit(jnp.dot))(carry, b), None
    carry, _ = jax.lax.scan(body, a, length=3)
    return jax.lax.cond(
        carry.sum() > 0, lambda c: c @ b @ b, lambda c: c, carry)
  assert macs.macs(fn, _shape(2, 4), _shape(4, 4)) == (3 + 2) * 2 * 4 * 4


def test_gradient_of_convolution_counts_each_product_once():
  """dx costs as much as forward with zero padding; dk at least as much."""
  def loss(x, kernel):
    return conv_ops.conv(x, kernel, padding=1).sum()
  shapes = _shape(1, 32, 32, 8), _shape(3, 3, 8, 8)
  forward = macs.macs(loss, *shapes)
  both = macs.macs(jax.grad(loss, (0, 1)), *shapes)
  assert 3 * forward <= both < 3.3 * forward


def test_unknown_length_is_refused():
  def fn(a):
    return jax.lax.while_loop(lambda c: c.sum() > 0, lambda c: c @ c, a)
  with pytest.raises(ValueError, match='loop of unknown length'):
    macs.macs(fn, _shape(4, 4))


@pytest.mark.parametrize('scales, size, giga', [
    (1, (256, 256), 792.5), (2, (256, 256), 487.7), (3, (256, 256), 335.9),
    (1, (720, 1280), 11_140), (2, (720, 1280), 6_860),
    (3, (720, 1280), 4_720)])
def test_paper_networks(scales, size, giga):
  net = models.build(name='multiscale', scales=scales)
  image = _shape(1, *size, 3)
  params = jax.eval_shape(net.init, jax.random.key(0), image)
  count = macs.macs(net.apply, params, image)
  assert count / 1e9 == pytest.approx(giga, rel=5e-3)
