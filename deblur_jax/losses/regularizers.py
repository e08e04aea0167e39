"""Losses of the restored image alone."""

import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.ops import local_pooling
from deblur_jax.state import Array


def tv(image: Array) -> Array:
  """mean sqrt(Dx^2 + Dy^2): total variation   (Rudin et al. 1992).

  Args:
    image: [n, h, w, c] in [0, 1].

  Returns:
    A float32 scalar.
  """
  down = jnp.diff(image, axis=1)[:, :, :-1]
  right = jnp.diff(image, axis=2)[:, :-1]
  # The derivative of the root is infinite at 0.
  return jnp.mean(jnp.sqrt(jnp.square(down) + jnp.square(right) + 1e-8))


def dark_channel(image: Array, *, window: int = 35) -> Array:
  """mean over windows of their darkest value in any colour   (He et al. 2009).

  Blur makes it brighter. Pan et al. (CVPR 2016) count the pixels where it is
  not 0; the mean has a gradient.

  Args:
    image: [n, h, w, c] in [0, 1].
    window: side of the windows, in pixels, at least 1.

  Returns:
    A float32 scalar.

  Raises:
    UserError: an image smaller than the window.
  """
  if window < 1 or min(image.shape[1:3]) < window:
    raise errors.UserError(
        f'The dark channel needs windows of 1 to {min(image.shape[1:3])} '
        f'pixels for crops of {image.shape[1]}x{image.shape[2]}, got {window}.')
  dark = image.min(axis=-1)
  for axis in (1, 2):
    dark = local_pooling.sliding(jnp.minimum, dark, window, axis=axis)
  return jnp.mean(dark)


REGULARIZERS = {
    'dark_channel': dark_channel,
    'tv': tv,
}
