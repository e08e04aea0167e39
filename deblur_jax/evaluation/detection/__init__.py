"""Evaluates restored pictures by the objects that a detector finds in them.

The protocol of DeblurGAN (Kupyn et al., CVPR 2018, "object detection
benchmark"): the detections in the sharp picture are the truth, since it shows
the same scene as the blurry and the restored picture. A box is right if a true
box of its class has an IoU of at least 0.5 with it. Each true box counts once,
and the most confident box chooses first. Precision, recall and F1 are over all
pictures together. AP is the area below precision over recall with the boxes of
all pictures ranked by confidence, interpolated at all points, and its mean over
the classes of the truth (mAP@0.5).

The paper does not name its confidences. Here they are 0.3 for the truth and for
boxes that count as found; AP ranks all boxes from 0.01. Detector, input size
and confidence change these numbers, so they compare folders with each other,
not with the table of another paper.
"""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from deblur_jax import errors
from deblur_jax.data import images, sampler
from deblur_jax.evaluation.detection import boxes as boxes_lib
from deblur_jax.evaluation.detection import detector as detector_lib
from deblur_jax.training import workdir

Path = str | os.PathLike
Pictures = Mapping[str, pathlib.Path]     # name -> file
RANKED_FROM = 0.01    # the least confidence of a box that AP ranks
TRUE, FOUND = (0, 200, 0), (230, 0, 0)


def run(
    detector: Path, *, sharp: Path | Pictures,
    sides: Mapping[str, Path | Pictures], form: str | None = None,
    confidence: float = 0.3, overlap: float = 0.5, out: Path | None = None,
    drawn: int = 4, on_picture: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
  """Compares the objects in folders of pictures with those in the sharp ones.

  Pictures belong together by their names without suffix, 'SEQ/000012'.

  Args:
    detector: an ONNX file, see `detector.load`.
    sharp: a folder, or a result of `kept`: the truth.
    sides: the same for each row of the table, by its title.
    form: a row of `detector.FORMS`; None takes the one that fits its shapes.
    confidence: in (0, 1], of the truth and of boxes that count as found.
    overlap: in (0, 1], the least IoU of a box that is right.
    out: a folder for detect.json and boxes/NAME.png: the sharp picture and each
      side from left to right, true boxes green, found ones red.
    drawn: of how many pictures, evenly spaced.
    on_picture: called with the number of pictures done.

  Returns:
    The content of detect.json: the options; 'rows', `boxes.score` of each side
    with its 'setting'; 'pictures', the numbers of boxes of each picture.

  Raises:
    UserError: a picture without its partner or of another size, no object in
      the sharp pictures, or an error of the detector.
  """
  for what, value in (('confidence', confidence), ('overlap', overlap)):
    if not 0 < value <= 1:
      raise errors.UserError(f'{what} must be in (0, 1], got {value}.')
  if not sides:
    raise errors.UserError('Nothing to compare with the sharp pictures: give '
                           'folders, or a run.')
  sharp, sides = _pictures(sharp), {
      title: _pictures(side) for title, side in sides.items()}
  for title, side in sides.items():
    _same_names(sharp, side, title)
  detect = detector_lib.load(
      detector, form=form, confidence=min(confidence, RANKED_FROM))
  truth, found = [], {title: [] for title in sides}
  chosen = set(sampler.evenly_spaced(range(len(sharp)), drawn))
  for index, name in enumerate(sharp):
    pictures = _read(name, sharp, sides)
    detected = [detect(picture) for picture in pictures]
    truth.append(_above(detected[0], confidence))
    for title, boxes in zip(sides, detected[1:], strict=True):
      found[title].append(boxes)
    if out and index in chosen:
      confident = [_above(boxes, confidence) for boxes in detected[1:]]
      _draw(pathlib.Path(out) / 'boxes', name, pictures, truth[-1], confident)
    on_picture(index + 1)
  result = {
      'detector': str(detector), 'confidence': confidence, 'overlap': overlap,
      **_compare(list(sharp), truth, found, confidence, overlap)}
  if out:
    workdir.write_json(errors.make_folder(out) / 'detect.json', result)
  return result


def kept(
    folder: Path, *, name: str = 'eval'
) -> dict[str, dict[str, pathlib.Path]]:
  """The pictures that `test_sets.run` saved in a run's folder.

  Args:
    folder: the run's folder.
    name: of the evaluation.

  Returns:
    {'blur', 'restored', 'sharp'}, each name -> file.

  Raises:
    UserError: there are none.
  """
  where = pathlib.Path(folder) / f'{name}_pictures'
  states = {'blur': {}, 'restored': {}, 'sharp': {}}
  for key, path in (images.find(where) if where.is_dir() else {}).items():
    stem, _, state = key.rpartition('.')
    if state in states:
      states[state][stem] = path
  if not states['restored']:
    raise errors.UserError(
        f'{where} has no restored pictures: python -m experiments.evaluate '
        f'--workdir={folder} --pictures=1000 keeps as many.')
  return states


def _compare(names, truth, found, confidence, overlap):
  options = dict(confidence=confidence, overlap=overlap)
  if not sum(len(true.scores) for true in truth):
    raise errors.UserError(
        f'The detector finds nothing in the {len(names)} sharp pictures with a '
        f'confidence of {confidence}: there is no truth to compare with.')
  rows = [{'setting': title, **boxes_lib.score(side, truth, **options)}
          for title, side in found.items()]
  pictures = []
  for i, name in enumerate(names):
    row = {'name': name, 'truths': len(truth[i].scores)}
    for title, side in found.items():
      confident = _above(side[i], confidence)
      right = boxes_lib.match(confident, truth[i], overlap=overlap)
      row[title] = {'found': len(right), 'right': int(right.sum())}
    pictures.append(row)
  return {'rows': rows, 'pictures': pictures}


def _above(found, confidence):
  return boxes_lib.take(found, found.scores >= confidence)


def _pictures(side) -> Pictures:
  if isinstance(side, Mapping):
    return side
  return images.require(side)


def _same_names(sharp, side, title):
  for there, other, where in ((side, sharp, title),
                              (sharp, side, 'The sharp folder')):
    missing = sorted(other.keys() - there.keys())
    if missing:
      more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
      raise errors.UserError(
          f'{where} has no {missing[0]}{more}; all must show the same '
          'pictures, under the same names.')


def _read(name, sharp, sides):
  """The sharp picture and that of each side, of one size."""
  pictures = [images.read(sharp[name])]
  for side in sides.values():
    pictures.append(images.read(side[name]))
    (h, w), (height, width) = (
        picture.shape[:2] for picture in (pictures[0], pictures[-1]))
    if (h, w) != (height, width):
      raise errors.UserError(
          f'{side[name]} is {width}x{height}, and {sharp[name]} {w}x{h}.')
  return pictures


def _draw(folder, name, pictures, truth, found):
  """Writes NAME.png: the pictures side by side, with true and found boxes."""
  panels = []
  for picture, boxes in zip(pictures, [None, *found], strict=True):
    panel = Image.fromarray(picture)
    pen = ImageDraw.Draw(panel)
    for colour, layer in ((TRUE, truth), (FOUND, boxes)):
      for corners in () if layer is None else layer.corners.tolist():
        pen.rectangle(corners, outline=colour, width=2)
    panels.append(np.asarray(panel))
  Image.fromarray(np.concatenate(panels, axis=1)).save(
      errors.make_folder(folder) / f'{name.replace("/", "_")}.png')
