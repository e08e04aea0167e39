"""Several frames of a video as one image: [..., 3 * window], in order of time.

The frame to restore is the one in the middle. NumPy or JAX.
"""

import jax
from jax import lax

from deblur_jax import errors


def middle(blur):
  """The frame in the middle, [..., 3]; of a single picture, the picture."""
  first = (blur.shape[-1] - 3) // 2
  if isinstance(blur, jax.Array):
    # An index gathers where height and width are symbols.
    return lax.slice_in_dim(blur, first, first + 3, axis=-1)
  return blur[..., first:first + 3]


def still(blur, *, window: int):
  """A picture [..., 3] as `window` equal frames; that many frames as they are.

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
  # By an index, which NumPy and JAX read alike.
  return blur[..., [0, 1, 2] * window]
