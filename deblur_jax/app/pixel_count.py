"""Computes from headers of files how many pixels a network processes."""

import os
from collections.abc import Sequence

from deblur_jax import errors
from deblur_jax.app import blending
from deblur_jax.media import animations, pictures, videos


def megapixels(
    source: str | os.PathLike, *, regions: Sequence[blending.Region] = (),
    max_pixels: int = pictures.MAX_PIXELS,
    first_frame: bool = False) -> float | None:
  """Computes the input of the network for a picture or a video.

  Args:
    source: a file; only its header is read.
    regions: see `blending.restore_in`.
    max_pixels: larger pictures are refused.
    first_frame: whether only the first frame of an animated picture counts.

  Returns:
    Megapixels, times the frames of a video or an animated picture; None if they
    are not known or the file cannot be read.
  """
  try:
    if videos.is_video(source):
      height, width, count = videos.size(source, max_pixels=max_pixels)
    else:
      height, width = pictures.size(source, max_pixels=max_pixels)
      count = 1 if first_frame else animations.count(source)
  except errors.UserError:
    return None
  return count and count * blending.megapixels(regions, (height, width))
