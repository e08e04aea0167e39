"""What people and programs wrote about a picture beside EXIF.

XMP (ratings, edits), IPTC (titles, captions, keywords), the comment of a JPEG
or GIF and the texts of a PNG are kept as they are, but for what the result does
not have any more: the orientation, and the second picture of an HDR photo, of a
motion photo or of a depth map. In a PNG a comment is a text.
"""

import re
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from PIL import Image, PngImagePlugin

_XMP_OF_PNG = 'XML:com.adobe.xmp'
_COMMENT_OF_PNG = 'Comment'        # its keyword for those of a GIF
_PHOTOSHOP = b'Photoshop 3.0\0'    # before IPTC in the APP13 of a JPEG
_RESOURCES = 34377                 # tag of a TIFF with the same content
_SEGMENT = 65533                   # bytes that a segment of a JPEG can hold
_XMP_ROOM = _SEGMENT - len(b'http://ns.adobe.com/xap/1.0/\0')
# In XMP: what stands behind or beside the picture -> what it is.
_BESIDE = {rb'MotionPhoto|MicroVideo': 'the video of a motion photo',
           rb'hdrgm:|HDRGainMap': 'the gain map of an HDR photo',
           rb'GDepth:|GImage:': 'a depth map'}
_PLACE = re.compile('GPS|Location|City|Country', re.IGNORECASE)
# Texts of a PNG that hold EXIF or other blocks in letters.
_BLOCKS = re.compile('Raw profile type|' + re.escape(_XMP_OF_PNG))


class Description(NamedTuple):
  """What is written about a picture.

  Attributes:
    xmp: a packet of XMP.
    resources: Photoshop's resources, which contain IPTC.
    comment: of a JPEG or GIF.
    texts: of a PNG, by keyword.
  """

  xmp: bytes = b''
  resources: bytes = b''
  comment: bytes = b''
  texts: Mapping[str, str] = {}


def read(image: Image.Image, notes: list[str]) -> Description:
  """Reads the description of a decoded Pillow image.

  Args:
    image: an image that is loaded.
    notes: gets a line for each thing beside the picture that is left out.
  """
  xmp = image.info.get('xmp', b'')
  xmp = xmp if isinstance(xmp, bytes) else str(xmp).encode()
  beside = [what for mark, what in _BESIDE.items() if re.search(mark, xmp)]
  if beside:
    notes.append(f'left out: {" and ".join(beside)}, and XMP, which names it')
    xmp = b''
  xmp = re.sub(rb'(tiff:Orientation(?:="|>))[2-8]', rb'\g<1>1', xmp)
  return Description(
      xmp, _resources(image),
      image.info.get('comment', b'') if image.format in ('JPEG', 'MPO', 'GIF')
      else b'', _texts(image))


def without_place(description: Description) -> Description:
  """Removes all that may name the place: XMP, IPTC, comments, texts that do."""
  return description._replace(
      xmp=b'', resources=b'', comment=b'', texts={
          key: text for key, text in description.texts.items()
          if not _PLACE.search(f'{key} {text}')})


def for_pillow(description: Description, form: str) -> dict[str, Any]:
  """Pillow's options that write a description.

  Args:
    description: of the picture.
    form: of the file.
  """
  kept = kept_in(description, form)
  if form == 'PNG' and kept != Description():
    info = PngImagePlugin.PngInfo()
    for key, text in kept.texts.items():
      info.add_text(key, text)
    if kept.comment:
      info.add_text(_COMMENT_OF_PNG, _text(kept.comment))
    if kept.xmp:
      info.add_itxt(_XMP_OF_PNG, kept.xmp.decode('utf-8', 'replace'))
    return {'pnginfo': info}
  options = {'xmp': kept.xmp, 'comment': kept.comment}
  if kept.resources:
    content = _PHOTOSHOP + kept.resources
    options['extra'] = b'\xff\xed' + struct.pack(
        '>H', len(content) + 2) + content
  return {name: value for name, value in options.items() if value}


def kept_in(description: Description, form: str) -> Description:
  """The part of a description that a form can hold.

  Args:
    description: of the picture.
    form: of the file.
  """
  fields = {'JPEG': ('xmp', 'resources', 'comment'),
            'PNG': ('xmp', 'comment', 'texts'),
            'TIFF': ('xmp', 'resources')}.get(form, ('xmp',))
  kept = Description(**{
      name: getattr(description, name) for name in fields if form != 'BMP'})
  if form == 'JPEG':
    if len(kept.xmp) > _XMP_ROOM:
      kept = kept._replace(xmp=b'')
    if len(_PHOTOSHOP + kept.resources) > _SEGMENT:
      kept = kept._replace(resources=b'')
  return kept


def lost(description: Description, form: str) -> tuple[str, ...]:
  """A line for what of a description a form cannot hold.

  Args:
    description: of the picture.
    form: of the file.
  """
  names = {'xmp': 'XMP', 'resources': 'IPTC', 'comment': 'comment',
           'texts': 'texts'}
  kept = kept_in(description, form)
  missing = [name for field, name in names.items()
             if getattr(description, field) and not getattr(kept, field)]
  return (f'its {" and ".join(missing)} cannot be kept in {form}',
          ) if missing else ()


def _resources(image) -> bytes:
  if image.format == 'TIFF':
    found = image.tag_v2.get(_RESOURCES, b'')
    return found if isinstance(found, bytes) else b''
  return next((content.removeprefix(_PHOTOSHOP)
               for name, content in getattr(image, 'applist', ())
               if name == 'APP13' and content.startswith(_PHOTOSHOP)), b'')


def _text(comment: bytes) -> str:
  """Decodes a comment; no file names its encoding."""
  try:
    return comment.decode()
  except UnicodeDecodeError:
    return comment.decode('latin-1')


def _texts(image) -> dict[str, str]:
  if image.format != 'PNG':
    return {}
  return {key: str(text) for key, text in image.text.items()
          if not _BLOCKS.match(key)}
