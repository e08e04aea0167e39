"""Boxes found in pictures, and how well they agree with the true ones.

Boxes are [n, 4]: left, top, right and bottom in pixels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Boxes(NamedTuple):
  """What a detector found in one picture, by falling confidence."""

  corners: np.ndarray   # [n, 4]
  scores: np.ndarray    # [n] confidences in [0, 1]
  classes: np.ndarray   # [n] whole numbers


def take(found: Boxes, which: np.ndarray) -> Boxes:
  """Those of an index or a mask."""
  return Boxes(*(part[which] for part in found))


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Intersection over union, [n, 4] and [m, 4] -> [n, m]; 0 for no area."""
  nearest = np.maximum(a[:, None, :2], b[None, :, :2])
  farthest = np.minimum(a[:, None, 2:], b[None, :, 2:])
  common = np.prod(np.maximum(farthest - nearest, 0), axis=2)
  union = _area(a)[:, None] + _area(b)[None, :] - common
  return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def suppress(found: Boxes, *, overlap: float) -> Boxes:
  """Greedy non-maximum suppression, each class by itself.

  Args:
    found: in any order.
    overlap: a box whose IoU with a more confident one is above this goes.

  Returns:
    Those that stay, by falling confidence.
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
  """Which of the found boxes are right, bool [n].

  The most confident choose first, each that box of its class which it covers
  best among those still free; with an IoU below `overlap` it is wrong.
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
  """Area below precision over recall, interpolated at all points.

  Precision at a recall is the best at this recall or a higher one (PASCAL VOC
  since 2010).

  Args:
    right: bool [n], what was found of one class, over all pictures.
    scores: [n], their confidences.
    truths: how many there were to find, at least one.
  """
  right = right[np.argsort(-scores, kind='stable')]
  precision = np.cumsum(right) / np.arange(1, len(right) + 1)
  best = np.maximum.accumulate(precision[::-1])[::-1]
  return float(best[right].sum() / truths)


def score(
    found: Sequence[Boxes], truth: Sequence[Boxes], *, confidence: float,
    overlap: float
) -> dict[str, Any]:
  """How well what was found in some pictures agrees with the truth.

  Args:
    found: of each picture, by falling confidence.
    truth: of the same pictures; at least one box in all.
    confidence: precision, recall and F1 are of the boxes from here on; the
      average precision is of all of them.
    overlap: the least IoU of a box that is right.

  Returns:
    'precision' (None where nothing was found), 'recall' and 'f1' over all
    pictures together; 'ap', the mean over the classes of the truth; 'truths',
    'found' and 'right', the numbers of boxes; 'ap_of_class'.
  """
  right = [match(f, t, overlap=overlap)
           for f, t in zip(found, truth, strict=True)]
  right = np.concatenate(right)
  scores = np.concatenate([boxes.scores for boxes in found])
  classes = np.concatenate([boxes.classes for boxes in found])
  true_classes = np.concatenate([boxes.classes for boxes in truth])
  ap = {}
  for kind in np.unique(true_classes):
    mine = classes == kind
    ap[int(kind)] = average_precision(
        right[mine], scores[mine], truths=int((true_classes == kind).sum()))
  sure = scores >= confidence
  hits, count, truths = int(right[sure].sum()), int(sure.sum()), len(
      true_classes)
  return {
      'precision': hits / count if count else None, 'recall': hits / truths,
      'f1': 2 * hits / (count + truths), 'ap': float(np.mean([*ap.values()])),
      'truths': truths, 'found': count, 'right': hits, 'ap_of_class': ap}


def _area(corners):
  return np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0), axis=1)
