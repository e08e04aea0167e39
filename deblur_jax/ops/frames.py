"""Several frames of a video as one image [..., 3 * window], in order of time.

The middle frame is restored. The functions take NumPy and JAX arrays.
"""

import jax
from jax import lax

from deblur_jax import errors


def middle(blur):
  """Returns the middle frame [..., 3] of [..., 3 * window]; window is odd."""
  first = (blur.shape[-1] - 3) // 2
  if isinstance(blur, jax.Array):
    # Indexing becomes a gather where height and width are symbolic.
    return lax.slice_in_dim(blur, first, first + 3, axis=-1)
  return blur[..., first:first + 3]


def still(blur, *, window: int):
  """Repeats a single picture as `window` equal frames.

  Args:
    blur: a picture [..., 3], or `window` frames [..., 3 * window], which are
      returned as they are.
    window: the number of frames.

  Returns:
    [..., 3 * window].

  Raises:
    UserError: another number of frames.
  """
  channels = blur.shape[-1]
  if channels not in (3, 3 * window):
    raise errors.UserError(
        f'The network takes {window} frames, [..., {3 * window}], or a picture '
        f'[..., 3], got {list(blur.shape)}.')
  if channels == 3 * window:
    return blur
  # Indexing works for NumPy and JAX alike.
  return blur[..., [0, 1, 2] * window]
