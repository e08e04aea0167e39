"""The figures of a report: curves, and a sheet of restored pictures."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from deblur_jax import errors

WIDTH = 320        # of a column of the sheet, pixels
CAPTION = 22       # height of a line of text
GAP = 8
INK, FRAME, PAPER = (30, 30, 30), (255, 210, 0), (255, 255, 255)
PANELS = {'loss': 'training loss', 'val_psnr_uint8': 'validation PSNR (dB)'}


class Picture(NamedTuple):
  """A test picture in several states.

  Attributes:
    name: of the picture.
    panels: caption -> uint8 [h, w, 3]; the first is blurry, the last sharp.
  """

  name: str
  panels: dict[str, np.ndarray]


def curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]
) -> bytes | None:
  """Draws the logged values: one line a run, one colour a setting.

  Args:
    histories: label of a setting -> the logged lines of each of its runs.

  Returns:
    A PNG file; None if nothing was logged.
  """
  names = [name for name in PANELS if any(
      name in line for runs in histories.values() for run in runs
      for line in run)]
  if not names:
    return None
  with errors.needs_extra('matplotlib', extra='train'):
    import matplotlib
    from matplotlib import figure

  colours = matplotlib.colormaps['viridis'](
      np.linspace(0, 0.9, max(len(histories), 2)))
  if len(histories) <= 10:
    colours = matplotlib.colormaps['tab10'].colors
  chart = figure.Figure(
      figsize=(5.5 * len(names), 4), dpi=110, layout='constrained')
  for axes, name in zip(chart.subplots(1, len(names), squeeze=False)[0], names,
                        strict=True):
    for (label, runs), colour in zip(histories.items(), colours, strict=False):
      _draw(axes, name, runs, label, colour)
    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    logarithmic = name == 'loss' and (drawn > 0).all()   # -PSNR is not
    axes.set(title=PANELS[name], xlabel='step',
             yscale='log' if logarithmic else 'linear')
    axes.grid(alpha=0.3, which='both')
    axes.legend(fontsize='small')
  file = io.BytesIO()
  chart.savefig(file, format='png')
  return file.getvalue()


def sheet(pictures: Sequence[Picture]) -> bytes:
  """Draws two lines for each picture: the whole, and one part enlarged.

  Args:
    pictures: all with the same number of panels, in the same order.

  Returns:
    A PNG file.
  """
  blocks = [_block(picture) for picture in pictures]
  width = max(block.shape[1] for block in blocks)
  blocks = [np.pad(block, ((0, 2 * GAP), (0, width - block.shape[1]), (0, 0)),
                   constant_values=255) for block in blocks]
  file = io.BytesIO()
  Image.fromarray(np.concatenate(blocks)).save(file, format='png')
  return file.getvalue()


def detailed_part(
    blur: np.ndarray, sharp: np.ndarray, *, height: int, width: int
) -> tuple[int, int]:
  """The part of a picture where blur and sharp differ most in detail.

  There the gradient of their difference has most energy. A difference of
  brightness alone, as in a flat sky, has no gradient.

  Args:
    blur: uint8 [h, w, 3].
    sharp: the same shape.
    height: of the part, in pixels.
    width: of the part, in pixels.

  Returns:
    (top, left) of the part.
  """
  if min(blur.shape[:2]) < 2:
    return 0, 0      # too thin for a gradient
  difference = sharp.mean(axis=2) - blur.mean(axis=2)
  dy, dx = np.gradient(difference)
  energy = ndimage.uniform_filter(
      dy ** 2 + dx ** 2, (height, width), mode='constant')
  # uniform_filter centres its window: the corner is half a window before.
  corners = energy[height // 2:, width // 2:][
      :blur.shape[0] - height + 1, :blur.shape[1] - width + 1]
  return np.unravel_index(np.argmax(corners), corners.shape)


def _draw(axes, name, runs, label, colour):
  for run in runs:
    points = [(line['step'], line[name]) for line in run if name in line]
    if not points:
      continue
    steps, values = np.asarray(points, float).T
    if len(values) > 60:  # a faint line of all values, and their moving mean
      axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.7)
      values = ndimage.uniform_filter1d(
          values, max(len(values) // 30, 1), mode='nearest')
    axes.plot(steps, values, color=colour, label=label, linewidth=1.5,
              marker='o' if len(values) <= 20 else None, markersize=3)
    label = None          # seeds share one entry of the legend


def _block(picture):
  images = list(picture.panels.values())
  # A narrow strip must not be enlarged to a hundred thousand lines.
  whole = min(WIDTH / images[0].shape[1], 4 * WIDTH / images[0].shape[0])
  zoom = 2 if images[0].shape[1] > 3 * WIDTH else 4
  height, width = (
      min(side, WIDTH * short // (4 * zoom)) for side, short in
      zip(images[0].shape[:2], (3, 4), strict=True))
  top, left = detailed_part(
      images[0], images[-1], height=height, width=width)
  box = (left, top, left + width, top + height)
  columns = [
      _column(Image.fromarray(image), caption, box, whole=whole, zoom=zoom)
      for caption, image in picture.panels.items()]
  line = np.concatenate([
      np.pad(column, ((0, 0), (0, GAP), (0, 0)), constant_values=255)
      for column in columns], axis=1)
  title = _text(f'{picture.name}   (frame: enlarged {zoom} times below)',
                line.shape[1])
  return np.concatenate([title, line])


def _column(image, caption, box, *, whole, zoom):
  small = image.resize(
      [max(1, round(side * whole)) for side in image.size],
      Image.Resampling.LANCZOS)
  corners = [round(side * whole) for side in box]
  ImageDraw.Draw(small).rectangle(corners, outline=FRAME, width=2)
  part = image.crop(box)
  part = part.resize(
      (part.width * zoom, part.height * zoom), Image.Resampling.NEAREST)
  gap = np.full((GAP, WIDTH, 3), 255, np.uint8)
  return np.concatenate(
      [_text(caption, WIDTH), _widened(small), gap, _widened(part)])


def _widened(image):
  """uint8 [h, WIDTH, 3], with white to the right."""
  image = np.asarray(image)
  return np.pad(image, ((0, 0), (0, WIDTH - image.shape[1]), (0, 0)),
                constant_values=255)


def _text(text, width):
  """A line of text on white, uint8 [CAPTION, width, 3]."""
  line = Image.new('RGB', (width, CAPTION), PAPER)
  font = ImageFont.load_default(size=15)
  while font.getlength(text) > width - 4:
    text = text[:-2] + '…'
  ImageDraw.Draw(line).text((2, 2), text, fill=INK, font=font)
  return np.asarray(line)
