"""Means of metrics over the pictures of a test set."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def over_rows(
    rows: Sequence[Mapping[str, Any]], names: Iterable[str] | None = None
) -> dict[str, float]:
  """The mean of each column over the rows that have it.

  An infinite value, such as the PSNR of equal pictures, makes its mean
  infinite, and NaN makes it NaN: nothing is left out silently.

  Args:
    rows: {name of a metric: value}, one a picture.
    names: the columns; None for all whose values are numbers.

  Returns:
    {name: mean}, in the order of `names` or of the first appearance.
  """
  if names is None:
    names = dict.fromkeys(name for row in rows for name, value in row.items()
                          if not isinstance(value, str))
  return {name: float(np.mean([row[name] for row in rows if name in row]))
          for name in names}
