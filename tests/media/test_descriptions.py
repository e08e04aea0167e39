"""XMP, IPTC, comments and texts of a picture are kept, or told to be lost."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from deblur_jax.media import pictures
from deblur_jax.media.descriptions import Description

PHOTO = Image.fromarray(np.random.default_rng(0).integers(
    0, 256, (20, 30, 3), np.uint8))
XMP = b'<x:xmpmeta xmp:Rating="5" tiff:Orientation="%d"/>'
# A resource of Photoshop that holds IPTC: one data set, the title 'Boat'.
IPTC = b'8BIM\x04\x04\0\0\0\0\0\x09\x1c\x02\x05\0\4Boat\0'


def _jpeg(xmp=XMP % 6):
  app13 = b'Photoshop 3.0\0' + IPTC
  file = io.BytesIO()
  PHOTO.save(file, 'JPEG', xmp=xmp, comment=b'by hand', extra=(
      b'\xff\xed' + (len(app13) + 2).to_bytes(2, 'big') + app13))
  return pictures.read(file.getvalue())


def _png(**texts):
  info, file = PngImagePlugin.PngInfo(), io.BytesIO()
  for key, text in texts.items():
    info.add_text(key, text)
  PHOTO.save(file, 'PNG', pnginfo=info)
  return pictures.read(file.getvalue())


def _again(picture, form, **options):
  return pictures.read(
      pictures.encode(picture, picture.image, form=form, **options))


KEPT = {'AVIF': {'xmp'}, 'BMP': set(), 'HEIF': {'xmp'},
        'JPEG': {'xmp', 'resources', 'comment'},
        'PNG': {'xmp', 'comment', 'texts'},
        'TIFF': {'xmp', 'resources'}, 'WEBP': {'xmp'}}


@pytest.mark.parametrize('form', pictures.FORMS)
def test_what_a_form_can_hold_is_kept_and_the_rest_is_told(form):
  own = Description(XMP % 1, IPTC, b'by hand', {})
  picture = _jpeg()
  assert picture.description == own and picture.image.shape == (30, 20, 3)
  kept = {key: value for key, value in own._asdict().items()
          if key in KEPT[form]}
  if form == 'PNG':
    kept['texts'] = {'Comment': kept.pop('comment').decode()}
  assert _again(picture, form).description == Description(**kept)
  line = ' '.join(pictures.lost(picture, form=form))
  for field, name in (('xmp', 'XMP'), ('resources', 'IPTC'),
                      ('comment', 'comment')):
    assert (name in line) == (field not in KEPT[form])


@pytest.mark.parametrize('bits', [8, 16])
def test_texts_of_a_png(bits):
  picture = _png(Author='Ä. Müller', Title='文字')._replace(bits=bits)
  again = _again(picture, 'PNG')
  assert (again.bits, again.description) == (bits, picture.description)
  assert again.description.texts == {'Author': 'Ä. Müller', 'Title': '文字'}
  assert 'texts cannot be kept' in pictures.lost(picture, form='JPEG')[-1]


def test_no_place_is_left():
  stripped = _again(_jpeg(), 'JPEG', strip_gps=True).description
  assert stripped == Description()
  texts = _again(_png(Title='x', GPSLatitude='47'), 'PNG', strip_gps=True)
  assert texts.description.texts == {'Title': 'x'}


@pytest.mark.parametrize('mark, what', [
    (b'GCamera:MotionPhoto="1"', 'the video of a motion photo'),
    (b'hdrgm:Version="1.0"', 'the gain map of an HDR photo'),
    (b'GDepth:Format="RangeLinear"', 'a depth map')])
def test_what_stands_beside_the_picture_is_told(mark, what):
  picture = _jpeg(b'<x:xmpmeta %s/>' % mark)
  assert picture.notes == (f'left out: {what}, and XMP, which names it',)
  assert not picture.description.xmp


def test_what_is_too_long_for_a_segment():
  picture = _jpeg()._replace(description=Description(xmp=b'x' * 70_000))
  assert _again(picture, 'JPEG').description == Description()
  assert pictures.lost(picture, form='JPEG') == (
      'its XMP cannot be kept in JPEG',)
