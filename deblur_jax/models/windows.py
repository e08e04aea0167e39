"""Which pixels a discriminator's judgement sees, from its layers alone."""

from collections.abc import Sequence
from typing import NamedTuple


class Window(NamedTuple):
  """The geometry of one convolution, the same along both axes."""

  kernel_size: int
  stride: int
  padding: int


def map_size(size: int, layout: Sequence[Window]) -> int:
  """The side of the result for images with a side of `size`, from 1 on."""
  for kernel_size, stride, padding in layout:
    size = (size + 2 * padding - kernel_size) // stride + 1
  return size


def receptive_field(layout: Sequence[Window]) -> int:
  """The side of the square of pixels that one value of the result sees."""
  size = 1
  for kernel_size, stride, _ in reversed(layout):
    size = (size - 1) * stride + kernel_size
  return size


def least_size(layout: Sequence[Window], *, least: Sequence[int]) -> int:
  """The smallest image whose i-th layer results in least[i] at least."""
  size = 1
  for window, wanted in zip(reversed(layout), reversed(least), strict=True):
    kernel_size, stride, padding = window
    size = (max(size, wanted) - 1) * stride + kernel_size - 2 * padding
  return max(size, 1)
