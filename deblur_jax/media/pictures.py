"""Any photo as an upright float picture, and back to the file that it was.

Kept are alpha, gray, 16 bits, EXIF, the ICC profile and the resolution. Pixels
stay in their own profile, which is written back: what restores works on
display values and asks for no certain primaries.
"""

import functools
import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deblur_jax import errors
from deblur_jax.media import decoding, writers
from deblur_jax.media import exif as exif_blocks

SUFFIXES = {  # of files -> the form that is written there
    '.avif': 'AVIF', '.bmp': 'BMP', '.heic': 'HEIF', '.heif': 'HEIF',
    '.jpeg': 'JPEG', '.jpg': 'JPEG', '.png': 'PNG', '.tif': 'TIFF',
    '.tiff': 'TIFF', '.webp': 'WEBP'}
READ_ONLY = {'.gif': '.png'}  # suffix -> that of its result
FORMS = tuple(sorted(set(SUFFIXES.values())))
MAX_PIXELS = 200_000_000
QUALITY = 95          # of JPEG, WebP, AVIF and HEIF
_WITH_16_BITS = ('PNG', 'TIFF')
_WITH_ALPHA = ('AVIF', 'HEIF', 'PNG', 'TIFF', 'WEBP')
_EXIF_ROOM = 65533    # bytes of one segment of a JPEG
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_OVERSHOOT = 0.01     # of floats outside [0, 1], as a filter leaves it


class Picture(NamedTuple):
  """A picture and all that goes back into its file.

  image: float32 [h, w, 3] in [0, 1], upright, RGB in the profile of `icc`.
  alpha: [h, w], uint8 or uint16 as stored, or None.
  bits: 8 or 16, of a stored sample.
  gray: whether it was stored without colour.
  form: one of FORMS.
  exif: a block for the upright picture, without thumbnail, or None.
  icc: the profile's bytes, or None.
  dpi: (x, y), or None.
  coding: how the file was coded, as `encode` needs it.
  notes: lines that tell the user what is not as in the file.
  """

  image: np.ndarray
  alpha: np.ndarray | None = None
  bits: int = 8
  gray: bool = False
  form: str = 'PNG'
  exif: bytes | None = None
  icc: bytes | None = None
  dpi: tuple[float, float] | None = None
  coding: Mapping[str, Any] = {}
  notes: tuple[str, ...] = ()


def form_of(path: str | os.PathLike) -> str:
  """The form that a file's suffix names; a UserError where it names none."""
  suffix = pathlib.Path(path).suffix.lower()
  if suffix not in SUFFIXES:
    raise errors.UserError(
        f'{path}: a picture cannot be written as {suffix or "no suffix"}; '
        f'known: {", ".join(SUFFIXES)}.{errors.suggest(suffix, SUFFIXES)}')
  return SUFFIXES[suffix]


def read(
    source: str | os.PathLike | bytes, *, max_pixels: int = MAX_PIXELS,
    allow_truncated: bool = False) -> Picture:
  """The picture in a file, or in a file's bytes, whatever its name says.

  Args:
    source: a path, or the bytes of a file.
    max_pixels: more are refused by the header alone.
    allow_truncated: takes what there is of a file that ends too early, for
      every thread that reads at that time.

  Raises:
    UserError: no such file, no picture, broken, too large, 32 bits a sample.
  """
  name = 'the picture' if isinstance(source, bytes) else os.fspath(source)
  try:
    stored = decoding.from_file(
        source, name=name, max_pixels=max_pixels,
        allow_truncated=allow_truncated)
  except errors.UserError:
    raise
  except decoding.BROKEN as error:
    told = decoding.text(error)
    mend = ('; `deblur restore --allow-truncated` takes what there is'
            if 'truncated' in told and not allow_truncated else '')
    raise errors.UserError(f'Cannot read {name}: {told}{mend}.') from None
  picture = _from_stored(stored)
  return picture._replace(
      notes=(*_misnamed(name, picture.form), *picture.notes))


