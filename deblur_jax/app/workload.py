"""How much of files goes through a network, by their headers alone."""

import os
from collections.abc import Sequence

from deblur_jax import errors
from deblur_jax.app import blending
from deblur_jax.media import pictures, videos


def megapixels(
    source: str | os.PathLike, *, regions: Sequence[blending.Region] = (),
    max_pixels: int = pictures.MAX_PIXELS) -> float | None:
  """What of a picture or a video goes through a network, by its header alone.

  Args:
    source: a file.
    regions: see `blending.restore_in`.
    max_pixels: more are not taken.

  Returns:
    Megapixels, those of a video times its frames; None where they are not
    known, as of a file that cannot be read.
  """
  try:
    if videos.is_video(source):
      height, width, count = videos.size(source, max_pixels=max_pixels)
    else:
      (height, width), count = pictures.size(source, max_pixels=max_pixels), 1
  except errors.UserError:
    return None
  return count and count * blending.megapixels(regions, (height, width))
