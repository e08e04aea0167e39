"""Animated pictures keep their frames, times, loops and metadata."""

import io
import struct
import zlib

import numpy as np
import odd_pictures
import pytest
from PIL import Image, PngImagePlugin

from deblur_jax import errors
from deblur_jax.media import animations, exif, pictures

COLOURS = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]
TIMES = [100, 250, 70]


def _save(path, *, alpha=255, loop=0, **about):
  images = [Image.new('RGBA', (24, 16), (*colour, alpha))
            for colour in COLOURS]
  for image in images:
    image.putpixel((0, 0), (0, 0, 0, 255))
  options = {} if path.suffix == '.gif' else {'quality': 100}
  images[0].save(path, save_all=True, append_images=images[1:],
                 duration=TIMES, loop=loop, **about,
                 **({} if path.suffix == '.png' else options))
  return path


@pytest.mark.parametrize('name', ['a.gif', 'a.png', 'a.webp', 'a.avif'])
@pytest.mark.parametrize('form', animations.FORMS)
def test_frames_times_and_loops_are_kept(name, form, tmp_path):
  source = _save(tmp_path / name)
  animation = animations.read(source)
  assert animations.count(source) == 3 and animation.durations == TIMES
  assert animation.loop == 0
  for frame, colour in zip(animation.frames, COLOURS, strict=True):
    assert np.abs(frame[8, 12, :3].astype(int) - colour).max() < 8
  changed = [255 - frame[..., :3] for frame in animation.frames]
  target = tmp_path / f'b.{form.lower()}'
  target.write_bytes(animations.encode(animation, changed, form=form))
  again = animations.read(target)
  assert (again.durations, again.loop) == (TIMES, 0)
  for frame, colour in zip(again.frames, COLOURS, strict=True):
    assert np.abs(255 - frame[8, 12, :3].astype(int) - colour).max() < 12


def test_alpha_and_loops(tmp_path):
  animation = animations.read(_save(tmp_path / 'a.png', alpha=100, loop=3))
  assert animation.loop == 3 and animation.frames[1][8, 12, 3] == 100
  data = animations.encode(
      animation, [frame[..., :3] for frame in animation.frames], form='PNG')
  (tmp_path / 'b.png').write_bytes(data)
  again = animations.read(tmp_path / 'b.png')
  assert again.loop == 3 and again.frames[1][8, 12, 3] == 100


@pytest.mark.parametrize('strip_gps', [False, True])
@pytest.mark.parametrize('form', animations.FORMS)
def test_metadata_are_kept(form, strip_gps, tmp_path):
  source = _save(tmp_path / 'a.webp', xmp=b'<x/>',
                 exif=odd_pictures.exif(orientation=6, size=(24, 16)))
  animation = animations.read(source)
  frames = [frame[..., :3] for frame in animation.frames]
  assert frames[0].shape == (24, 16, 3)    # upright
  target = tmp_path / f'b.{form.lower()}'
  target.write_bytes(animations.encode(
      animation, frames, form=form, strip_gps=strip_gps))
  about = animations.read(target).still
  assert b'NOTE' in about.exif and exif.orientation(about.exif) == 1
  assert (b'SECRET PLACE' in about.exif) != strip_gps
  assert about.description.xmp == (b'' if strip_gps else b'<x/>')
  assert not pictures.lost(animation.still, form=form)


def test_metadata_behind_the_frames(tmp_path):
  info = PngImagePlugin.PngInfo()
  info.add_text('comment', 'before')
  data = _save(tmp_path / 'a.png', pnginfo=info).read_bytes()
  late = odd_pictures.chunk(
      b'eXIf', odd_pictures.exif(orientation=6).removeprefix(b'Exif\0\0'))
  end = data.rindex(b'IEND') - 4
  (tmp_path / 'a.png').write_bytes(data[:end] + late + data[end:])
  animation = animations.read(tmp_path / 'a.png')
  assert b'NOTE' in animation.still.exif
  assert animation.still.description.texts == {'comment': 'before'}
  assert animation.frames[0].shape == (24, 16, 4)


@pytest.mark.parametrize('colour, channels', [(0, 1), (2, 3)])
def test_sixteen_bits_become_eight(colour, channels, tmp_path):
  def packed(value):
    row = b'\0' + 5 * channels * value.to_bytes(2, 'big')
    return zlib.compress(4 * row)

  control = lambda number: odd_pictures.chunk(b'fcTL', struct.pack(
      '>5L2H2B', number, 5, 4, 0, 0, 1, 10, 0, 0))
  (tmp_path / 'a.png').write_bytes(odd_pictures.png(
      (5, 4, 16, colour, 0),
      odd_pictures.chunk(b'acTL', b'\0\0\0\2' + bytes(4)), control(0),
      odd_pictures.chunk(b'IDAT', packed(0x8000)), control(1),
      odd_pictures.chunk(b'fdAT', b'\0\0\0\2' + packed(0x4000))))
  animation = animations.read(tmp_path / 'a.png')
  assert animation.still.notes == ('its 16 bits became 8',)
  assert [frame[0, 0].tolist() for frame in animation.frames] == [
      [128] * 3, [64] * 3]


def test_comments_of_a_gif(tmp_path):
  animation = animations.read(_save(tmp_path / 'a.gif', comment='É'.encode()))
  frames = [frame[..., :3] for frame in animation.frames]
  (tmp_path / 'b.png').write_bytes(
      animations.encode(animation, frames, form='PNG'))
  again = animations.read(tmp_path / 'b.png').still
  assert again.description.texts == {'Comment': 'É'}
  assert pictures.lost(animation.still, form='WEBP') == (
      'its comment cannot be kept in WEBP',)
  one = pictures.read(tmp_path / 'a.gif')
  assert one.description == animation.still.description
  file = pictures.encode(one, one.image, strip_gps=True)
  assert not pictures.read(file).description.texts


def test_the_xmp_of_a_gif(tmp_path):
  data = _save(tmp_path / 'a.gif').read_bytes()
  xmp = (b'!\xff\x0bXMP DataXMP<x/>\x01' + bytes(range(255, -1, -1)) + b'\0')
  (tmp_path / 'a.gif').write_bytes(data.replace(
      b'!\xff\x0bNETSCAPE', xmp + b'!\xff\x0bNETSCAPE'))
  animation = animations.read(tmp_path / 'a.gif')
  assert (len(animation.frames), animation.loop) == (3, 0)
  assert animation.still.description.xmp == b'<x/>'
  assert pictures.read(tmp_path / 'a.gif').description.xmp == b'<x/>'


def test_pictures_that_stand_still_or_are_too_large(tmp_path):
  Image.new('RGB', (8, 8)).save(tmp_path / 'still.png')
  assert animations.read(tmp_path / 'still.png') is None
  assert animations.count(tmp_path / 'still.png') == 1
  with pytest.raises(errors.UserError, match='3 frames of 24x16.*first-frame'):
    animations.read(_save(tmp_path / 'a.gif'), max_pixels=1000)
  data = _save(tmp_path / 'a.webp').read_bytes()
  (tmp_path / 'cut.webp').write_bytes(data[:len(data) // 2])
  with pytest.raises(errors.UserError, match='cut.webp'):
    animations.read(tmp_path / 'cut.webp')
  assert io.BytesIO(data).read(4) == b'RIFF'
