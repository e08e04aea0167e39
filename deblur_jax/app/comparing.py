"""Two pictures side by side in a file: what `deblur compare` does."""

import os

import numpy as np

from deblur_jax import errors
from deblur_jax.evaluation.report import figures
from deblur_jax.media import files, pictures
from deblur_jax.ops import bit_depth


def run(
    before: str, after: str, out: str, *, overwrite: bool = False,
    max_pixels: int = pictures.MAX_PIXELS) -> None:
  """Writes a sheet: whole, and enlarged where they differ.

  Args:
    before, after: pictures of one size; what is transparent shows white.
    out: a picture, whose suffix says how it is written.
    overwrite: whether it may be there already.
    max_pixels: of a picture.

  Raises:
    UserError: what is no picture, two sizes, a file that cannot be written.
  """
  form = pictures.form_of(out)
  files.check_target(out, inputs=[before, after], overwrite=overwrite)
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
  files.write(out, pictures.encode(sheet, sheet.image, form=form),
              overwrite=overwrite)


def _on_white(picture) -> np.ndarray:
  """uint8 [h, w, 3]."""
  image = picture.image
  if picture.alpha is not None:
    share = picture.alpha / np.float32(np.iinfo(picture.alpha.dtype).max)
    image = 1 - share[..., None] * (1 - image)
  return bit_depth.to_uint8(image)
