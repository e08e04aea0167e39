"""Bilinear resizing against jax.image."""

import functools

import jax
import numpy as np
import pytest

from deblur_jax.ops import resize


@pytest.mark.parametrize('name', ['downsample_bilinear', 'upsample_bilinear'])
@pytest.mark.parametrize('factor', [1, 2, 4])
@pytest.mark.parametrize('size', [(8, 12), (4, 4)])
def test_it_agrees_with_jax(name, factor, size):
  x = np.random.default_rng(0).random((2, *size, 3), np.float32)
  up = name == 'upsample_bilinear'
  shape = [side * factor if up else side // factor for side in size]
  ours = jax.jit(functools.partial(getattr(resize, name), factor=factor))(x)
  expected = jax.image.resize(x, (2, *shape, 3), 'bilinear')
  np.testing.assert_allclose(ours, expected, atol=1e-6)
