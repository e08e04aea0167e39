"""Animated pictures (GIF, APNG, WebP, AVIF) as a list of frames, and back.

A GIF becomes an APNG: a palette of 256 colours cannot hold restored frames.
"""

import io
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageSequence

from deblur_jax import errors
from deblur_jax.media import decoding, pictures

FORMS = ('AVIF', 'PNG', 'WEBP')    # that can move


class Animation(NamedTuple):
  """The frames of a file.

  Attributes:
    frames: uint8 [h, w, 3], or [h, w, 4] with alpha, as they are shown.
    durations: of each frame, in milliseconds.
    loop: how often it is shown; 0 is for ever.
    icc: bytes of the colour profile, or None.
  """

  frames: list[np.ndarray]
  durations: list[int]
  loop: int
  icc: bytes | None


def count(source: str | os.PathLike) -> int:
  """Reads from a file's header how many frames it shows; 1 if it stands still.

  Args:
    source: a path.

  Raises:
    UserError: no such file, or no picture.
  """
  name = os.fspath(source)
  with decoding.opened(source, name=name) as image:
    return _count(image)


def read(
    source: str | os.PathLike, *, max_pixels: int = pictures.MAX_PIXELS
) -> Animation | None:
  """Reads the frames of an animated picture.

  Args:
    source: a path.
    max_pixels: of all frames together.

  Returns:
    The frames; None for a picture that stands still.

  Raises:
    UserError: no such file, no picture, damaged, or too large.
  """
  name = os.fspath(source)
  with decoding.opened(source, name=name) as image:
    frames = _count(image)
    if frames == 1:
      return None
    width, height = image.size
    if frames * width * height > max_pixels:
      raise errors.UserError(
          f'{name} has {frames} frames of {width}x{height} pixels, and more '
          f'than {max_pixels:,} together are refused; --max-pixels takes more, '
          '--first-frame the first alone.')
    # A GIF without the number is shown once, an APNG without it for ever.
    loop = image.info.get('loop', 1 if image.format == 'GIF' else 0)
    found, durations = [], []
    for frame in ImageSequence.Iterator(image):
      frame.load()
      durations.append(round(frame.info.get('duration', 0)))
      mode = 'RGBA' if frame.has_transparency_data else 'RGB'
      found.append(np.asarray(frame.convert(mode)))
    return Animation(found, durations, loop, image.info.get('icc_profile'))


def encode(
    animation: Animation, frames: Sequence[np.ndarray], *, form: str,
    quality: int | None = None) -> bytes:
  """Encodes restored frames with the times of an animation.

  Args:
    animation: that was read.
    frames: uint8 [h, w, 3], one for each of its frames, which keep their alpha.
    form: one of FORMS.
    quality: 1 to 100, of WebP and AVIF; None is `pictures.QUALITY`.

  Returns:
    The bytes of a file.
  """
  shown = [Image.fromarray(np.concatenate(
      [frame, old[..., 3:]], axis=-1))
           for frame, old in zip(frames, animation.frames, strict=True)]
  options = {} if form == 'PNG' else {'quality': quality or pictures.QUALITY}
  if animation.icc:
    options['icc_profile'] = animation.icc
  file = io.BytesIO()
  shown[0].save(
      file, form, save_all=True, append_images=shown[1:],
      duration=animation.durations, loop=animation.loop, **options)
  return file.getvalue()


def _count(image):
  moves = image.format in ('AVIF', 'GIF', 'PNG', 'WEBP')
  return getattr(image, 'n_frames', 1) if moves else 1
