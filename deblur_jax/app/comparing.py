"""Draws two pictures side by side: the command `deblur compare`."""

import os

import numpy as np

from deblur_jax import errors
from deblur_jax.evaluation.report import figures
from deblur_jax.media import output_files, pictures
from deblur_jax.ops import bit_depth


def run(
    before: str, after: str, out: str, *, overwrite: bool = False,
    max_pixels: int = pictures.MAX_PIXELS) -> None:
  """Writes a sheet of two pictures: whole, and enlarged where they differ.

  Args:
    before: a picture; transparent pixels are shown white.
    after: a picture of the same size.
    out: the picture to write; its suffix decides the format.
    overwrite: whether an existing file is replaced.
    max_pixels: larger pictures are refused.

  Raises:
    UserError: a file is no picture, the sizes differ, or `out` cannot be
      written.
  """
  form = pictures.form_of(out)
  output_files.check_target(out, inputs=[before, after], overwrite=overwrite)
  first, second = (pictures.read(path, max_pixels=max_pixels)
                   for path in (before, after))
  (height, width), other = (one.image.shape[:2] for one in (first, second))
  if (height, width) != other:
    raise errors.UserError(
        f'{before} is {width}x{height}, and {after} is {other[1]}x{other[0]}; '
        'compare pictures of one size.')
  sheet = pictures.read(figures.sheet([figures.Picture(
      os.path.basename(before),
      {'before': _on_white(first), 'after': _on_white(second)})]))
  output_files.write(
      out, pictures.encode(sheet, sheet.image, form=form), overwrite=overwrite)


def _on_white(picture) -> np.ndarray:
  """uint8 [h, w, 3]."""
  image = picture.image
  if picture.alpha is not None:
    share = bit_depth.to_float(picture.alpha)
    image = 1 - share[..., None] * (1 - image)
  return bit_depth.to_uint8(image)
