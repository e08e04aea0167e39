"""A network that estimates the kernel through the classical closed form.

An average over an image loses the positions of its edges, and with them most of
their information about the kernel. Least squares keeps it: if the gradients
grad x of the sharp image are known,

  k = argmin |k * grad x - grad y|^2 + ridge |k|^2
    = F^-1 [ sum conj(F grad x) F grad y / (sum |F grad x|^2 + ridge) ]

is one division (Cho & Lee 2009, eq. 5). Here a network predicts several guesses
of them and is trained through that division (Schuler et al., Learning to
deblur, 2014). A small network makes one kernel of the results. The next round
also sees the image deconvolved with it, which has sharper edges.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax.blur import kernels, operators
from deblur_jax.models import checks, kernel_estimator, layers
from deblur_jax.ops import colour, resize
from deblur_jax.state import Array

_DAMPING = (1e-3, 1e-1)   # of the images deconvolved between rounds
_LEAST_POWER = 1e-6       # of a spectrum: without edges it has no power


class KernelFourier(nn.Module):
  """The estimator of one kernel for each image.

  Images are at least twice as large as the kernels; much larger ones are
  better.

  Attributes:
    size: of the kernels, odd.
    features: channels at full size; twice and four times as many below.
    blocks: residual blocks at a quarter of the size, and of the kernels.
    guesses: of the gradients of the sharp image.
    rounds: how many estimates; all but the first see deconvolved images too.
    dtype: of the convolutions; parameters and transforms are float32.
  """

  size: int = 35
  features: int = 16
  blocks: int = 2
  guesses: int = 8
  rounds: int = 2
  dtype: Any = 'float32'

  def __post_init__(self):
    kernels.check_size(self.size)
    checks.at_least(1, features=self.features, guesses=self.guesses,
                    rounds=self.rounds)
    checks.at_least(0, blocks=self.blocks)
    checks.dtype(self.dtype)
    super().__post_init__()

  @property
  def least_crop(self) -> int:
    """The side of the smallest image."""
    return 2 * self.size

  @nn.compact
  def __call__(self, blur: Array) -> kernel_estimator.Estimate:
    """Estimates the kernels of images.

    Args:
      blur: [n, h, w, 3] in [0, 1], h and w at least `least_crop`.

    Returns:
      Kernels [n, size, size].

    Raises:
      UserError: images of another shape or too small.
    """
    checks.images(blur, least=self.least_crop)
    y = kernel_estimator.standard(colour.luma(blur).astype(jnp.float32))
    own = spectra(slopes(y[..., 0]), self.size)
    seen, estimates = y, _correlations(own, y.shape[1:3], self.size)
    for i in range(self.rounds):
      guessed = Edges(self.features, self.blocks, 2 * self.guesses, self.dtype,
                      name=f'edges_{i}')(seen)
      ridge = self.param(
          f'ridge_{i}', nn.initializers.constant(-3.0), (self.guesses,))
      found = quotients(guessed, own, jnp.exp(ridge), self.size)
      estimates = jnp.concatenate([estimates, found], axis=-1)
      logits = Refine(2 * self.features, self.blocks, self.dtype,
                      name=f'refine_{i}')(estimates)
      kernel = kernel_estimator.to_kernels(
          logits.reshape(len(blur), -1), self.size)
      if i + 1 < self.rounds:
        seen = jnp.concatenate([y, _deconvolved(y, kernel)], axis=-1)
        estimates = jnp.concatenate(
            [estimates[..., :2], _scaled(kernel[..., None])], -1)
    return kernel_estimator.Estimate(kernel)


class Edges(nn.Module):
  """A U-Net of three sizes that predicts maps of the size of the image."""

  features: int
  blocks: int
  results: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [n, h, w, c] to [n, h, w, results], float32."""
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (0, -height % 4), (0, -width % 4), (0, 0)),
                mode='edge')
    conv = lambda features, stride, name: layers.Conv(
        features, 3, stride, dtype=self.dtype, name=name)
    skips = []
    for i in range(3):
      x = layers.relu(conv(2**i * self.features, 1 + (i > 0), f'down_{i}')(x))
      skips.append(x)
    for i in range(self.blocks):
      x = layers.ResBlock(3, dtype=self.dtype, name=f'block_{i}')(x)
    for i in (1, 0):
      x = conv(2**i * self.features, 1, f'up_{i}')(x)
      x = layers.relu(resize.double_bilinear(x) + skips[i])
    x = conv(self.results, 1, 'result')(x)
    return x[:, :height, :width].astype(jnp.float32)


