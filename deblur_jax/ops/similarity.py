"""The local moments and factors of structural similarity.

Under a Gaussian window of 11 taps, sigma 1.5; C1 = (0.01 L)^2 and C2 =
(0.03 L)^2 with L = 255 levels   (Wang et al. 2004).
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
  """The window over [n, h, w, c] where it fits: [n, h - 10, w - 10, c].

  Sums of shifted slices: exact float32 also where convolutions would round to
  TF32 or bfloat16. Pixels and channels lie in one axis, for long loops.
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
  """The two factors of eq. 13, as maps: luminance, and contrast x structure.

  Args:
    x, y: [n, h, w, c] in levels of 255.
    smooth: weighted local means.
  """
  mx, my, sxx, syy, sxy = moments(x, y, smooth=smooth)
  luminance = (2 * mx * my + C1) / (mx * mx + my * my + C1)
  return luminance, (2 * sxy + C2) / (sxx + syy + C2)


def moments(
    x: Array, y: Array, *, smooth: Smooth = filter_plane
) -> tuple[Array, ...]:
  """Local means of x and y, their variances, and their covariance."""
  # Variances do not move with the origin, but their float32 error does: about
  # mid-grey the squares are four times smaller, and half-integers are exact.
  x, y = x - 127.5, y - 127.5
  mx, my = smooth(x), smooth(y)
  sxx = smooth(x * x) - mx * mx
  syy = smooth(y * y) - my * my
  sxy = smooth(x * y) - mx * my
  return mx + 127.5, my + 127.5, sxx, syy, sxy


def window() -> list[float]:
  """The taps of the window along one axis; they sum to one."""
  taps = np.exp(-np.arange(-RADIUS, RADIUS + 1) ** 2 / (2 * SIGMA ** 2))
  return [float(g) for g in taps / taps.sum()]