def size(
    source: str | os.PathLike, *, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
  """(height, width) of the upright picture in a file, by its header alone.

  Raises:
    UserError: no such file, no picture, a header that is broken, too large.
  """
  try:
    return decoding.size(
        source, name=os.fspath(source), max_pixels=max_pixels)
  except errors.UserError:
    raise
  except decoding.BROKEN as error:
    raise errors.UserError(
        f'Cannot read {source}: {decoding.text(error)}.') from None


def from_pil(image: Image.Image) -> Picture:
  """A Pillow image as `read` gives its file: upright, with EXIF and profile."""
  try:
    stored = decoding.from_image(image, again=None, name='the picture')
  except errors.UserError:
    raise
  except decoding.BROKEN as error:
    raise errors.UserError(
        f'Cannot read the picture: {decoding.text(error)}.') from None
  return _from_stored(stored._replace(form=stored.form or 'PNG'))


def from_array(array: np.ndarray) -> Picture:
  """A picture of [h, w], [h, w, 1], [h, w, 3] or, with alpha, [h, w, 4].

  uint8, uint16, or floats in [0, 1], whose alpha counts as 16 bits.
  """
  if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
    raise errors.UserError(
        'A picture is [h, w], [h, w, 1], [h, w, 3] or [h, w, 4], not '
        f'{list(array.shape)}.')
  if 0 in array.shape:
    raise errors.UserError(f'A picture of {list(array.shape)} is empty.')
  if np.issubdtype(array.dtype, np.floating):
    _check_range(array)
    colours, bits = array, 16
  elif array.dtype in (np.uint8, np.uint16):
    bits = 8 * array.dtype.itemsize
    colours = array.astype(np.float32) / (2**bits - 1)
  else:
    raise errors.UserError(
        f'A picture of {array.dtype}; make it uint8, uint16 or floats in '
        '[0, 1].')
  colours = colours.astype(np.float32).reshape(*array.shape[:2], -1)
  alpha = None
  if colours.shape[-1] == 4:
    alpha = (array[..., 3] if array.dtype.kind == 'u'
             else quantized(array[..., 3], bits=bits))
  gray = colours.shape[-1] == 1
  return Picture(_rgb(colours), alpha, bits=bits, gray=gray)


def to_array(
    picture: Picture, image: np.ndarray, *, like: np.ndarray) -> np.ndarray:
  """The restored [h, w, 3] with the channels and the dtype of an array.

  Args:
    picture: what `from_array` made of the array.
    image: [h, w, 3] in [0, 1], restored.
    like: that array.
  """
  if like.dtype.kind == 'u':
    out = _samples(picture, image, picture.bits)
  else:
    out = np.clip(_colours(picture, image), 0, 1)
    if picture.alpha is not None:
      alpha = (like[..., 3] if like.shape[:2] == out.shape[:2] else
               _fitted(picture.alpha, out.shape[:2], 16) / np.float32(65535))
      out = np.concatenate([out, alpha[..., None]], axis=-1)
  return out.astype(like.dtype).reshape(*out.shape[:2], *like.shape[2:])


def to_pil(picture: Picture, image: np.ndarray) -> Image.Image:
  """The restored [h, w, 3] as a Pillow image; 16 bits stay where it is gray."""
  bits = 16 if (picture.bits, picture.gray, picture.alpha is None) == (
      16, True, True) else 8
  out = Image.fromarray(np.squeeze(_samples(picture, image, bits), -1)
                        if bits == 16 else _squeezed(picture, image))
  out.info.update(_about(picture))
  return out


def lost(picture: Picture, *, form: str) -> tuple[str, ...]:
  """What a form cannot keep of a picture, a line each."""
  lines = []
  if picture.bits == 16 and form not in _WITH_16_BITS:
    lines.append(f'16 bits became 8, as {form} has no more')
  if form == 'BMP' and (picture.exif or picture.icc):
    lines.append('BMP keeps neither EXIF nor a colour profile')
  if form == 'JPEG' and len(picture.exif or b'') > _EXIF_ROOM:
    lines.append('its EXIF is too long for JPEG and is left out')
  if form == 'HEIF' and picture.alpha is not None:
    lines.append('HEIF compresses the alpha, too')
  return tuple(lines)


def check_form(picture: Picture, form: str) -> None:
  """Raises a UserError where a form cannot hold a picture of this kind."""
  if form not in FORMS:
    errors.look_up(dict.fromkeys(FORMS), form, what='form of a picture')
  if form not in _WITH_ALPHA and _is_transparent(picture):
    raise errors.UserError(
        f'The picture is partly transparent, which {form} cannot keep; write '
        f'.png, .webp or .tiff.')
  if form == 'HEIF':
    decoding.need_heif('HEIF')


def encode(
    picture: Picture, image: np.ndarray, *, form: str | None = None,
    quality: int | None = None, strip_gps: bool = False) -> bytes:
  """The bytes of a file with a restored image and all else of its picture.

  Args:
    picture: what was read.
    image: float32 [h, w, 3] in [0, 1]; of another size, alpha is resized.
    form: one of FORMS; None is the picture's own.
    quality: 1 to 100 of JPEG, WebP, AVIF and HEIF; None is QUALITY, or that of
      the JPEG that was read where it is higher, or no loss where a WebP had
      none.
    strip_gps: leaves the place out of EXIF, and that only.

  Raises:
    UserError: alpha in a form that has none, or more than the form can hold.
  """
  form = form or picture.form
  check_form(picture, form)
  about = _about(picture, size=image.shape[:2], strip_gps=strip_gps)
  bits = picture.bits if form in _WITH_16_BITS else 8
  if form == 'TIFF' or bits == 16:
    to_file = writers.to_tiff if form == 'TIFF' else writers.to_png16
    return to_file(
        _samples(picture, image, bits), exif=about.get('exif'),
        icc=about.get('icc_profile'), dpi=about.get('dpi'))
  if form == 'JPEG' and len(about.get('exif', b'')) > _EXIF_ROOM:
    del about['exif']
  if form not in _WITH_ALPHA:
    picture = picture._replace(alpha=None)
  file = io.BytesIO()
  try:
    Image.fromarray(_squeezed(picture, image)).save(
        file, form, **about, **_options(picture, form, quality))
  except decoding.BROKEN as error:
    if 'exif' in about:  # which Pillow writes anew for AVIF, if it can
      return encode(picture._replace(exif=None), image, form=form,
                    quality=quality)
    raise errors.UserError(
        f'Cannot write the picture as {form}: {decoding.text(error)}; take '
        'another form, such as .png.') from None
  return file.getvalue()


def quantized(image: np.ndarray, *, bits: int) -> np.ndarray:
  """[0, 1] -> uint8 or uint16, clipped and rounded to the nearest."""
  image = np.asarray(image, np.float32)
  if not np.isfinite(image).all():
    raise errors.UserError('The restored picture is not finite everywhere.')
  levels = np.rint(np.clip(image, 0, 1) * (2**bits - 1))
  return levels.astype(np.uint8 if bits == 8 else np.uint16)


def _misnamed(name, form):
  named = SUFFIXES.get(pathlib.Path(name).suffix.lower())
  return () if named in (None, form) else (
      f'it is a {form}, whatever its name says',)


def _is_transparent(picture):
  alpha = picture.alpha
  return alpha is not None and bool((alpha < np.iinfo(alpha.dtype).max).any())


def _from_stored(stored):
  samples = stored.samples
  channels = samples.shape[-1]
  bits = 8 * samples.dtype.itemsize
  colours = samples[..., :channels - (channels in (2, 4))]
  return Picture(
      _rgb(colours.astype(np.float32) / (2**bits - 1)),
      samples[..., -1] if channels in (2, 4) else None, bits=bits,
      gray=channels < 3, form=stored.form, exif=stored.exif, icc=stored.icc,
      dpi=stored.dpi, coding=stored.coding, notes=stored.notes)


def _rgb(colours):
  """[h, w, 1, 3 or 4] -> [h, w, 3]."""
  if colours.shape[-1] == 1:
    return np.repeat(colours, 3, axis=-1)
  return colours[..., :3]


def _check_range(array):
  low, high = array.min(), array.max()
  if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):  # or not a number
    raise errors.UserError(
        f'A picture of floats is in [0, 1], not [{low:g}, {high:g}]; divide '
        'it by its white, such as 255.')


