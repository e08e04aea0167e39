"""Properties of every metric of the table that needs no file."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage
from scipy import ndimage

from deblur_jax import errors, metrics

READY = {name: metric for name, metric in metrics.METRICS.items()
         if not metric.needs_weights}
FNS = {name: jax.jit(metric.fn) for name, metric in READY.items()}
# Alignments, which float32 does not compute exactly.
ALIGNED = ('psnr_shift', 'psnr_ecc')
KERNEL = np.ones((3, 5), np.float32) / 15


def _case(name):
  """The sharp and the blurred images of a metric, and its other inputs."""
  sharp, inputs = _images(READY[name].test_size)
  return sharp, inputs['blur'], [inputs[key] for key in READY[name].inputs]


@functools.cache
def _of_blur(name):
  _, blur, inputs = _case(name)
  return np.asarray(FNS[name](blur, *inputs))


@functools.cache
def _images(size):
  height, width = size
  photos = np.stack([
      getattr(skimage.data, name)()[100:100 + height, 130:130 + width]
      for name in ('astronaut', 'coffee')])
  sharp = photos / np.float32(255)
  blur = ndimage.convolve(sharp, KERNEL[None, :, :, None])
  return jnp.asarray(sharp), {
      'sharp': sharp, 'blur': jnp.asarray(blur), 'kernel': KERNEL,
      'oracle': jnp.asarray(0.9 * sharp + 0.1 * blur),
      'frames': np.stack([np.roll(photos, i, axis=1) for i in range(3)], 1)}


@pytest.mark.parametrize('name', READY)
def test_one_value_an_image_in_the_range(name):
  values = _of_blur(name)
  low, high = READY[name].range
  assert values.shape == (2,) and values.dtype == jnp.float32
  assert (low < values).all() and (values < high).all()


@pytest.mark.parametrize('name', READY)
def test_a_batch_is_its_images(name):
  _, blur, inputs = _case(name)
  other = [x if x is KERNEL else x[::-1] for x in inputs]
  np.testing.assert_allclose(
      FNS[name](blur[::-1], *other)[::-1], _of_blur(name), rtol=1e-6)


@pytest.mark.parametrize('name', READY)
def test_less_blur_is_better(name):
  sharp, blur, inputs = _case(name)
  good, bad = FNS[name]((sharp + blur) / 2, *inputs), _of_blur(name)
  assert (good > bad if READY[name].higher_is_better else good < bad).all()


@pytest.mark.parametrize(
    'name', [name for name, metric in READY.items() if metric.inputs])
def test_the_sharp_image_has_the_best_value(name):
  sharp, _, inputs = _case(name)
  values = FNS[name](sharp, *inputs)
  if np.isinf(READY[name].best):
    assert (values > (60 if name in ALIGNED else 1e6)).all()
  else:
    np.testing.assert_allclose(values, READY[name].best, atol=1e-5)


@pytest.mark.parametrize('name', READY)
def test_a_nan_is_seen(name):
  _, blur, inputs = _case(name)
  values = FNS[name](blur.at[0, 25, 25, 0].set(jnp.nan), *inputs)
  assert list(np.isnan(values)) == [True, False]


@pytest.mark.parametrize('name', READY)
def test_refuses_other_images(name):
  metric = READY[name]
  _, blur, inputs = _case(name)
  with pytest.raises(errors.UserError, match=r'\(2, \d+, \d+, 1\)'):
    metric.fn(blur[..., :1], *inputs)
  if 'sharp' in metric.inputs:
    with pytest.raises(errors.UserError, match='equal shapes'):
      metric.fn(blur[:, 1:], *inputs)
  if metric.side > 1:
    small = blur[:, :metric.side - 1]
    inputs = [x if x is KERNEL else jnp.broadcast_to(
        small[:, None], (2, 1, *small.shape[1:])) if x.ndim == 5 else small
              for x in inputs]
    side = f'at least {metric.side}x{metric.side}.*x{metric.side - 1}'
    with pytest.raises(errors.UserError, match=side):
      metric.fn(small, *inputs)
