"""int8: rounding, its gradient, and that it is what integers would give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny
from run_folders import untrained

from deblur_jax import errors, methods, models
from deblur_jax.models import layers, quantization

NET = dict(name='multiscale', scales=1, blocks=1, features=4)


def test_rounding_and_its_gradient():
  x = np.array([-3.0, -1.0, 0.004, 0.5, 1.0], np.float32)
  rounded, slopes, nothing = jax.jit(lambda x: (
      quantization.fake(x, 1.27),
      jax.grad(lambda x: quantization.fake(x, 1.27).sum())(x),
      quantization.fake(x, 0.0)))(x)
  np.testing.assert_allclose(rounded, [-1.27, -1, 0, 0.5, 1], atol=1e-6)
  np.testing.assert_array_equal(slopes, [0, 1, 1, 1, 1])
  np.testing.assert_allclose(nothing, 0 * x, atol=1e-11)


def test_each_channel_has_a_step_of_its_own():
  kernel = np.float32([[1, 100], [0.33, 33]]).reshape(1, 1, 2, 2)
  params = {'a': {'kernel': kernel, 'bias': np.full(2, 0.123, np.float32)}}
  rounded = jax.jit(quantization.kernels)(params)['a']
  np.testing.assert_array_equal(rounded['bias'], params['a']['bias'])
  np.testing.assert_allclose(
      rounded['kernel'][0, 0, 1], [42 / 127, 4200 / 127], rtol=1e-6)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_it_is_what_integers_would_give(dtype):
  """One convolution with int8 inputs and kernel, summed in int32."""
  rng = np.random.default_rng(0)
  conv = layers.Conv(3, kernel_size=1, dtype=dtype)
  x = rng.normal(size=(1, 4, 5, 2)).astype(np.float32)
  kernel = rng.normal(size=(1, 1, 2, 3)).astype(np.float32)
  bias = rng.normal(size=3).astype(np.float32)
  params = {'kernel': kernel, 'bias': bias}

  @jax.jit
  def restore(x):
    ranges = quantization.observe(conv, params, x)
    assert ranges.keys() == {''}
    return quantization.apply(conv, params, ranges, x)

  y = restore(x)
  step_x = np.abs(x).max() / 127
  step_k = np.abs(kernel[0, 0]).max(0) / 127
  whole_x, whole_k = np.rint(x / step_x), np.rint(kernel[0, 0] / step_k)
  sums = whole_x.astype(np.int8).astype(np.int32) @ whole_k.astype(
      np.int8).astype(np.int32)
  np.testing.assert_allclose(y, sums * (step_x * step_k) + bias, atol=1e-5)


def test_the_largest_passes_its_whole_gradient():
  slope = jax.grad(lambda x: quantization.fake(
      x, jnp.abs(x).max(keepdims=True)).sum())
  x = jax.random.normal(jax.random.key(0), (50,))
  np.testing.assert_array_equal(slope(x), jnp.ones(50))
  beyond = jax.grad(lambda x: quantization.fake(x, jnp.array(0.5)).sum())(
      jnp.array([0.4, 0.5, 0.6]))
  np.testing.assert_array_equal(beyond, [1, 1, 0])


def test_ranges_are_those_of_every_convolution_and_every_call():
  net = models.build(name='srn', scales=2, features=1, blocks=0, kernel_size=1)
  shapes = models.shapes(net)
  ranges = jax.eval_shape(
      lambda params, blur: quantization.observe(net, params, blur), shapes,
      jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32))
  assert {'/'.join(part.key for part in path[:-1])
          for path, _ in jax.tree.leaves_with_path(shapes)} == set(ranges)


def test_calibrated_to_near_the_float_network(tmp_path):
  """The weights stay those of the run; eight bits cost little."""
  params = untrained(tmp_path, tiny(nets=dict(net=NET)))
  config = tiny(nets=dict(net=NET | dict(remat=True)), method=dict(
      name='quantize', init_from=dict(path=str(tmp_path))))
  method, plain = methods.build(config), models.build(**NET)

  @jax.jit
  def calibrate(batch):
    state, metrics = method.step(
        method.init(jax.random.key(1), batch), batch, jax.random.key(0))
    expected, = plain.apply({'params': params}, batch['blur'])
    return state, metrics, method.restore(state, batch['blur']), expected

  rng = np.random.default_rng(0)
  state, metrics, restored, expected = calibrate({
      key: rng.random((2, 16, 16, 3), np.float32) for key in ('blur', 'sharp')})
  jax.tree.map(np.testing.assert_array_equal, state.params['net'], params)
  assert np.isfinite(metrics['loss'])
  assert all(value > 0 for value in state.buffers['ranges'].values())
  error = np.abs(restored - expected)
  assert 0 < error.max() < 0.02 * np.ptp(expected)
  with pytest.raises(errors.UserError, match='nets.net.blocks is 2, but 1'):
    methods.build(config | {'nets': {'net': NET | dict(blocks=2)}})
