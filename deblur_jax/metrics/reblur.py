"""Does the restored picture, blurred again, give the blurry one?"""

import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import exposure, operators
from deblur_jax.metrics import levels
from deblur_jax.state import Array


def reblur_residual(
    restored: Array, blur: Array, kernel: Array, *,
    gamma: float = 1.0) -> Array:
  """mean |k * x - y| where the kernel fits into the picture.

  True convolution: the kernel is flipped. Needs no sharp picture, and yet is
  not fooled by ringing or noise; only by  x = y, k = 1  and by anything that
  the kernel blurs away.

  Args:
    restored: x, float32 [n, h, w, 3] in [0, 1].
    blur: y, the same shape.
    kernel: k, [kh, kw] for all or [n, kh, kw], of odd sides.
    gamma: of the camera, where light was blurred and not stored values; the
      residual is one of stored values all the same.

  Returns:
    float32 [n], in the units of the pictures; 0 is a perfect fit.
  """
  if restored.shape != blur.shape:
    raise errors.UserError(
        'Expected restored and blurry images of equal shapes, got '
        f'{restored.shape} and {blur.shape}.')
  levels.check_images(restored)
  n, h, w, _ = restored.shape
  if kernel.ndim == 2:
    kernel = jnp.broadcast_to(kernel[None], (n, *kernel.shape))
  kh, kw = kernel.shape[-2:]
  if kernel.ndim != 3 or len(kernel) != n or not kh % 2 or not kw % 2:
    raise errors.UserError(
        f'Expected a kernel [kh, kw] or [{n}, kh, kw] of odd sides, got '
        f'{kernel.shape}.')
  # About mid-grey, where transforms round less; the kernel's sum puts it back.
  operator = operators.uniform(kernel, border='valid')
  grey = 0.5 * kernel.sum((1, 2))[:, None, None, None]
  light = exposure.to_light(restored, gamma=gamma)
  again = exposure.to_stored(
      jnp.clip(operator.forward(light - 0.5) + grey, 0, 1), gamma=gamma)
  top, left = kh // 2, kw // 2
  fit = blur[:, top:h - top, left:w - left]
  return levels.mean(jnp.abs(again - fit))
