"""The record of a metric: all that other parts need to know of it."""

from collections.abc import Callable
from typing import NamedTuple


class Metric(NamedTuple):
  """A metric with its metadata; `metrics.METRICS` has one of each.

  Attributes:
    fn: (restored, *inputs) -> float32 [n], one value an image. It may be
      jitted. Images are float32 [n, h, w, 3] in [0, 1]. With `needs_weights`
      it is a builder instead: its keywords name files, it returns such a
      function.
    convention: one phrase for reports: what exactly is computed.
    higher_is_better: the direction. Without a reference: whether higher is
      sharper or more natural.
    range: (lowest, highest) value of finite images.
    inputs: what `fn` takes after the restored images: 'sharp', 'blur',
      'kernel', 'frames' or 'oracle' (restored with the true kernel). () is a
      metric without reference: it measures sharpness or naturalness, prefers
      ringing and noise to the truth, and ranks nothing.
    needs_weights: whether it reads files that are not part of the project.
    standard: whether evaluation always computes it.
    in_report: whether the tables of reports show it.
    digits: decimals in tables.
    side: height and width of the smallest image, in pixels.
    test_size: (height, width) of the images of its tests: large enough for
      meaningful values, and otherwise small.
  """

  fn: Callable
  convention: str
  higher_is_better: bool
  range: tuple[float, float]
  inputs: tuple[str, ...] = ('sharp',)
  needs_weights: bool = False
  standard: bool = False
  in_report: bool = True
  digits: int = 4
  side: int = 1
  test_size: tuple[int, int] = (72, 81)

  @property
  def best(self) -> float:
    """The end of the range that is best: the value of a perfect result."""
    return self.range[self.higher_is_better]
