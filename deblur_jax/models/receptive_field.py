"""The geometry of a stack of convolutions: sizes and receptive fields."""

from collections.abc import Sequence
from typing import NamedTuple


class Window(NamedTuple):
  """The geometry of one convolution, equal along both axes.

  Attributes:
    kernel_size: side of the kernel.
    stride: in pixels of the input.
    padding: on each side.
  """

  kernel_size: int
  stride: int
  padding: int


def map_size(size: int, layout: Sequence[Window]) -> int:
  """The side of the result of a stack of convolutions.

  Args:
    size: side of the image, in pixels.
    layout: the convolutions, first one first.

  Returns:
    The side; below 1 if the image is too small.
  """
  for kernel_size, stride, padding in layout:
    size = (size + 2 * padding - kernel_size) // stride + 1
  return size


def receptive_field(layout: Sequence[Window]) -> int:
  """The square of pixels that one value of the result depends on.

  Args:
    layout: the convolutions, first one first.

  Returns:
    Its side in pixels.
  """
  size = 1
  for kernel_size, stride, _ in reversed(layout):
    size = (size - 1) * stride + kernel_size
  return size


def least_size(layout: Sequence[Window], *, least: Sequence[int]) -> int:
  """The smallest image whose i-th layer has at least least[i] values a side.

  Args:
    layout: the convolutions, first one first.
    least: for each of them, at least 1.

  Returns:
    Its side in pixels.
  """
  size = 1
  for window, wanted in zip(reversed(layout), reversed(least), strict=True):
    kernel_size, stride, padding = window
    size = (max(size, wanted) - 1) * stride + kernel_size - 2 * padding
  return max(size, 1)
