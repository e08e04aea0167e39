"""Networks that tell from a blurry image by what kernels it was blurred.

Edges all over the image say something of the kernel, some more than others:
features are averaged over the image with weights that the network gives them,
several times over, and a dense layer makes of that one logit for each tap.
Softmax makes kernels of logits: never negative, sum one.
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

_GREY = 1e-3    # of contrast: below it, an image is taken to be flat


class Estimate(NamedTuple):
  """By what images were blurred.

  kernels: [n, k, k], one for each image; with weights [n, b, k, k], a basis.
  weights: [n, h, w, b] that sum to one, of each pixel's mixture; or None.
  """

  kernels: Array
  weights: Array | None = None


class KernelCNN(nn.Module):
  """Images [n, h, w, 3] in [0, 1] to an Estimate of one kernel for each.

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
    checks.images(blur)
    x = Trunk(self.features, self.blocks, self.dtype, name='trunk')(blur)
    logits = Average(self.heads, self.size**2, name='head')(x)
    return Estimate(to_kernels(logits, self.size))


class KernelMixture(nn.Module):
  """Images [n, h, w, 3] to an Estimate of a mixture for each pixel.

  Attributes:
    bases: kernels of the basis.
    size, features, blocks, heads, dtype: as of `KernelCNN`.
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
  """Images to features [n, ceil(h/4), ceil(w/4), 4 features], float32."""

  features: int
  blocks: int
  dtype: Any

  @nn.compact
  def __call__(self, blur: Array) -> Array:
    x = standard(colour.luma(blur))
    for i, stride in enumerate((1, 2, 2)):
      x = layers.relu(layers.Conv(
          2**i * self.features, 3, stride, dtype=self.dtype,
          name=f'conv_{i}')(x))
    for i in range(self.blocks):
      x = layers.ResBlock(3, dtype=self.dtype, name=f'block_{i}')(x)
    return x.astype(jnp.float32)


class Average(nn.Module):
  """Features [n, h, w, c] to [n, results], by weighted averages."""

  heads: int
  results: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    n, c = x.shape[0], x.shape[-1]
    x = x.reshape(n, -1, c)
    shares = jax.nn.softmax(nn.Dense(self.heads, name='shares')(x), axis=1)
    x = jnp.einsum('nph,npc->nhc', shares, x).reshape(n, -1)
    x = layers.relu(nn.Dense(4 * c, name='hidden')(x))
    return nn.Dense(self.results, name='result')(x)


def to_kernels(logits: Array, size: int) -> Array:
  """[..., size^2] to kernels [..., size, size] of sum one.

  Logits of 0 are a Gaussian that fits into the size: to begin with, light
  falls near where it came from.
  """
  half = size // 2
  place = np.arange(-half, half + 1) / max(size / 6, 1)
  bump = -0.5 * (place[:, None]**2 + place[None, :]**2)
  bump = jnp.asarray(bump.ravel(), jnp.float32)
  taps = jax.nn.softmax(logits + jnp.broadcast_to(bump, logits.shape))
  return taps.reshape(*logits.shape[:-1], size, size)


def standard(gray: Array) -> Array:
  """Each image to mean 0 and deviation 1, but nothing is made of flat ones."""
  gray = gray - gray.mean(axis=(1, 2, 3), keepdims=True)
  variance = (gray**2).mean(axis=(1, 2, 3), keepdims=True)
  return gray * jax.lax.rsqrt(variance + _GREY**2)
