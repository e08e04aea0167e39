"""The scores of a model on a test set, as its card has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

METRICS = ('psnr_uint8', 'ssim_matlab3d')


def summary(rows: Sequence[Mapping[str, Mapping[str, float]]]
            ) -> dict[str, Any]:
  """Means and lowest values over the pictures of a test set.

  Args:
    rows: of each picture the METRICS of its 'input' and its 'result'.

  Returns:
    'pictures', their number; 'equal', the number of pictures that are equal to
    the sharp ones, which are not part of the mean PSNR; 'input' and 'mean',
    the means of METRICS; 'least', the lowest PSNR of a result, and
    'least_gain'. What is infinite is None.
  """
  mean = lambda side: {
      key: _mean([row[side][key] for row in rows]) for key in METRICS}
  psnr = [row['result']['psnr_uint8'] for row in rows]
  gains = [of_result - row['input']['psnr_uint8']
           for of_result, row in zip(psnr, rows, strict=True)]
  return {'pictures': len(rows), 'equal': int(sum(map(np.isinf, psnr))),
          'input': mean('input'), 'mean': mean('result'),
          'least': _finite(min(psnr)), 'least_gain': _finite(min(gains))}


def _mean(values):
  """The mean of the finite values; None if there are none."""
  finite = [value for value in values if np.isfinite(value)]
  return _finite(np.mean(finite)) if finite else None


def _finite(value):
  """Rounded; None for infinity, which JSON lacks."""
  return round(float(value), 4) if np.isfinite(value) else None
