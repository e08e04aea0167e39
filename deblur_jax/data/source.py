"""What a data set is to the rest of the code: names, and a way to read one."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Source(NamedTuple):
  """A list of pictures in a fixed order.

  names: one a pair, unique, the same on every machine: 'SEQ/000047'.
  read: i -> {'blur': uint8 [h, w, 3], 'sharp': uint8 [h, w, 3]}; a source of
    sharp pictures gives 'sharp' only, one of real blurred photos 'blur' only.
  where: the set in words, for messages: 'gopro train set in DIR'.
  """

  names: list[str]
  read: Callable[[int], dict[str, np.ndarray]]
  where: str
