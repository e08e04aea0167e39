"""Classical deconvolution with a known kernel, in colour, batched.

Every function is fn(blur [n, h, w, c], kernel [kh, kw] or [n, kh, kw], *,
options) -> [n, h, w, c] and can stand in a table beside the learned methods.

The scene beyond the border took part in the blur, but the picture does not show
it. The assumption that the picture repeats causes ringing. Wiener's filter has
a closed form for circular borders only, so it works on an extended and tapered
picture. The others solve for the larger scene that the 'valid' operator reads,
and assume nothing about the border.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import kernels, operators
from deblur_jax.config import bind
from deblur_jax.state import Array

# The filters f_j of horizontal and vertical differences.
_DERIVATIVES = (((1.0, -1.0),), ((1.0,), (-1.0,)))

# ADMM's penalty on the derivatives. Measured on Levin's pictures with 60 steps:
# 40 gives 0.7 dB less, 800 gives no more.
_RHO_PRIOR = 300.0


def wiener(blur, kernel, *, noise: float = 5e-3) -> Array:
  """Deconvolves with Wiener's filter: X = conj(K) Y / (|K|^2 + noise).

  Args:
    blur: [n, h, w, c].
    kernel: [kh, kw] or [n, kh, kw], sum one, odd sizes.
    noise: ratio of the noise's variance to the picture's, above 0, the same at
      all frequencies.

  Returns:
    [n, h, w, c].

  Raises:
    UserError: noise is not above 0, or `kernels.check_kernel` or
      `operators.check` refuses the kernel.
  """
  _check_positive('noise', noise)
  size = _sizes(blur, kernel)
  wide = _taper(blur, kernel)
  transfer = _transfer(kernel, wide)
  spectrum = jnp.fft.rfft2(wide, axes=(1, 2))
  # No noise at frequency 0, so that the mean brightness stays.
  floor = jnp.full(transfer.shape[1:], noise).at[0, 0].set(0.0)
  inverse = jnp.conj(transfer) / (jnp.abs(transfer) ** 2 + floor[None])
  restored = jnp.fft.irfft2(
      spectrum * inverse, wide.shape[1:3], axes=(1, 2))
  return _middle(restored, blur, size)


def richardson_lucy(
    blur, kernel, *, steps: int = 50, tv: float = 0.0) -> Array:
  """Deconvolves by the iteration of Richardson (1972) and Lucy (1974).

  x <- x / H'1 * H'(y / H x) with the 'valid' operator H, so that x is larger
  than y by the kernel's size less 1.

  Args:
    blur: [n, h, w, c], not negative.
    kernel: [kh, kw] or [n, kh, kw], sum one, odd sizes.
    steps: number of iterations, above 0; too many amplify noise.
    tv: weight of total variation (Dey et al. 2006), 0 or more: divides each
      step by 1 - tv * div(grad x / |grad x|). 0 leaves it out.

  Returns:
    [n, h, w, c].

  Raises:
    UserError: steps is not above 0, tv is negative, or
      `kernels.check_kernel` or `operators.check` refuses the kernel.
  """
  _check_positive('steps', steps)
  if tv < 0:
    raise errors.UserError(f'tv must be 0 or more, got {tv}.')
  size = _sizes(blur, kernel)
  blur = jnp.maximum(blur, 1e-6)
  operator = operators.uniform(kernel, border='valid')
  covered = jnp.maximum(operator.adjoint(jnp.ones_like(blur)), 1e-6)

  def step(_, x):
    seen = jnp.maximum(operator.forward(x), 1e-6)
    x = x * jnp.maximum(operator.adjoint(blur / seen), 0) / covered
    return x / jnp.maximum(1 - tv * _curvature(x), 0.1) if tv else x

  start = _extend(blur, size)
  return kernels.crop_scene(
      jax.lax.fori_loop(0, steps, step, start), size, picture=blur.shape[1:3])


def hyper_laplacian(
    blur, kernel, *, weight: float = 2e4, alpha: float = 2 / 3,
    steps: int = 60) -> Array:
  """Deconvolves with a sparse prior on the gradients of photographs.

  Krishnan & Fergus (2009, eq. 2):

    min over x of  weight / 2 |M (k * x) - y|^2 + sum of |f_j * x|^alpha

  over both derivatives f_j. M crops the scene to the picture, and k * x has
  circular borders on the larger scene (Almeida & Figueiredo 2013), so that each
  step of ADMM is exact: by FFT for x, element by element for the others.

  Args:
    blur: [n, h, w, c].
    kernel: [kh, kw] or [n, kh, kw], sum one, odd sizes.
    weight: of the data term, above 0: larger for less noise. The default is for
      noise of about half a level of 255; use 1000 for two levels.
    alpha: in (0, 1]: 2/3 or 1/2 for natural scenes, 1 for total variation.
    steps: number of ADMM iterations, above 0.

  Returns:
    [n, h, w, c].

  Raises:
    UserError: alpha is outside (0, 1], weight or steps is not above 0, or
      `kernels.check_kernel` or `operators.check` refuses the kernel.
  """
  if not 0 < alpha <= 1:
    raise errors.UserError(f'alpha must lie above 0 and up to 1, got {alpha}.')
  _check_positive('weight', weight)
  _check_positive('steps', steps)
  size = _sizes(blur, kernel)
  start = _extend(blur, size)
  height, width = start.shape[1:3]
  transfer = _transfer(kernel, start)
  filters = jnp.stack([
      operators.otf(jnp.array(taps), (height, width))[None, :, :, None]
      for taps in _DERIVATIVES])
  shown = _inside(jnp.ones_like(blur), size)
  data = _inside(blur, size)
  rho_data, rho_prior = weight / 10, _RHO_PRIOR
  fft = lambda x: jnp.fft.rfft2(x, axes=(-3, -2))
  back = lambda f: jnp.fft.irfft2(f, (height, width), axes=(-3, -2))
  normal = (rho_data * jnp.abs(transfer) ** 2
            + rho_prior * (jnp.abs(filters) ** 2).sum(0))

  def step(_, carry):
    x, u, v, du, dv = carry
    # x: the quadratic problem, exact in the Fourier domain
    right = (rho_data * jnp.conj(transfer) * fft(u - du)
             + rho_prior * (jnp.conj(filters) * fft(v - dv)).sum(0))
    spectrum = right / normal
    seen, slopes = back(transfer * spectrum), back(filters * spectrum[None])
    # u = k * x: drawn to the data inside the picture
    u = (weight * shown * data + rho_data * (seen + du)) / (
        weight * shown + rho_data)
    # v = f * x: shrunk towards 0
    v = proximal(slopes + dv, alpha=alpha, weight=rho_prior)
    return back(spectrum), u, v, du + seen - u, dv + slopes - v

  spectrum = fft(start)
  seen, slopes = back(transfer * spectrum), back(filters * spectrum[None])
  carry = (start, seen, slopes, jnp.zeros_like(seen), jnp.zeros_like(slopes))
  x, *_ = jax.lax.fori_loop(0, steps, step, carry)
  return kernels.crop_scene(x, size, picture=blur.shape[1:3])


def proximal(v, *, alpha: float, weight) -> Array:
  """Computes argmin over w of |w|^alpha + weight / 2 (w - v)^2, elementwise.

  For alpha below 1 the solution is discontinuous in v: 0 up to a threshold;
  above it the larger stationary point, found by Newton's method (Krishnan &
  Fergus 2009, eq. 5).

  Args:
    v: any shape.
    alpha: in (0, 1].
    weight: above 0.

  Returns:
    w, of v's shape.
  """
  size = jnp.abs(v)
  if alpha == 1:
    return jnp.sign(v) * jnp.maximum(size - 1 / weight, 0)
  turn = (2 * (1 - alpha) / weight) ** (1 / (2 - alpha))
  threshold = turn + alpha / weight * turn ** (alpha - 1)
  w = jnp.maximum(size, threshold)
  at = w
  for _ in range(4):
    slope = alpha * w ** (alpha - 1) + weight * (w - at)
    bend = alpha * (alpha - 1) * w ** (alpha - 2) + weight
    w = jnp.maximum(w - slope / bend, turn)
  return jnp.where(size > threshold, jnp.sign(v) * w, 0)


def with_kernel(name: str, **options) -> Callable[[Array, Array], Array]:
  """Returns a deconvolution with its options bound.

  Args:
    name: a name in `DECONVOLUTIONS`.
    **options: keyword arguments of that function.

  Returns:
    A function (blur [n, h, w, c], kernel) -> [n, h, w, c].

  Raises:
    UserError: the name or an option is unknown.
  """
  solve = errors.look_up(DECONVOLUTIONS, name, what='deconvolution')
  return bind(solve, options, where=name)


def from_config(
    options: Mapping[str, Any], *, where: str
) -> Callable[[Array, Array], Array]:
  """Calls `with_kernel` with the options of a config leaf.

  Args:
    options: the leaf: a dict with `name` and the options of that function.
    where: the leaf's place in the config, for messages.

  Returns:
    The function that `with_kernel` returns.

  Raises:
    UserError: the leaf has no name, or `with_kernel` refuses it.
  """
  if 'name' not in options:
    raise errors.UserError(
        f"{where} must name one, such as dict(name='wiener').")
  return with_kernel(**options)


def _curvature(x):
  """div(grad x / |grad x|), the negative gradient of total variation."""
  down = jnp.diff(x, axis=1, append=x[:, -1:])
  right = jnp.diff(x, axis=2, append=x[:, :, -1:])
  length = jnp.sqrt(down ** 2 + right ** 2 + 1e-6)
  down, right = down / length, right / length
  return (jnp.diff(down, axis=1, prepend=jnp.zeros_like(x[:, :1]))
          + jnp.diff(right, axis=2, prepend=jnp.zeros_like(x[:, :, :1])))


def _sizes(blur, kernel):
  """The kernel's size, after a check of shapes and, outside of jit, values."""
  if not isinstance(kernel, jax.core.Tracer):
    for one in kernel.reshape(-1, *kernel.shape[-2:]):
      kernels.check_kernel(one)
  operators.check(blur, kernel)
  return kernel.shape[-2:]


