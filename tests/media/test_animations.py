"""Animated pictures keep their frames, times and loops."""

import io

import numpy as np
import pytest
from PIL import Image

from deblur_jax import errors
from deblur_jax.media import animations

COLOURS = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]
TIMES = [100, 250, 70]


def _save(path, *, alpha=255, loop=0):
  images = [Image.new('RGBA', (24, 16), (*colour, alpha))
            for colour in COLOURS]
  for image in images:
    image.putpixel((0, 0), (0, 0, 0, 255))
  options = {} if path.suffix == '.gif' else {'quality': 100}
  images[0].save(path, save_all=True, append_images=images[1:],
                 duration=TIMES, loop=loop,
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
