"""A detector in an ONNX file: a picture in, boxes out.

The YOLO family's exports, told apart by the shape of what they give. For an
input of [1, 3, h, w] there are `cells` places: the squares of 8, 16 and 32
pixels, row by row.

  yolox           [1, cells, 5 + classes]: centres relative to their cell and
                  logarithms of the sides, in units of the square
  yolox_decoded   the same in pixels (exported with --decode_in_inference);
                  its shape is that of yolox, so it is taken by name only
  yolov5          [1, 3 cells, 5 + classes], in pixels; also v7 (--grid)
  yolov8          [1, 4 + classes, cells], in pixels; also v11

With 5 + classes the confidence of a class is objectness times its own score.
Each place gives one box, of its best class.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deblur_jax import errors
from deblur_jax.evaluation.detection import boxes as boxes_lib
from deblur_jax.evaluation.detection.boxes import Boxes

STRIDES = (8, 16, 32)
GRAY = 114    # what every member of the family was trained to see as border
Size = tuple[int, int]   # height, width


class Form(NamedTuple):
  """How a detector writes down what it sees, and what it wants to see."""

  columns: bool      # the places lie along the last axis, else the one before
  at_a_cell: int     # how many of them
  objectness: bool   # four numbers of the box, this one, and the classes
  relative: bool     # boxes in units of their cell, else in pixels
  bgr_255: bool      # input: BGR 0-255, picture at the top left corner; else
                     # RGB 0-1, picture in the middle

  def before_classes(self) -> int:
    """How many numbers of a place are none of its classes."""
    return 4 + self.objectness


def load(
    path: str | os.PathLike, *, confidence: float, form: str | None = None,
    overlap: float = 0.45
) -> Callable[[np.ndarray], Boxes]:
  """A function from a picture, uint8 [h, w, 3] RGB, to what is seen in it.

  Args:
    path: the ONNX file.
    confidence: the least one of a box that counts at all.
    form: a name of `FORMS`; by default as the shapes say.
    overlap: of `boxes.suppress`.

  Raises:
    UserError: no onnxruntime, no such file, or not a detector of these forms.
  """
  session = _session(path)
  name, size, dtype = _input(session, path)
  forward = lambda image: np.asarray(
      session.run(None, {name: image.astype(dtype)})[0], np.float32)
  shape = forward(np.zeros((1, 3, *size))).shape
  form = _form(shape, size, form, path)

  def detect(picture):
    image, scale, offset = letterbox(picture, size, centred=not form.bgr_255)
    image = image[..., ::-1] if form.bgr_255 else image / 255
    corners, scores = decode(
        forward(image.transpose(2, 0, 1)[None])[0], size, form=form)
    found = Boxes(corners, scores.max(axis=1), scores.argmax(axis=1))
    found = boxes_lib.take(found, found.scores >= confidence)
    _check(found, size, path)
    edge = np.array(picture.shape[1::-1] * 2)
    found = found._replace(corners=np.clip(
        (found.corners - np.tile(offset, 2)) / np.tile(scale, 2), 0, edge))
    return boxes_lib.suppress(found, overlap=overlap)

  return detect


def letterbox(
    picture: np.ndarray, size: Size, *, centred: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """A picture scaled to fit into `size` = (height, width), on gray.

  Bilinear between the four nearest pixels, without a filter before, as these
  detectors were trained. So the scale of a picture decides how much of its
  blur they see.

  Returns:
    The image, uint8 [*size, 3]; scale and offset, both (x, y), by which
    pixels of the picture are found in it: x * scale + offset.
  """
  old = np.array(picture.shape[1::-1])                    # width, height
  ratio = min(size[1] / old[0], size[0] / old[1])
  # Each as its own code does it; what is whole but for rounding stays whole.
  new = np.floor(old * ratio + (0.5 if centred else 1e-6))
  new = np.maximum(new, 1).astype(int)
  step = old / new
  offset = (np.array(size[::-1]) - new) // 2 * centred
  small = Image.fromarray(picture).transform(
      tuple(new.tolist()), Image.Transform.AFFINE,
      (step[0], 0, 0, 0, step[1], 0), Image.Resampling.BILINEAR)
  image = np.full((*size, 3), GRAY, np.uint8)
  (left, top), (right, bottom) = offset, offset + new
  image[top:bottom, left:right] = np.asarray(small)
  return image, new / old, offset


def decode(
    raw: np.ndarray, size: Size, *, form: Form
) -> tuple[np.ndarray, np.ndarray]:
  """What a detector gives for one picture, in pixels of its input.

  relative: centre = (xy + cell) * stride, sides = exp(wh) * stride
  (Ge et al. 2021, YOLOX).

  Returns:
    Corners [n, 4] and scores [n, classes].
  """
  raw = raw.T if form.columns else raw
  centre, sides = raw[:, :2], raw[:, 2:4]
  scores = raw[:, form.before_classes():]
  if form.objectness:
    scores = scores * raw[:, 4:5]
  if form.relative:
    cell, stride = _cells(size)
    with np.errstate(over='ignore'):   # infinite boxes are refused later
      centre, sides = (centre + cell) * stride, np.exp(sides) * stride
  corners = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
  return corners, scores


def _cells(size):
  """(x, y) of every cell, [n, 2], and its side in pixels, [n, 1]."""
  cell, stride = [], []
  for pixels in STRIDES:
    y, x = np.mgrid[:size[0] // pixels, :size[1] // pixels]
    cell.append(np.stack([x.ravel(), y.ravel()], axis=1))
    stride.append(np.full((x.size, 1), pixels))
  return np.concatenate(cell), np.concatenate(stride)


def _session(path):
  with errors.needs_extra('onnxruntime', extra='detect', what='A detector'):
    import onnxruntime
  if not pathlib.Path(path).is_file():
    raise errors.UserError(f'No file {path}.')
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3
  try:
    return onnxruntime.InferenceSession(
        path, options, providers=['CPUExecutionProvider'])
  except Exception as error:   # its errors have no class of their own
    raise errors.UserError(
        f'Cannot read the detector {path}: {_line(error)}') from None


def _input(session, path) -> tuple[str, Size, Any]:
  """Name, size and type of the one input."""
  first, *others = session.get_inputs()
  dtypes = {'tensor(float)': np.float32, 'tensor(float16)': np.float16}
  shape = tuple(first.shape)
  batch, channels, *size = shape if len(shape) == 4 else (0, 0)
  if others or channels != 3 or first.type not in dtypes or not (
      batch == 1 or not isinstance(batch, int)):
    raise errors.UserError(
        f'{path} wants {1 + len(others)} input(s), the first a '
        f'{first.type} of {_show(shape)}; expected one of floats, '
        '[1, 3, height, width].')
  if not all(isinstance(side, int) and side % STRIDES[-1] == 0
             for side in size):
    raise errors.UserError(
        f'{path} has the input {_show(shape)}: export it with a fixed height '
        f'and width, multiples of {STRIDES[-1]}.')
  return first.name, tuple(size), dtypes[first.type]


def _form(shape, size, name, path) -> Form:
  """The form of that name, or the first, that gives this shape."""
  forms = {name: errors.look_up(FORMS, name, what='format')} if name else FORMS
  cells = len(_cells(size)[0])
  expected = []
  for name, form in forms.items():
    places, least = form.at_a_cell * cells, form.before_classes()
    there, width = (0, 0) if len(shape) != 3 else (
        shape[:0:-1] if form.columns else shape[1:])
    if there == places and width > least:
      return form
    rest = f'{least} + classes'
    expected.append(f'{name} ' + _show(
        (1, rest, places) if form.columns else (1, places, rest)))
  raise errors.UserError(
      f'{path} gives {_show(shape)} for {size[1]}x{size[0]} pixels; expected '
      f'{" or ".join(expected)}.')


def _check(found, size, path):
  """Refuses what is the output of another form of the same shape."""
  if found.scores.max(initial=0) > 1.001:
    raise errors.UserError(
        f'{path} gives confidences up to {found.scores.max():.3g}; export it '
        'with the sigmoid in the model.')
  if not np.all(np.abs(found.corners) < 100 * max(size)):
    raise errors.UserError(
        f'{path} gives boxes that are no part of a picture; is its format '
        'yolox_decoded?')


def _show(shape):
  return f'[{", ".join(map(str, shape))}]'


def _line(error):
  return ' '.join(str(error).split())


FORMS = {
    'yolox': Form(columns=False, at_a_cell=1, objectness=True, relative=True,
                  bgr_255=True),
    'yolox_decoded': Form(columns=False, at_a_cell=1, objectness=True,
                          relative=False, bgr_255=True),
    'yolov5': Form(columns=False, at_a_cell=3, objectness=True, relative=False,
                   bgr_255=False),
    'yolov8': Form(columns=True, at_a_cell=1, objectness=False, relative=False,
                   bgr_255=False),
}