def _transfer(kernel, wide):
  """The transfer function [n or 1, h, w', 1], for spectra of NHWC arrays."""
  kernel = kernel if kernel.ndim == 3 else kernel[None]
  return operators.otf(kernel, wide.shape[1:3])[..., None]


def _extend(blur, size):
  """The picture with its border repeated: [n, h + kh - 1, w + kw - 1, c]."""
  return jnp.pad(blur, ((0, 0), *kernels.margins(size), (0, 0)), mode='edge')


def _inside(blur, size):
  return jnp.pad(blur, ((0, 0), *kernels.margins(size), (0, 0)))


def _middle(x, blur, size):
  return x[:, size[0]:size[0] + blur.shape[1], size[1]:size[1] + blur.shape[2]]


def _taper(blur, kernel):
  """Pads by the kernel's size and blends, so that the picture is periodic."""
  size = kernel.shape[-2:]
  margins = [(side, side) for side in size]
  wide = jnp.pad(blur, ((0, 0), *margins, (0, 0)), mode='symmetric')
  return operators.fade(wide, size, axes=(1, 2))


def _check_positive(name, value):
  if not value > 0:
    raise errors.UserError(f'{name} must be above 0, got {value}.')


# name -> (blur, kernel, *, options) -> restored
DECONVOLUTIONS = {
    'wiener': wiener,
    'richardson_lucy': richardson_lucy,
    'hyper_laplacian': hyper_laplacian,
}