def _colours(picture, image):
  """float32 [h, w, 1 or 3], as many as the picture is stored with."""
  image = np.asarray(image, np.float32)
  if image.ndim != 3 or image.shape[-1] != 3:
    raise errors.UserError(
        f'Expected an image [h, w, 3], got {list(image.shape)}.')
  return (image @ _LUMA)[..., None] if picture.gray else image


def _samples(picture, image, bits):
  """uint8 or uint16 [h, w, 1 to 4] as they are stored."""
  samples = quantized(_colours(picture, image), bits=bits)
  if picture.alpha is None:
    return samples
  alpha = _fitted(picture.alpha, samples.shape[:2], bits)
  return np.concatenate([samples, alpha[..., None]], axis=-1)


def _fitted(alpha, size, bits):
  """Alpha of this size and depth; untouched where it has them."""
  most = np.iinfo(alpha.dtype).max
  if alpha.shape == size and most == 2**bits - 1:
    return alpha
  image = Image.fromarray(alpha.astype(np.float32) / most)
  if alpha.shape != size:
    image = image.resize(size[::-1], Image.Resampling.BICUBIC)
  return quantized(np.asarray(image), bits=bits)


def _squeezed(picture, image):
  """uint8 [h, w] or [h, w, 2 to 4], as Pillow wants it."""
  samples = _samples(picture, image, 8)
  return samples[..., 0] if samples.shape[-1] == 1 else samples


