"""The local moments and factors of structural similarity (Wang et al. 2004).

The window is a Gaussian of 11 taps and sigma 1.5. C1 = (0.01 L)^2 and
C2 = (0.03 L)^2 with L = 255 levels.
"""

from collections.abc import Callable

import numpy as np

from deblur_jax.state import Array

RADIUS = 5
SIGMA = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
Smooth = Callable[[Array], Array]


def filter_plane(x: Array) -> Array:
  """Computes the weighted local means where the whole window fits.

  A sum of shifted slices: exact float32 also where convolutions round to TF32
  or bfloat16. Columns and channels share one axis, so that loops are long.

  Args:
    x: [n, h, w, c].

  Returns:
    [n, h - 10, w - 10, c].
  """
  n, h, w, c = x.shape
  h, w = h - 2 * RADIUS, w - 2 * RADIUS
  x = x.reshape(n, -1, x.shape[2] * c)
  x = sum(g * x[:, i:i + h] for i, g in enumerate(window()))
  x = sum(g * x[:, :, c * i:c * (i + w)] for i, g in enumerate(window()))
  return x.reshape(n, h, w, c)


def terms(
    x: Array, y: Array, *, smooth: Smooth = filter_plane
) -> tuple[Array, Array]:
  """Computes the maps of luminance and of contrast times structure (eq. 13).

  Args:
    x: [n, h, w, c] in [0, 255].
    y: [n, h, w, c] in [0, 255].
    smooth: a function that computes weighted local means.

  Returns:
    (luminance, contrast times structure), each of the shape that `smooth`
    returns.
  """
  mx, my, sxx, syy, sxy = moments(x, y, smooth=smooth)
  luminance = (2 * mx * my + C1) / (mx * mx + my * my + C1)
  return luminance, (2 * sxy + C2) / (sxx + syy + C2)


def moments(
    x: Array, y: Array, *, smooth: Smooth = filter_plane
) -> tuple[Array, ...]:
  """Computes local means, variances and the covariance of two images.

  Args:
    x: [n, h, w, c] in [0, 255].
    y: [n, h, w, c] in [0, 255].
    smooth: a function that computes weighted local means.

  Returns:
    (mean of x, mean of y, variance of x, variance of y, covariance).
  """
  # The origin does not change variances, but their float32 error: relative to
  # mid-grey the squares are four times smaller, and half-integers are exact.
  x, y = x - 127.5, y - 127.5
  mx, my = smooth(x), smooth(y)
  sxx = smooth(x * x) - mx * mx
  syy = smooth(y * y) - my * my
  sxy = smooth(x * y) - mx * my
  return mx + 127.5, my + 127.5, sxx, syy, sxy


def window() -> list[float]:
  """Returns the taps of the window along one axis; they sum to one."""
  taps = np.exp(-np.arange(-RADIUS, RADIUS + 1) ** 2 / (2 * SIGMA ** 2))
  return [float(g) for g in taps / taps.sum()]