class Refine(nn.Module):
  """Makes the logits of one kernel of several estimates."""

  features: int
  blocks: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps estimates [n, k, k, c] to logits [n, k, k, 1]."""
    x = layers.relu(
        layers.Conv(self.features, 5, dtype=self.dtype, name='first')(x))
    for i in range(self.blocks):
      x = layers.ResBlock(5, dtype=self.dtype, name=f'block_{i}')(x)
    return layers.Conv(1, 5, dtype=self.dtype, name='last')(x).astype('float32')


def slopes(image: Array) -> Array:
  """Forward differences down and right.

  Args:
    image: [..., h, w].

  Returns:
    [2, ..., h, w].
  """
  down = jnp.diff(image, axis=-2, append=image[..., -1:, :])
  right = jnp.diff(image, axis=-1, append=image[..., -1:])
  return jnp.stack([down, right])


def spectra(maps: Array, size: int) -> Array:
  """Fourier transforms of maps that are faded out at the border of the image.

  Args:
    maps: [..., h, w].
    size: side of the kernels: the width of the fading border.

  Returns:
    complex64 [..., h, w // 2 + 1].
  """
  height, width = maps.shape[-2:]
  window = lambda length: np.clip(
      (np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5) / size,
      0, 1).astype(np.float32)
  both = np.sin(np.pi / 2 * window(height))[:, None] * np.sin(
      np.pi / 2 * window(width))[None, :]
  return jnp.fft.rfft2(maps * jnp.broadcast_to(both**2, maps.shape))


def quotients(
    guessed: Array, own: Array, ridge: Array, size: int
) -> Array:
  """The least-squares kernel of each guess.

  Args:
    guessed: gradients of the sharp image, [n, h, w, 2 * guesses].
    own: spectra of the gradients of the blurry one, [2, n, h, w // 2 + 1].
    ridge: [guesses], in units of the mean power of a guess.
    size: of the kernels.

  Returns:
    [n, size, size, guesses].
  """
  n, height, width, both = guessed.shape
  maps = jnp.moveaxis(
      guessed.reshape(n, height, width, 2, both // 2), (3, 4), (0, 2))
  of_guess = spectra(maps, size)                   # [2, n, guesses, h, w']
  power = jnp.sum(_square(of_guess), axis=0)
  least = jnp.mean(power, axis=(-2, -1), keepdims=True) * (
      ridge[None, :, None, None]) + _LEAST_POWER
  shared = jnp.sum(jnp.conj(of_guess) * own[:, :, None], axis=0)
  found = shared / (power + least)
  return _scaled(jnp.moveaxis(_cut(found, (height, width), size), 1, -1))


def _correlations(own, shape, size):
  """The autocorrelation of both gradients, [n, size, size, 2].

  The gradients of a sharp image are nearly white, so this is nearly the
  autocorrelation of the kernel.
  """
  near = _cut(_square(own), shape, size)
  return _scaled(jnp.moveaxis(near, 0, -1))


def _deconvolved(y, kernel):
  """[n, h, w, 1] to its Wiener deconvolutions, [n, h, w, filters]."""
  faded = operators.fade(y[..., 0], kernel.shape[-2:], axes=(1, 2))
  spectrum = jnp.fft.rfft2(faded)
  transfer = operators.otf(kernel, y.shape[1:3])
  return jnp.stack([
      jnp.fft.irfft2(jnp.conj(transfer) * spectrum / (
          _square(transfer) + damping), y.shape[1:3])
      for damping in _DAMPING], axis=-1)


def _cut(spectrum, shape, size):
  """The middle [..., size, size] of the inverse transform."""
  half = size // 2
  whole = jnp.fft.irfft2(spectrum, shape)
  return jnp.roll(whole, (half, half), axis=(-2, -1))[..., :size, :size]


def _scaled(x):
  """[n, k, k, c]: each map scaled to a mean square of one."""
  power = jnp.mean(jnp.square(x), axis=(1, 2), keepdims=True)
  return x * jax.lax.rsqrt(power + 1e-12)


def _square(spectrum):
  """|.|^2 with a gradient of 0 at 0."""
  return jnp.square(spectrum.real) + jnp.square(spectrum.imag)
