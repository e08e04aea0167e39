"""The figures of a report: curves, costs, and a sheet of restored pictures."""

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
VALIDATION = 'val_psnr_uint8'
PANELS = {VALIDATION: 'validation PSNR of the finest scale (dB)',
          'loss': 'training loss'}


class Picture(NamedTuple):
  """A test picture in several states.

  Attributes:
    name: of the picture.
    panels: caption -> uint8 [h, w, 3]; the first is blurry, the last sharp.
  """

  name: str
  panels: dict[str, np.ndarray]


class Point(NamedTuple):
  """A setting in a plot of costs.

  Attributes:
    label: of the setting.
    psnr: mean in dB, finite.
    deviation: over seeds, in dB; None for one seed.
    gmacs: multiplications for 256x256 pixels, in 10^9; None if unknown.
    milliseconds: of an image; None if unknown or on another device.
  """

  label: str
  psnr: float
  deviation: float | None
  gmacs: float | None
  milliseconds: float | None


def curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], *,
    loss: bool = True
) -> bytes | None:
  """Draws the logged values: a colour for each setting.

  The validation PSNR has one line for the mean over the seeds, at the steps
  that all of them logged, in a band of one sample standard deviation to each
  side. The training loss has a line for each run. It is left out where it is
  not comparable, rather than drawn with a warning: the eye compares whatever is
  in one panel, and a sum over K scales makes K = 3 look three times worse.

  Args:
    histories: label of a setting -> the logged lines of each of its runs.
    loss: whether the training losses are comparable.

  Returns:
    A PNG file; None if there is nothing to draw.
  """
  names = [name for name in PANELS if (loss or name == VALIDATION) and any(
      name in line for runs in histories.values() for run in runs
      for line in run)]
  if not names:
    return None
  chart, panels = _chart(len(names))
  for axes, name in zip(panels, names, strict=True):
    for (label, runs), colour in zip(
        histories.items(), _colours(len(histories)), strict=True):
      draw = _draw_mean if name == VALIDATION else _draw_runs
      draw(axes, [found for run in runs if len(found := _points(run, name))],
           label, colour)
    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    logarithmic = name == 'loss' and (drawn > 0).all()   # -PSNR is not
    axes.set(title=PANELS[name], xlabel='step',
             yscale='log' if logarithmic else 'linear')
    axes.grid(alpha=0.3, which='both')
    axes.legend(fontsize='small')
  return _png(chart)


def costs(points: Sequence[Point]) -> bytes | None:
  """Draws PSNR against multiplications and against the time of an image.

  Args:
    points: the settings.

  Returns:
    A PNG file, with logarithmic axes of the costs; None without points that
    have a cost.
  """
  panels = {'gmacs': 'GMACs at 256²', 'milliseconds': 'ms an image'}
  panels = {name: title for name, title in panels.items() if any(
      getattr(point, name) for point in points)}
  if not panels:
    return None
  chart, all_axes = _chart(len(panels))
  for axes, (name, title) in zip(all_axes, panels.items(), strict=True):
    for point, colour in zip(points, _colours(len(points)), strict=True):
      cost = getattr(point, name)
      if cost:
        axes.errorbar(cost, point.psnr, yerr=point.deviation, fmt='o',
                      color=colour, capsize=3)
        axes.annotate(point.label, (cost, point.psnr), xytext=(6, 5),
                      textcoords='offset points', fontsize='small')
    axes.set(xscale='log', xlabel=title, ylabel='PSNR (dB)')
    axes.margins(x=0.25, y=0.15)      # for the labels
    low, high = axes.get_xlim()
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_formatter('{x:g}' if high < 10 * low else '')
    axes.grid(alpha=0.3, which='both')
  return _png(chart)


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


def _chart(panels):
  """An empty figure, and its axes."""
  with errors.needs_extra('matplotlib', extra='train'):
    from matplotlib import figure
  chart = figure.Figure(
      figsize=(5.5 * panels, 4), dpi=110, layout='constrained')
  return chart, chart.subplots(1, panels, squeeze=False)[0]


def _png(chart) -> bytes:
  file = io.BytesIO()
  chart.savefig(file, format='png')
  return file.getvalue()


def _colours(count):
  import matplotlib

  if count <= 10:
    return matplotlib.colormaps['tab10'].colors[:count]
  return matplotlib.colormaps['viridis'](np.linspace(0, 0.9, count))


def _points(run, name) -> dict[int, float]:
  return {line['step']: line[name] for line in run if name in line}


def _draw_mean(axes, runs, label, colour):
  """The mean over runs, in a band of their sample standard deviation."""
  steps = sorted(set.intersection(*map(set, runs))) if runs else []
  if not steps:
    return
  values = np.array([[run[step] for step in steps] for run in runs], float)
  mean = values.mean(axis=0)
  axes.plot(steps, mean, color=colour, label=label, linewidth=1.5,
            marker='o' if len(steps) <= 20 else None, markersize=3)
  if len(runs) > 1:
    deviation = values.std(axis=0, ddof=1)
    axes.fill_between(steps, mean - deviation, mean + deviation, color=colour,
                      alpha=0.2, linewidth=0)


def _draw_runs(axes, runs, label, colour):
  for run in runs:
    steps, values = (np.array(list(side), float)
                     for side in (run.keys(), run.values()))
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
