"""Attention of every pixel to all others (Wang et al., CVPR 2018)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax.models import layers
from deblur_jax.state import Array


class NonLocal(nn.Module):
  """x + norm(conv(attention(x))), which is x at first.

  The variant without softmax, as in SelfDeblur (Ren et al., CVPR 2020), with
  1x1 convolutions theta, phi, g to c / 2 channels, the last two at half size:

    y = theta (phi^T g) / number of pixels of phi

  In this order the cost grows linearly with the number of pixels. The norm
  starts from zeros.
  """

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to the same shape."""
    n, h, w, channels = x.shape
    conv = lambda features, name: layers.Conv(
        features, 1, dtype=self.dtype, name=name)
    half = max(1, channels // 2)
    theta = conv(half, 'theta')(x).reshape(n, h * w, half)
    phi = _pool(conv(half, 'phi')(x))
    g = _pool(conv(half, 'g')(x))
    pairs = jnp.einsum(
        'npa,npb->nab', phi, g, preferred_element_type=jnp.float32)
    pairs = (pairs / phi.shape[1]).astype(theta.dtype)
    y = jnp.einsum('npa,nab->npb', theta, pairs)
    y = conv(channels, 'out')(y.reshape(n, h, w, half))
    return x + layers.Norm(zeros=True, name='norm')(y)


def _pool(x):
  """2x2 max pooling to [n, pixels, c]; an odd last row or column is left out.

  A single row or column stays.
  """
  n, h, w, c = x.shape
  rows, columns = min(h, 2), min(w, 2)
  x = x[:, :h // rows * rows, :w // columns * columns]
  x = x.reshape(n, h // rows, rows, w // columns, columns, c)
  return x.max(axis=(2, 4)).reshape(n, -1, c)
