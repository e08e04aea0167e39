"""Animated pictures (GIF, APNG, WebP, AVIF) as a list of frames, and back.

A GIF becomes an APNG: a palette of 256 colours cannot hold restored frames.
Metadata and the orientation are kept as those of still pictures.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageSequence

from deblur_jax import errors
from deblur_jax.media import (
    decoding,
    descriptions,
    metadata,
    pictures,
    sixteen_bit,
)
from deblur_jax.ops import bit_depth

FORMS = ('AVIF', 'PNG', 'WEBP')    # that can move


class Animation(NamedTuple):
  """The frames of a file.

  Attributes:
    frames: uint8 [h, w, 3], or [h, w, 4] with alpha, upright, as they are
      shown.
    durations: of each frame, in milliseconds.
    loop: how often it is shown; 0 is for ever.
    still: the first frame, with the metadata and the notes of the file.
  """

  frames: list[np.ndarray]
  durations: list[int]
  loop: int
  still: pictures.Picture


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
          f'than {max_pixels:,} together are refused; `deblur restore '
          '--max-pixels` takes more, `--first-frame` the first alone.')
    # A GIF without the number is shown once, an APNG without it for ever.
    loop = image.info.get('loop', 1 if image.format == 'GIF' else 0)
    is_deep = sixteen_bit.holds(image) or image.mode == 'I;16'
    bits = 16 if is_deep else metadata.coded_bits(source)
    found, durations, comments = [], [], {}
    for frame in ImageSequence.Iterator(image):
      frame.load()
      durations.append(round(frame.info.get('duration', 0)))
      found.append(_shown(frame))
      if image.format == 'GIF':    # a comment is of one frame
        comments[frame.info.get('comment', b'')] = None
    # After the frames, because a PNG may have its metadata behind them.
    metadata.add_xmp_of_gif(image, source)
    still, turn = _still(image, bits, b'\n'.join(filter(None, comments)))
    found = [decoding.turned(frame, turn) for frame in found]
    return Animation(found, durations, loop, still._replace(
        image=bit_depth.to_float(found[0][..., :3])))


def encode(
    animation: Animation, frames: Sequence[np.ndarray], *, form: str,
    quality: int | None = None, strip_gps: bool = False) -> bytes:
  """Encodes restored frames with the times of an animation.

  Args:
    animation: that was read.
    frames: uint8 [h, w, 3], one for each of its frames, which keep their alpha.
    form: one of FORMS.
    quality: 1 to 100, of WebP and AVIF; None is `pictures.QUALITY`.
    strip_gps: see `pictures.encode`.

  Returns:
    The bytes of a file.

  Raises:
    UserError: the encoder refuses the frames.
  """
  shown = [Image.fromarray(np.concatenate(
      [frame, old[..., 3:]], axis=-1))
           for frame, old in zip(frames, animation.frames, strict=True)]
  options = {} if form == 'PNG' else {'quality': quality or pictures.QUALITY}
  still = animation.still
  if strip_gps:
    still = pictures.without_place(still)
  return pictures.saved(
      shown[0], form, pictures.for_pillow(still, size=frames[0].shape[:2]),
      save_all=True, append_images=shown[1:], duration=animation.durations,
      loop=animation.loop, **options,
      **descriptions.for_pillow(still.description, form))


def _shown(frame) -> np.ndarray:
  if frame.mode == 'I;16':    # which Pillow clips to 8 bits
    gray = bit_depth.to_float(np.asarray(frame).astype(np.uint16))
    return np.repeat(bit_depth.quantize(gray, bits=8)[..., None], 3, axis=-1)
  mode = 'RGBA' if frame.has_transparency_data else 'RGB'
  return np.asarray(frame.convert(mode))


def _still(image, bits, comment) -> tuple[pictures.Picture, int]:
  """Reads the metadata, after all frames, and the orientation."""
  notes = [*metadata.gamma(image)]
  if bits > 8:
    notes.append(f'its {bits} bits became 8')
  exif, turn = metadata.exif(image, notes)
  dpi = metadata.dpi(image)
  description = descriptions.read(image, notes)._replace(comment=comment)
  return pictures.Picture(
      None, exif=exif, icc=image.info.get('icc_profile'),
      dpi=dpi[::-1] if dpi and turn >= 5 else dpi, description=description,
      notes=tuple(notes)), turn


def _count(image):
  moves = image.format in ('AVIF', 'GIF', 'PNG', 'WEBP')
  return getattr(image, 'n_frames', 1) if moves else 1