def _about(picture, *, size=None, strip_gps=False):
  """What goes with the pixels, by Pillow's names."""
  block = picture.exif
  try:
    if block and size:
      block = exif_blocks.with_size(block, height=size[0], width=size[1])
    if block and strip_gps:
      block = exif_blocks.without_gps(block)
  except exif_blocks.BROKEN:
    block = None
  about = {'exif': block, 'icc_profile': picture.icc, 'dpi': picture.dpi}
  return {name: value for name, value in about.items() if value}


def _options(picture, form, quality):
  """How Pillow is to code a form."""
  if form == 'JPEG':
    coding = picture.coding
    if quality is None and 'fineness' in coding:
      quality = _quality_of(coding['fineness'])
    return {'quality': quality or QUALITY,
            'subsampling': coding.get('subsampling', 0)}
  if form == 'WEBP':  # exact: colours stay where alpha is 0
    if quality is None and picture.coding.get('lossless'):
      return {'lossless': True, 'exact': True}
    return {'quality': quality or QUALITY, 'exact': True}
  if form == 'AVIF':
    lossless_alpha = {'codec': 'aom', 'advanced': {'alpha:lossless': '1'}}
    return {'quality': quality or QUALITY,
            **(lossless_alpha if picture.alpha is not None else {})}
  if form == 'HEIF':
    return {'quality': quality or QUALITY}
  if form == 'PNG':  # a third of the usual level's time, 3 % longer
    return {'compress_level': 4}
  return {}


def _quality_of(fineness):
  """The least quality from QUALITY on that is as fine as a JPEG's table."""
  return next((quality for quality in range(QUALITY, 100)
               if _fineness(quality) <= fineness), 100)


@functools.cache
def _fineness(quality):
  file = io.BytesIO()
  Image.new('L', (8, 8)).save(file, 'JPEG', quality=quality)
  with Image.open(file) as image:
    return sum(image.quantization[0])
