"""Boxes found in pictures, and their agreement with the true ones.

Boxes are [n, 4]: left, top, right and bottom in pixels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Boxes(NamedTuple):
  """The boxes that a detector found in one picture, in descending confidence.

  Attributes:
    corners: [n, 4].
    scores: [n], confidences in [0, 1].
    classes: [n], whole numbers.
  """

  corners: np.ndarray   # [n, 4]
  scores: np.ndarray    # [n] confidences in [0, 1]
  classes: np.ndarray   # [n] whole numbers


def take(found: Boxes, which: np.ndarray) -> Boxes:
  """Selects boxes.

  Args:
    found: the boxes.
    which: an index or a mask, [n].

  Returns:
    The selected boxes.
  """
  return Boxes(*(part[which] for part in found))


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Intersection over union of all pairs of boxes.

  Args:
    a: [n, 4].
    b: [m, 4].

  Returns:
    [n, m] in [0, 1]; 0 for boxes without an area.
  """
  nearest = np.maximum(a[:, None, :2], b[None, :, :2])
  farthest = np.minimum(a[:, None, 2:], b[None, :, 2:])
  common = np.prod(np.maximum(farthest - nearest, 0), axis=2)
  union = _area(a)[:, None] + _area(b)[None, :] - common
  return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def suppress(found: Boxes, *, overlap: float) -> Boxes:
  """Greedy non-maximum suppression, for each class alone.

  Args:
    found: in any order.
    overlap: a box is removed if its IoU with a more confident one is above
      this.

  Returns:
    The remaining boxes, in descending confidence.
  """
  waiting = np.argsort(-found.scores, kind='stable')
  kept = []
  while waiting.size:
    best, waiting = waiting[0], waiting[1:]
    kept.append(best)
    close = iou(found.corners[[best]], found.corners[waiting])[0] > overlap
    same = found.classes[waiting] == found.classes[best]
    waiting = waiting[~(close & same)]
  return take(found, np.array(kept, int))


def match(found: Boxes, truth: Boxes, *, overlap: float) -> np.ndarray:
  """Which of the found boxes are right.

  The most confident box chooses first. It takes the free box of its class with
  the largest IoU, and is wrong if that is below `overlap`.

  Args:
    found: in descending confidence.
    truth: the true boxes.
    overlap: the least IoU.

  Returns:
    bool [n].
  """
  right = np.zeros(len(found.scores), bool)
  if not len(truth.scores):
    return right
  same = found.classes[:, None] == truth.classes[None, :]
  free = np.where(same, iou(found.corners, truth.corners), -1.0)
  for i in range(len(right)):
    best = free[i].argmax()
    if free[i, best] >= overlap:
      right[i] = True
      free[:, best] = -1.0
  return right


def average_precision(
    right: np.ndarray, scores: np.ndarray, *, truths: int) -> float:
  """The area below precision over recall, interpolated at all points.

  The precision at a recall is the best at this recall or a higher one (PASCAL
  VOC since 2010).

  Args:
    right: bool [n], the found boxes of one class in all pictures.
    scores: [n], their confidences.
    truths: the number of true boxes, at least one.

  Returns:
    A number in [0, 1].
  """
  right = right[np.argsort(-scores, kind='stable')]
  precision = np.cumsum(right) / np.arange(1, len(right) + 1)
  best = np.maximum.accumulate(precision[::-1])[::-1]
  return float(best[right].sum() / truths)


def score(
    found: Sequence[Boxes], truth: Sequence[Boxes], *, confidence: float,
    overlap: float
) -> dict[str, Any]:
  """The agreement of the found boxes of several pictures with the truth.

  Args:
    found: of each picture, in descending confidence.
    truth: of the same pictures; at least one box in all.
    confidence: precision, recall and F1 count boxes from this one on; the
      average precision ranks all of them.
    overlap: the least IoU of a box that is right.

  Returns:
    'precision' (None if nothing was found), 'recall' and 'f1' over all pictures
    together; 'ap', the mean over the classes of the truth; 'truths', 'found'
    and 'right', the numbers of boxes; 'ap_of_class'.
  """
  right = [match(f, t, overlap=overlap)
           for f, t in zip(found, truth, strict=True)]
  right = np.concatenate(right)
  scores = np.concatenate([boxes.scores for boxes in found])
  classes = np.concatenate([boxes.classes for boxes in found])
  true_classes = np.concatenate([boxes.classes for boxes in truth])
  ap = {}
  for kind in np.unique(true_classes):
    same = classes == kind
    ap[int(kind)] = average_precision(
        right[same], scores[same], truths=int((true_classes == kind).sum()))
  confident = scores >= confidence
  hits, count, truths = int(right[confident].sum()), int(confident.sum()), len(
      true_classes)
  return {
      'precision': hits / count if count else None, 'recall': hits / truths,
      'f1': 2 * hits / (count + truths), 'ap': float(np.mean([*ap.values()])),
      'truths': truths, 'found': count, 'right': hits, 'ap_of_class': ap}


def _area(corners):
  return np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0), axis=1)
