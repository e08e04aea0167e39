"""A photo as an upright float picture, and back into a file of its own format.

Alpha, gray, 16 bits, EXIF, the ICC profile and the resolution are kept. Pixels
stay in the colours of their own profile, which is written back: restoration
works on display values and needs no particular primaries.
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
from deblur_jax.media import (
    decoding,
    descriptions,
    metadata,
    raw_photos,
    writers,
)
from deblur_jax.media import exif as exif_blocks
from deblur_jax.ops import bit_depth

SUFFIXES = {  # suffix of a file -> its form
    '.avif': 'AVIF', '.bmp': 'BMP', '.heic': 'HEIF', '.heif': 'HEIF',
    '.jpeg': 'JPEG', '.jpg': 'JPEG', '.png': 'PNG', '.tif': 'TIFF',
    '.tiff': 'TIFF', '.webp': 'WEBP', '.jfif': 'JPEG', '.jpe': 'JPEG',
    '.apng': 'PNG', '.dib': 'BMP', '.hif': 'HEIF'}
READ_ONLY = dict.fromkeys(  # suffix -> suffix of the result
    ('.gif', '.j2k', '.jp2', '.jpf', '.jpx', '.jxl', '.pbm', '.pgm', '.pnm',
     '.ppm', '.tga', *raw_photos.SUFFIXES), '.png') | {'.mpo': '.jpg'}
# Pictures that are not read: suffix -> what they are.
UNREAD = {'.exr': 'OpenEXR', '.hdr': 'Radiance HDR',
          '.psd': 'a file of Photoshop', '.svg': 'a drawing'}
FORMS = tuple(sorted(set(SUFFIXES.values())))
MAX_PIXELS = decoding.MAX_PIXELS
QUALITY = 95          # of JPEG, WebP, AVIF and HEIF
_WITH_16_BITS = ('PNG', 'TIFF')
_WITH_ALPHA = ('AVIF', 'HEIF', 'PNG', 'TIFF', 'WEBP')
_EXIF_ROOM = 65533    # bytes that a segment of a JPEG can hold
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_OVERSHOOT = 0.01     # tolerance for floats outside [0, 1], as filters give


class Picture(NamedTuple):
  """A picture and the metadata that are written back into its file.

  Attributes:
    image: float32 [h, w, 3] in [0, 1], upright, RGB in the profile `icc`.
    alpha: [h, w], uint8 or uint16 as stored, or None.
    bits: of a stored sample, 8 or 16.
    gray: whether it was stored without colour.
    form: one of FORMS.
    exif: EXIF block of the upright picture, without thumbnail, or None.
    icc: bytes of the colour profile, or None.
    dpi: resolution (x, y), or None.
    coding: parameters of the file's compression, for `encode`.
    description: XMP, IPTC, comments and texts.
    notes: what differs from the file, a line each, for the user.
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
  description: descriptions.Description = descriptions.Description()
  notes: tuple[str, ...] = ()


def form_of(path: str | os.PathLike) -> str:
  """The form that belongs to a file's suffix.

  Raises:
    UserError: pictures are not written with this suffix.
  """
  suffix = pathlib.Path(path).suffix.lower()
  if suffix not in SUFFIXES:
    raise errors.UserError(
        f'{path}: a picture cannot be written as {suffix or "no suffix"}; '
        f'take .png, or one of '
        f'{", ".join(one for one in SUFFIXES if one != ".png")}.')
  return SUFFIXES[suffix]


def suffix_by_content(path: str | os.PathLike) -> str | None:
  """The usual suffix of a file's form, whatever its name.

  Args:
    path: of a file.

  Returns:
    Such as '.jpg'; None if the file is no picture that can be read.
  """
  try:
    form = decoding.form(path, name=os.fspath(path))
  except errors.UserError:
    return None
  return next(suffix for suffix, of in SUFFIXES.items()
              if of == form and suffix != '.jpeg')


