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


def least_size(layout: Sequence[Window]) -> int:
  """The smallest image for which no layer is empty.

  Args:
    layout: the convolutions, first one first.

  Returns:
    Its side in pixels.
  """
  size = 1
  for kernel_size, stride, padding in reversed(layout):
    size = (max(size, 1) - 1) * stride + kernel_size - 2 * padding
  return max(size, 1)
