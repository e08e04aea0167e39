"""A detector in an ONNX file: a picture in, boxes out.

It reads the exports of the YOLO family, which differ in the shapes of their
results. For an input of [1, 3, h, w] there are `cells` positions: the squares
of 8, 16 and 32 pixels, row by row.

  yolox           [1, cells, 5 + classes]: centres relative to their cell and
                  logarithms of the sides, in units of the square
  yolox_decoded   the same in pixels (exported with --decode_in_inference);
                  it has the shape of yolox, so it must be chosen by name
  yolov5          [1, 3 cells, 5 + classes], in pixels; also v7 (--grid)
  yolov8          [1, 4 + classes, cells], in pixels; also v11

With 5 + classes the confidence of a class is objectness times its own score.
Each position gives one box, of its best class.
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
GRAY = 114    # the border in the training of all these detectors
Size = tuple[int, int]   # height, width


class Form(NamedTuple):
  """The format of a detector's input and result.

  Attributes:
    columns: whether the positions are the last axis, not the one before.
    at_a_cell: boxes of a cell.
    objectness: whether a score of any object stands between box and classes.
    relative: whether boxes are in units of their cell, not in pixels.
    bgr_255: whether the input is BGR 0-255 with the picture at the top left
      corner, not RGB 0-1 with the picture in the middle.
  """

  columns: bool
  at_a_cell: int
  objectness: bool
  relative: bool
  bgr_255: bool

  def before_classes(self) -> int:
    """How many numbers of a position come before those of its classes."""
    return 4 + self.objectness


def load(
    path: str | os.PathLike, *, confidence: float, form: str | None = None,
    overlap: float = 0.45
) -> Callable[[np.ndarray], Boxes]:
  """Loads a detector.

  Args:
    path: the ONNX file.
    confidence: in [0, 1], the least one of a box.
    form: a row of `FORMS`; None takes the first one that fits the shapes.
    overlap: of `boxes.suppress`.

  Returns:
    picture, uint8 RGB [h, w, 3] -> its boxes.

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
  """Scales a picture to fit into an input, with gray around it.

  It interpolates bilinearly between the four nearest pixels, without a low-pass
  filter, as in the training of these detectors. So the scale of a picture
  determines how much of its blur is left.

  Args:
    picture: uint8 [h, w, 3].
    size: (height, width) of the input.
    centred: whether the picture is in the middle, not at the top left corner.

  Returns:
    The image, uint8 [*size, 3]; scale and offset, both (x, y): pixels of the
    picture are at x * scale + offset.
  """
  old = np.array(picture.shape[1::-1])                    # width, height
  ratio = min(size[1] / old[0], size[0] / old[1])
  # Each rounds as its own code does; 1e-6 is for the rounding of whole sides.
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
  """The boxes of one picture, in pixels of the detector's input.

  With `relative`: centre = (xy + cell) * stride, sides = exp(wh) * stride
  (Ge et al. 2021, YOLOX).

  Args:
    raw: the result of the detector for the picture.
    size: (height, width) of its input.
    form: its format.

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
  except Exception as error:   # its errors have no common class
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
        f'{path} takes {1 + len(others)} input(s), the first a '
        f'{first.type} of {_show(shape)}; expected one of floats, '
        '[1, 3, height, width].')
  if not all(isinstance(side, int) and side % STRIDES[-1] == 0
             for side in size):
    raise errors.UserError(
        f'{path} has the input {_show(shape)}: export it with a fixed height '
        f'and width, multiples of {STRIDES[-1]}.')
  return first.name, tuple(size), dtypes[first.type]


def _form(shape, size, name, path) -> Form:
  """The form with this name, or the first one, that gives this shape."""
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
  """Refuses the result of another form of the same shape."""
  if found.scores.max(initial=0) > 1.001:
    raise errors.UserError(
        f'{path} gives confidences up to {found.scores.max():.3g}; export it '
        'with the sigmoid in the model.')
  if not np.all(np.abs(found.corners) < 100 * max(size)):
    raise errors.UserError(
        f'{path} gives boxes outside of any picture; is its format '
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