def read(
    source: str | os.PathLike | bytes, *, max_pixels: int = MAX_PIXELS,
    allow_truncated: bool = False) -> Picture:
  """Reads a picture with its metadata; its content decides, not its name.

  Args:
    source: a path, or the bytes of a file.
    max_pixels: see `decoding.read`.
    allow_truncated: see `decoding.read`.

  Raises:
    UserError: as of `decoding.read`.
  """
  name = 'the picture' if isinstance(source, bytes) else os.fspath(source)
  try:
    stored = decoding.read(source, name=name, max_pixels=max_pixels,
                           allow_truncated=allow_truncated)
  except decoding.Truncated as error:
    raise errors.UserError(
        f'{str(error)[:-1]}; `deblur restore --allow-truncated` takes what '
        'there is.') from None
  except decoding.TooLarge as error:
    raise _with_larger_limit(error) from None
  picture = _from_stored(stored)
  return picture._replace(
      notes=(*_misnamed(name, picture.form), *picture.notes))


def size(
    source: str | os.PathLike, *, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
  """Reads the (height, width) of a file's upright picture from its header.

  Args:
    source: a path.
    max_pixels: see `decoding.read`.

  Raises:
    UserError: as of `decoding.header`.
  """
  try:
    return decoding.header(
        source, name=os.fspath(source), max_pixels=max_pixels).size
  except decoding.TooLarge as error:
    raise _with_larger_limit(error) from None


def from_pil(image: Image.Image) -> Picture:
  """Converts a Pillow image as `read` does its file, with EXIF and profile.

  Raises:
    UserError: as of `decoding.read`.
  """
  stored = decoding.from_image(image)
  return _from_stored(stored._replace(form=stored.form or 'PNG'))


def from_array(array: np.ndarray) -> Picture:
  """Converts an array.

  Args:
    array: [h, w], [h, w, 1], [h, w, 3] or, with alpha, [h, w, 4]; uint8,
      uint16, or floats in [0, 1], whose alpha is stored with 16 bits.

  Raises:
    UserError: another shape or type, an empty array, floats out of range.
  """
  if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
    raise errors.UserError(
        'A picture is [h, w], [h, w, 1], [h, w, 3] or [h, w, 4], not '
        f'{list(array.shape)}{_advice(array.shape)}.')
  if 0 in array.shape:
    raise errors.UserError(f'A picture of {list(array.shape)} is empty.')
  if array.dtype.kind == 'f' or array.dtype.name == 'bfloat16':
    colours, bits = array.astype(np.float32), 16
    _check_range(colours)
  elif array.dtype in (np.uint8, np.uint16):
    colours, bits = bit_depth.to_float(array), 8 * array.dtype.itemsize
  else:
    raise errors.UserError(
        f'A picture of {array.dtype}; make it uint8, uint16 or floats in '
        '[0, 1].')
  colours, alpha = decoding.split(colours.reshape(*array.shape[:2], -1))
  if alpha is not None:
    alpha = (array[..., 3] if array.dtype.kind == 'u'
             else bit_depth.quantize(alpha, bits=bits))
  return Picture(colours, alpha, bits=bits, gray=array.shape[2:] in ((), (1,)))


def _advice(shape) -> str:
  """How an array of another shape becomes a picture; '' if it is unclear."""
  if len(shape) == 3 and shape[0] in (1, 3, 4):
    return '; put the channels last: x.transpose(1, 2, 0)'
  return '; give one picture after another' if len(shape) == 4 else ''


def to_array(
    picture: Picture, image: np.ndarray, *, like: np.ndarray) -> np.ndarray:
  """Gives a restored picture the channels and the dtype of an array.

  Args:
    picture: the result of `from_array`.
    image: restored, [h, w, 3] in [0, 1].
    like: the array that `from_array` converted.
  """
  if like.dtype.kind == 'u':
    out = _samples(picture, image, picture.bits)
  else:
    out = np.clip(_colours(picture, image), 0, 1)
    if picture.alpha is not None:
      alpha = (like[..., 3] if like.shape[:2] == out.shape[:2] else
               bit_depth.to_float(_fitted(picture.alpha, out.shape[:2], 16)))
      out = np.concatenate([out, alpha[..., None]], axis=-1)
  return out.astype(like.dtype).reshape(*out.shape[:2], *like.shape[2:])


def to_pil(picture: Picture, image: np.ndarray) -> Image.Image:
  """Converts a restored [h, w, 3] in [0, 1] to a Pillow image.

  It has 16 bits only for gray without alpha: Pillow has no such colours.
  """
  bits = 16 if (picture.bits, picture.gray, picture.alpha is None) == (
      16, True, True) else 8
  out = Image.fromarray(np.squeeze(_samples(picture, image, bits), -1)
                        if bits == 16 else _squeezed(picture, image))
  out.info.update(for_pillow(picture))
  return out


def lost(picture: Picture, *, form: str) -> tuple[str, ...]:
  """Lists what of a picture is lost in a form, a line each."""
  lines = []
  if picture.bits == 16 and form not in _WITH_16_BITS:
    lines.append(f'16 bits became 8, as {form} has no more')
  if form == 'BMP' and (picture.exif or picture.icc):
    lines.append('BMP keeps neither EXIF nor a colour profile')
  if form == 'JPEG' and len(picture.exif or b'') > _EXIF_ROOM:
    lines.append('its EXIF is too long for JPEG and is left out')
  if form == 'HEIF' and picture.alpha is not None:
    lines.append('HEIF compresses the alpha, too')
  return (*lines, *descriptions.lost(picture.description, form))


def check_form(picture: Picture, form: str) -> None:
  """Checks that a form can hold a picture.

  Raises:
    UserError: an unknown form, one that has no alpha for a picture that is
      partly transparent, or one whose encoder is not installed.
  """
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
  """Encodes a restored image with the metadata of its picture.

  Args:
    picture: the picture that was read.
    image: float32 [h, w, 3] in [0, 1]; alpha is resized to its size.
    form: one of FORMS; None is the form of the picture.
    quality: 1 to 100, of JPEG, WebP, AVIF and HEIF; None is QUALITY, or the
      quality of the JPEG that was read where that is higher, or lossless for a
      lossless WebP.
    strip_gps: whether the place is removed, and with it XMP, IPTC, comments and
      texts that name one.

  Returns:
    The bytes of a file.

  Raises:
    UserError: as of `check_form`, an image that is not finite, or an image that
      the encoder refuses, such as one that is too large for the form.
  """
  form = form or picture.form
  check_form(picture, form)
  if strip_gps:
    picture = without_place(picture)
  about = for_pillow(picture, size=image.shape[:2])
  bits = picture.bits if form in _WITH_16_BITS else 8
  if form == 'TIFF' or bits == 16:
    to_file = writers.to_tiff if form == 'TIFF' else writers.to_png16
    return to_file(
        _samples(picture, image, bits), exif=about.get('exif'),
        icc=about.get('icc_profile'), dpi=about.get('dpi'),
        description=descriptions.kept_in(picture.description, form))
  if form == 'JPEG' and len(about.get('exif', b'')) > _EXIF_ROOM:
    del about['exif']
  if form not in _WITH_ALPHA:
    picture = picture._replace(alpha=None)
  return saved(
      Image.fromarray(_squeezed(picture, image)), form, about,
      **_options(picture, form, quality),
      **descriptions.for_pillow(picture.description, form))


def saved(
    image: Image.Image, form: str, about: Mapping[str, Any], **options
) -> bytes:
  """Encodes a Pillow image.

  Args:
    image: the image.
    form: one of FORMS.
    about: of `for_pillow`; EXIF that cannot be written is left out.
    **options: of Pillow.

  Raises:
    UserError: the encoder refuses the image.
  """
  file = io.BytesIO()
  try:
    image.save(file, form, **about, **options)
  except metadata.BROKEN as error:
    if 'exif' in about:  # Pillow rewrites it for AVIF, and may fail
      return saved(image, form, {
          name: value for name, value in about.items() if name != 'exif'},
                   **options)
    raise errors.UserError(
        f'Cannot write the picture as {form}: {decoding.text(error)}; take '
        'another form, such as .png.') from None
  return file.getvalue()


def without_place(picture: Picture) -> Picture:
  """Removes the place from EXIF, and the descriptions that may name one."""
  try:
    exif = picture.exif and exif_blocks.without_gps(picture.exif)
  except exif_blocks.BROKEN:
    exif = None
  return picture._replace(
      exif=exif,
      description=descriptions.without_place(picture.description))


def for_pillow(
    picture: Picture, *, size: tuple[int, int] | None = None
) -> dict[str, Any]:
  """Pillow's options that write EXIF, colour profile and resolution.

  Args:
    picture: that was read.
    size: (height, width) of the result; None leaves that in EXIF as it is.
  """
  block = picture.exif
  try:
    if block and size:
      block = exif_blocks.with_size(block, height=size[0], width=size[1])
  except exif_blocks.BROKEN:
    block = None
  about = {'exif': block, 'icc_profile': picture.icc, 'dpi': picture.dpi}
  return {name: value for name, value in about.items() if value}


def _with_larger_limit(error):
  return errors.UserError(f'{str(error)[:-1]}, or let `deblur restore '
                          '--max-pixels` take more.')


def _misnamed(name, form):
  named = SUFFIXES.get(pathlib.Path(name).suffix.lower())
  return () if named in (None, form) else (
      f'it is a {form}; its name says otherwise',)


def _is_transparent(picture):
  alpha = picture.alpha
  return alpha is not None and bool((alpha < np.iinfo(alpha.dtype).max).any())


def _from_stored(stored):
  colours, alpha = decoding.split(stored.samples)
  return Picture(
      bit_depth.to_float(colours), alpha, bits=8 * colours.dtype.itemsize,
      gray=stored.samples.shape[-1] < 3, form=stored.form, exif=stored.exif,
      icc=stored.icc, dpi=stored.dpi, coding=stored.coding,
      description=stored.description, notes=stored.notes)


def _check_range(array):
  if not np.isfinite(array).all():
    raise errors.UserError(
        'A picture is finite everywhere; this one has NaN or infinity.')
  low, high = array.min(), array.max()
  if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):
    raise errors.UserError(
        f'A picture of floats is in [0, 1], not [{low:g}, {high:g}]; divide '
        'it by its white, such as 255.')


