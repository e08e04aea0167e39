"""Raw photos of cameras, developed by LibRaw with the extra `raw`.

They become sRGB with 16 bits, by the white balance and the matrix of the
camera. Exposure stays as it was taken: nothing is brightened by the content of
the picture.
"""

import contextlib
import io
import os

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from deblur_jax import errors
from deblur_jax.media import exif, metadata

SUFFIXES = ('.arw', '.cr2', '.cr3', '.dng', '.nef', '.nrw', '.orf', '.pef',
            '.raf', '.rw2', '.rwl', '.srw')
# First bytes of files that are no TIFF: Fujifilm, Olympus, Panasonic, Canon.
_MARKS = (b'FUJIFILMCCD-RAW', b'IIRO', b'IIRS', b'MMOR', b'IIU\0')
_TIFF = (b'II*\0', b'MM\0*')
_PHOTOMETRIC, _SUBFILES, _DNG_VERSION = 262, 330, 50706    # tags
_MOSAIC = 32803              # photometric of one colour a pixel
_MAX_SUBFILES = 10
_SRGB_CURVE = 2.4, 12.92     # exponent and slope at black


class RawPhoto(ImageFile.ImageFile):
  """An opened file; only its header is read, see `developed`.

  Attributes:
    raw: of rawpy.
  """

  format = 'RAW'

  def _open(self):
    import rawpy

    try:
      self.raw = rawpy.imread(self.fp)
    except rawpy.LibRawError as error:
      raise _readable(error) from None
    sizes = self.raw.sizes
    is_turned = sizes.flip in (5, 6)    # by 90 degrees; LibRaw does it
    self._size = (sizes.height, sizes.width) if is_turned else (
        sizes.width, sizes.height)
    self._mode = 'RGB'
    if block := _exif(self.raw, self.fp):
      self.info['exif'] = block


def is_raw(source: str | os.PathLike | bytes, *, name: str) -> bool:
  """Whether a file is a raw photo.

  Args:
    source: a path, or all bytes of a file.
    name: of the file; its suffix counts where a TIFF does not say.
  """
  with metadata.opened(source) as file:
    head = file.read(16)
    if head.startswith(_MARKS) or head[8:10] == b'CR' or (
        head[4:12] == b'ftypcrx '):
      return True
    if not head.startswith(_TIFF):
      return False
    if name.lower().endswith(SUFFIXES):
      return True
    file.seek(0)
    with contextlib.suppress(*metadata.BROKEN):
      return _has_mosaic(file)
  return False


def need_raw(name: str) -> None:
  """Imports the reader of raw photos.

  Args:
    name: of the file, for the message.

  Raises:
    UserError: rawpy is not installed.
  """
  with errors.needs_extra('rawpy', extra='raw',
                          what=f'{name} is a raw photo, which'):
    import rawpy  # noqa: F401


def developed(image: RawPhoto, notes: list[str]) -> np.ndarray:
  """Develops an opened file.

  Args:
    image: opened; only its header is read so far.
    notes: gets a line that says how it was developed.

  Returns:
    uint16 [h, w, 3], sRGB, upright.

  Raises:
    OSError: the file is damaged.
  """
  import rawpy

  try:
    samples = image.raw.postprocess(
        output_bps=16, gamma=_SRGB_CURVE, use_camera_wb=True,
        no_auto_bright=True, output_color=rawpy.ColorSpace.sRGB)
  except rawpy.LibRawError as error:
    raise _readable(error) from None
  notes.append('a raw photo, developed as sRGB by the white balance of the '
               'camera' + ('' if 'exif' in image.info else '; without EXIF'))
  return samples


def _readable(error) -> OSError:
  """Converts an error of LibRaw; its message may be bytes."""
  message, = error.args or (b'damaged',)
  return OSError(message.decode() if isinstance(message, bytes) else message)


def _exif(raw, file) -> bytes | None:
  """EXIF of the upright picture: of the file itself, or of its preview."""
  file.seek(0)
  with contextlib.suppress(*metadata.BROKEN):
    stored = Image.Exif()
    stored.load_from_fp(file)
    if block := metadata.describing(stored):
      return exif.upright(block)
  with contextlib.suppress(Exception):    # as rawpy raises where none is there
    preview = raw.extract_thumb()
    with Image.open(io.BytesIO(preview.data), formats=('JPEG',)) as image:
      return exif.upright(image.info['exif'])
  return None


def _has_mosaic(file) -> bool:
  """Whether a TIFF is a DNG, or one of its pictures is a sensor's mosaic."""
  directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
  first = _loaded(directory, file, directory.next)
  if _DNG_VERSION in first or first.get(_PHOTOMETRIC) == _MOSAIC:
    return True
  inner = first.get(_SUBFILES, ())
  inner = inner if isinstance(inner, tuple) else (inner,)
  return any(
      _loaded(directory, file, place).get(_PHOTOMETRIC) == _MOSAIC
      for place in inner[:_MAX_SUBFILES])


def _loaded(directory, file, place) -> dict:
  file.seek(place)
  directory.load(file)
  return dict(directory)
