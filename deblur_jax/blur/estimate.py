"""Classical estimation of a kernel from a blurred picture, coarse to fine.

Alternates, on each level of a pyramid, between a picture with sparse gradients
(the L0 norm: Xu, Zheng & Jia, Unnatural L0 sparse representation for natural
image deblurring, CVPR 2013)

  min over x of  |k * x - y|^2 + sparse |grad x|_0

by half-quadratic splitting, and the kernel that explains the gradients of y by
those of x (Cho & Lee 2009, eq. 5)

  min over k of  |k * grad x - grad y|^2 + ridge |k|^2,   then k >= 0, sum one.

Both are solved by FFT. The splitting differs from Xu et al.: they double its
parameter beta until it is 1e5, on every level. Here it is doubled a fixed
number of times from twice the weight `sparse`, which falls from round to round:
with the defaults beta ends at 1e5 in the first rounds, on the coarsest level,
and at 3e3 in the last. The result is one kernel for the whole picture: for
photographs of still scenes, and as a baseline for the learned methods.
"""

import math
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import deconvolve, kernels, operators
from deblur_jax.ops import colour
from deblur_jax.state import Array

_STEP = math.sqrt(2)            # ratio of sizes between neighbouring levels
_COARSEST = 3                   # kernel size at the coarsest level
# Values of beta in each solution for the picture, each twice the last. A weight
# of 8e-3 leads to 1.3e5, a lower one to less.
_BETAS = 24
_FAINT = 0.05                   # of a kernel's maximum; less counts as noise

# An estimated kernel has errors, so the data needs a lower weight than with a
# known one.
WEIGHT = 2e3
DECONVOLUTION = types.MappingProxyType(
    dict(name='hyper_laplacian', weight=WEIGHT))


def kernel_of(
    blur, *, size: int = 31, sparse: float = 8e-3, ridge: float = 2.0,
    rounds: int = 5) -> Array:
  """Estimates the kernel that blurred each picture.

  Args:
    blur: [n, h, w, c] in [0, 1]; c is 1 or 3.
    size: of the kernel, odd; slightly larger than the blur.
    sparse: weight of the L0 norm at the start of the coarsest level; each round
      divides it by 1.1.
    ridge: weight of |k|^2.
    rounds: alternations on each level.

  Returns:
    [n, size, size], sum one, centred.

  Raises:
    UserError: size is even, below 1 or larger than the picture, or blur has
      another shape.
  """
  kernels.check_size(size)
  if blur.ndim != 4 or blur.shape[-1] not in (1, 3):
    raise errors.UserError(
        f'Expected pictures [n, h, w, 1 or 3], got {blur.shape}.')
  operators.check_fits((size, size), blur.shape[1:3])
  gray = colour.luma(blur) if blur.shape[-1] == 3 else blur
  return jax.vmap(lambda y: _estimate(
      y, size=size, sparse=sparse, ridge=ridge, rounds=rounds))(gray[..., 0])


def deblur(
    blur, *, deconvolution: Mapping[str, Any] = DECONVOLUTION, **options
) -> Array:
  """Estimates the kernel and deconvolves with it.

  Args:
    blur: [n, h, w, c] in [0, 1]; c is 1 or 3.
    deconvolution: keyword arguments of `deconvolve.with_kernel`.
    **options: keyword arguments of `kernel_of`.

  Returns:
    [n, h, w, c].

  Raises:
    UserError: the deconvolution's name or an option is unknown, or `kernel_of`
      refuses the picture or the size.
  """
  solve = deconvolve.with_kernel(**deconvolution)
  return solve(blur, kernel_of(blur, **options))