def _colours(picture, image):
  """float32 [h, w, 1 or 3], with as many channels as the picture stores."""
  image = np.asarray(image, np.float32)
  if image.ndim != 3 or image.shape[-1] != 3:
    raise errors.UserError(
        f'Expected an image [h, w, 3], got {list(image.shape)}.')
  return (image @ _LUMA)[..., None] if picture.gray else image


def _samples(picture, image, bits):
  """Stored samples, uint8 or uint16 [h, w, 1 to 4]."""
  colours = _colours(picture, image)
  if not np.isfinite(colours).all():
    raise errors.UserError('The restored picture is not finite everywhere.')
  samples = bit_depth.quantize(colours, bits=bits)
  if picture.alpha is None:
    return samples
  alpha = _fitted(picture.alpha, samples.shape[:2], bits)
  return np.concatenate([samples, alpha[..., None]], axis=-1)


def _fitted(alpha, size, bits):
  """Alpha with this size and bit depth; unchanged where it has them."""
  if alpha.shape == size and 8 * alpha.dtype.itemsize == bits:
    return alpha
  image = Image.fromarray(bit_depth.to_float(alpha))
  if alpha.shape != size:
    image = image.resize(size[::-1], Image.Resampling.BICUBIC)
  return bit_depth.quantize(np.asarray(image), bits=bits)


def _squeezed(picture, image):
  """uint8 [h, w] or [h, w, 2 to 4], the shapes that Pillow takes."""
  samples = _samples(picture, image, 8)
  return samples[..., 0] if samples.shape[-1] == 1 else samples


def _options(picture, form, quality):
  """Pillow's options for a form."""
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
  if form == 'PNG':  # a third of the default level's time, 3 % longer
    return {'compress_level': 4}
  return {}


def _quality_of(fineness):
  """The lowest quality, at least QUALITY, as fine as a JPEG's table."""
  return next((quality for quality in range(QUALITY, 100)
               if _fineness(quality) <= fineness), 100)


@functools.cache
def _fineness(quality):
  file = io.BytesIO()
  Image.new('L', (8, 8)).save(file, 'JPEG', quality=quality)
  with Image.open(file) as image:
    return sum(image.quantization[0])
