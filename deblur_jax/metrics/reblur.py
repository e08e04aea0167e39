"""The reblur residual: what a second blur leaves of the blurry image."""

import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import exposure, operators
from deblur_jax.metrics import common
from deblur_jax.metrics.record import Metric
from deblur_jax.state import Array


def reblur_residual(
    restored: Array, blur: Array, kernel: Array, *,
    gamma: float = 1.0) -> Array:
  """mean |k * x - y| where the kernel fits into the image.

  * is the true convolution, with a flipped kernel. It needs no sharp image, and
  ringing and noise raise it. It does not see what the kernel blurs away, and
  x = y with k = 1 gives 0.

  Args:
    restored: x, float32 [n, h, w, 3] in [0, 1].
    blur: y, the same shape.
    kernel: k, [kh, kw] for all images or [n, kh, kw], of odd sides.
    gamma: exponent of the camera's response: x^gamma is blurred. The residual
      is the one of stored values for any gamma.

  Returns:
    float32 [n] in [0, 1]; 0 for a perfect fit.

  Raises:
    UserError: unequal shapes, images that are not RGB, or a kernel that has
      even sides or is larger than the images.
  """
  if restored.shape != blur.shape:
    raise errors.UserError(
        'Expected restored and blurry images of equal shapes, got '
        f'{restored.shape} and {blur.shape}.')
  common.check_images(restored)
  n, h, w, _ = restored.shape
  if kernel.ndim == 2:
    kernel = jnp.broadcast_to(kernel[None], (n, *kernel.shape))
  kh, kw = kernel.shape[-2:]
  if kernel.ndim != 3 or len(kernel) != n or not kh % 2 or not kw % 2:
    raise errors.UserError(
        f'Expected a kernel [kh, kw] or [{n}, kh, kw] of odd sides, got '
        f'{kernel.shape}.')
  # Without mid-grey, transforms round less; the kernel's sum adds it again.
  operator = operators.uniform(kernel, border='valid')
  grey = 0.5 * kernel.sum((1, 2))[:, None, None, None]
  light = exposure.to_light(restored, gamma=gamma)
  again = exposure.to_stored(
      jnp.clip(operator.forward(light - 0.5) + grey, 0, 1), gamma=gamma)
  top, left = kh // 2, kw // 2
  fit = blur[:, top:h - top, left:w - left]
  return common.mean(jnp.abs(again - fit))


RESIDUAL = Metric(
    reblur_residual, 'mean |k * x - y| of the restored and the blurry image',
    higher_is_better=False, range=(0, 1), inputs=('blur', 'kernel'))
