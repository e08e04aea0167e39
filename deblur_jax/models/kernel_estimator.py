"""Networks that estimate the kernel of a blurry image.

Edges all over the image depend on the kernel, some more than others. So the
features are averaged over the image several times, with weights that the
network predicts. A dense layer makes one logit for each tap, and softmax makes
kernels that are not negative and have sum one.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax.blur import kernels
from deblur_jax.models import checks, layers
from deblur_jax.ops import colour
from deblur_jax.state import Array

_GREY = 1e-3    # an image with less contrast counts as flat


class Estimate(NamedTuple):
  """The kernels that blurred images.

  Attributes:
    kernels: [n, k, k], one for each image; with weights [n, b, k, k], a basis.
    weights: [n, h, w, b] that sum to one, the mixture of each pixel; or None.
  """

  kernels: Array
  weights: Array | None = None


class KernelCNN(nn.Module):
  """The estimator of one kernel for each image.

  Attributes:
    size: of the kernels, odd.
    features: channels at full size; twice and four times as many below.
    blocks: residual blocks at a quarter of the size.
    heads: averages over the image.
    dtype: of the convolutions; parameters and kernels are float32.
  """

  size: int = 21
  features: int = 16
  blocks: int = 2
  heads: int = 4
  dtype: Any = 'float32'

  def __post_init__(self):
    kernels.check_size(self.size)
    checks.at_least(1, features=self.features, heads=self.heads)
    checks.at_least(0, blocks=self.blocks)
    checks.dtype(self.dtype)
    super().__post_init__()

  @nn.compact
  def __call__(self, blur: Array) -> Estimate:
    """Estimates the kernels of images.

    Args:
      blur: [n, h, w, 3] in [0, 1].

    Returns:
      Kernels [n, size, size].

    Raises:
      UserError: images of another shape.
    """
    checks.images(blur)
    x = Trunk(self.features, self.blocks, self.dtype, name='trunk')(blur)
    logits = Average(self.heads, self.size**2, name='head')(x)
    return Estimate(to_kernels(logits, self.size))


class KernelMixture(nn.Module):
  """The estimator of a mixture of kernels for each pixel.

  Attributes:
    size: of the kernels, odd.
    bases: kernels of the basis.
    features: channels at full size; twice and four times as many below.
    blocks: residual blocks at a quarter of the size.
    heads: averages over the image.
    dtype: of the convolutions; parameters and kernels are float32.
  """

  size: int = 21
  bases: int = 4
  features: int = 16
  blocks: int = 2
  heads: int = 4
  dtype: Any = 'float32'

  def __post_init__(self):
    kernels.check_size(self.size)
    checks.at_least(
        1, features=self.features, heads=self.heads, bases=self.bases)
    checks.at_least(0, blocks=self.blocks)
    checks.dtype(self.dtype)
    super().__post_init__()

  @nn.compact
  def __call__(self, blur: Array) -> Estimate:
    """Estimates the kernels of images.

    Args:
      blur: [n, h, w, 3] in [0, 1].

    Returns:
      Kernels [n, bases, size, size] and their weights [n, h, w, bases].

    Raises:
      UserError: images of another shape.
    """
    checks.images(blur)
    n, height, width, _ = blur.shape
    x = Trunk(self.features, self.blocks, self.dtype, name='trunk')(blur)
    logits = Average(self.heads, self.bases * self.size**2, name='head')(x)
    shares = nn.Dense(self.bases, name='shares')(x)
    weights = jax.image.resize(
        jax.nn.softmax(shares), (n, height, width, self.bases), 'linear')
    basis = to_kernels(logits.reshape(n, self.bases, -1), self.size)
    return Estimate(basis, weights)


class Trunk(nn.Module):
  """The features of an image, at a quarter of its size."""

  features: int
  blocks: int
  dtype: Any

  @nn.compact
  def __call__(self, blur: Array) -> Array:
    """Maps [n, h, w, 3] to [n, ceil(h / 4), ceil(w / 4), 4 features]."""
    x = standard(colour.luma(blur))
    for i, stride in enumerate((1, 2, 2)):
      x = layers.relu(layers.Conv(
          2**i * self.features, 3, stride, dtype=self.dtype,
          name=f'conv_{i}')(x))
    for i in range(self.blocks):
      x = layers.ResBlock(3, dtype=self.dtype, name=f'block_{i}')(x)
    return x.astype(jnp.float32)


class Average(nn.Module):
  """Weighted averages over the image, and a dense layer."""

  heads: int
  results: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps features [n, h, w, c] to [n, results]."""
    n, c = x.shape[0], x.shape[-1]
    x = x.reshape(n, -1, c)
    shares = jax.nn.softmax(nn.Dense(self.heads, name='shares')(x), axis=1)
    x = jnp.einsum('nph,npc->nhc', shares, x).reshape(n, -1)
    x = layers.relu(nn.Dense(4 * c, name='hidden')(x))
    return nn.Dense(self.results, name='result')(x)


def to_kernels(logits: Array, size: int) -> Array:
  """Softmax over the taps of kernels.

  Logits of 0 give a Gaussian that fits into the size, so at the start of
  training light stays near its origin.

  Args:
    logits: [..., size^2].
    size: side of the kernels.

  Returns:
    [..., size, size], not negative and of sum one.
  """
  half = size // 2
  place = np.arange(-half, half + 1) / max(size / 6, 1)
  bump = -0.5 * (place[:, None]**2 + place[None, :]**2)
  bump = jnp.asarray(bump.ravel(), jnp.float32)
  taps = jax.nn.softmax(logits + jnp.broadcast_to(bump, logits.shape))
  return taps.reshape(*logits.shape[:-1], size, size)


def standard(gray: Array) -> Array:
  """Normalises each image to mean 0 and deviation 1; flat images stay near 0.

  Args:
    gray: [n, h, w, 1].

  Returns:
    The same shape.
  """
  gray = gray - gray.mean(axis=(1, 2, 3), keepdims=True)
  variance = (gray**2).mean(axis=(1, 2, 3), keepdims=True)
  return gray * jax.lax.rsqrt(variance + _GREY**2)