def _estimate(y, *, size, sparse, ridge, rounds):
  """One gray picture [h, w] -> [size, size]."""
  kernel, weight = None, jnp.asarray(sparse, jnp.float32)
  for scale, side in _levels(size):
    shape = [max(round(length * scale), side) for length in y.shape]
    level = y if scale == 1 else jax.image.resize(y, shape, 'linear')
    level = operators.fade(level, (side, side), axes=(0, 1))
    kernel = _upsampled(kernel, side)

    def one_round(_, carry, level=level, side=side):
      kernel, weight = carry
      latent = _latent(level, kernel, weight)
      kernel = _kernel(latent, level, side, ridge)
      return kernel, jnp.maximum(weight / 1.1, 1e-4)

    kernel, weight = jax.lax.fori_loop(
        0, rounds, one_round, (kernel, weight))
  faint = kernel < _FAINT * kernel.max()
  return _centred(kernels.normalise(jnp.where(faint, 0, kernel)))


def _levels(size):
  """[(scale of the picture, size of the kernel)], coarsest first."""
  count = max(math.ceil(math.log(size / _COARSEST, _STEP)), 0)
  for level in range(count, -1, -1):
    side = max(_COARSEST, math.ceil(size / _STEP ** level))
    yield _STEP ** -level, min(size, side + 1 - side % 2)


def _upsampled(kernel, side):
  if kernel is None:
    # Two equal pixels, because the identity is a trivial solution.
    flat = jnp.zeros((side, side))
    return flat.at[side // 2, side // 2:side // 2 + 2].set(0.5)
  grown = jax.image.resize(kernel, (side, side), 'linear')
  return _centred(kernels.normalise(jnp.maximum(grown, 0)))


def _latent(y, kernel, weight):
  """The picture with few gradients, [h, w]."""
  transfer = operators.otf(kernel, y.shape)
  slopes = _derivatives(y.shape)
  data, power = jnp.conj(transfer) * jnp.fft.rfft2(y), jnp.abs(transfer) ** 2
  bend = (jnp.abs(slopes) ** 2).sum(0)

  def step(index, x):
    beta = 2 * weight * 2.0 ** index
    gradients = jnp.fft.irfft2(slopes * jnp.fft.rfft2(x)[None], y.shape)
    kept = (gradients ** 2).sum(0) > weight / beta
    gradients = jnp.where(kept[None], gradients, 0)
    pull = (jnp.conj(slopes) * jnp.fft.rfft2(gradients)).sum(0)
    return jnp.fft.irfft2((data + beta * pull) / (power + beta * bend), y.shape)

  return jax.lax.fori_loop(0, _BETAS, step, y)


def _kernel(latent, y, side, ridge):
  """The kernel that explains y's gradients, [side, side]."""
  slopes = _derivatives(y.shape)
  of_latent = slopes * jnp.fft.rfft2(latent)[None]
  of_y = slopes * jnp.fft.rfft2(y)[None]
  spectrum = (jnp.conj(of_latent) * of_y).sum(0) / (
      (jnp.abs(of_latent) ** 2).sum(0) + ridge)
  half = side // 2
  wide = jnp.roll(jnp.fft.irfft2(spectrum, y.shape), (half, half), (0, 1))
  kernel = jnp.maximum(wide[:side, :side], 0)
  kernel = jnp.where(kernel < _FAINT * kernel.max(), 0, kernel)
  return kernels.normalise(kernel + 1e-12)


def _derivatives(shape):
  """Transfer functions of the forward differences, [2, h, w']."""
  down = jnp.array([[1.0], [-1.0], [0.0]])
  return jnp.stack([operators.otf(down, shape), operators.otf(down.T, shape)])


def _centred(kernel):
  """Moves the kernel by whole pixels, so that its mean is in the middle."""
  half = kernel.shape[0] // 2
  place = jnp.arange(-half, half + 1, dtype=jnp.float32)
  share = kernel / kernel.sum()
  move = -jnp.stack(
      [(share.sum(1) * place).sum(), (share.sum(0) * place).sum()])
  y, x = jnp.round(move).astype(jnp.int32)
  padded = jnp.pad(kernel, half)
  return jax.lax.dynamic_slice(padded, (half - y, half - x), kernel.shape)
