"""Stored integers of a picture to values in [0, 1] and back.

The only conversion in the package: training, evaluation, priors and the command
`deblur` see the same float32 values for the same file.
"""

import numpy as np


def to_float(stored):
  """uint8 or uint16 of any shape to float32 in [0, 1], NumPy or JAX.

  One product instead of a division has the same bits in NumPy, in JAX and on
  every device: inside `jit` XLA replaces a division by a constant in this way.
  """
  return stored.astype(np.float32) * np.float32(1 / np.iinfo(stored.dtype).max)


def quantize(image, *, bits: int) -> np.ndarray:
  """Values in [0, 1] to the nearest of 2^bits levels, clipped.

  Args:
    image: float, any shape.
    bits: 8 or 16.

  Returns:
    uint8 or uint16; what is not finite becomes an arbitrary level.
  """
  levels = np.rint(np.clip(image, 0, 1) * (2**bits - 1))
  return levels.astype(np.uint8 if bits == 8 else np.uint16)


def to_uint8(image) -> np.ndarray:
  """Values in [0, 1] to the nearest of 256 levels; see `quantize`."""
  return quantize(image, bits=8)


def to_8_bits(stored: np.ndarray) -> np.ndarray:
  """Converts uint16 to the nearest uint8; returns uint8 unchanged."""
  if stored.dtype == np.uint8:
    return stored
  return ((stored.astype(np.uint32) + 128) // 257).astype(np.uint8)
