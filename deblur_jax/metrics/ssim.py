"""Structural similarity, in the two senses that GoPro tables mix.

          (2 mx my + C1) (2 sxy + C2)
  mean of -------------------------------------   (Wang et al. 2004, eq. 13)
          (mx^2 + my^2 + C1) (sx^2 + sy^2 + C2)

Moments under a Gaussian window of 11 taps, sigma 1.5; C1 = (0.01 L)^2 and
C2 = (0.03 L)^2 with L = 255 levels.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from deblur_jax import types
from deblur_jax.metrics import levels

RADIUS = 5
SIGMA = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
Smooth = Callable[[types.Array], types.Array]


def ssim_matlab3d(restored: types.Array, sharp: types.Array) -> types.Array:
  """MATLAB's `ssim` of an h x w x 3 array, as papers from Nah et al. on use it.

  The window has 11 x 11 x 11 taps, so the three channels mix; the borders of
  all three dimensions are replicated; the mean is that of the whole map. Both
  pictures are rounded to 8 bits first.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 11.
    sharp: the same shape.

  Returns:
    float32 [n]; 1 for equal pictures.
  """
  pad = ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0))

  def smooth(x):
    return _filter_channels(filter_plane(jnp.pad(x, pad, mode='edge')))
  return index(*_levels(restored, sharp), smooth=smooth)


def ssim_skimage(restored: types.Array, sharp: types.Array) -> types.Array:
  """scikit-image's `structural_similarity` with the settings of that paper.

  That is gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
  channel_axis=-1, data_range=255: a map for each channel, and the mean without
  the 5 pixels at each border. Both pictures are rounded to 8 bits first.

  Args and result as of `ssim_matlab3d`.
  """
  return index(*_levels(restored, sharp))


def filter_plane(x: types.Array) -> types.Array:
  """The window over [n, h, w, c] where it fits: [n, h - 10, w - 10, c].

  Sums of shifted slices: exact float32 also where convolutions would round to
  TF32 or bfloat16. Pixels and channels lie in one axis, for long loops.
  """
  n, h, w, c = x.shape
  h, w = h - 2 * RADIUS, w - 2 * RADIUS
  x = x.reshape(n, -1, x.shape[2] * c)
  x = sum(g * x[:, i:i + h] for i, g in enumerate(_window()))
  x = sum(g * x[:, :, c * i:c * (i + w)] for i, g in enumerate(_window()))
  return x.reshape(n, h, w, c)


def index(
    x: types.Array, y: types.Array, *, smooth: Smooth = filter_plane
) -> types.Array:
  """The mean of eq. 13 over the map: [n, h, w, c] of 255 levels -> [n]."""
  luminance, structure = terms(x, y, smooth=smooth)
  return levels.mean(luminance * structure)


def terms(
    x: types.Array, y: types.Array, *, smooth: Smooth = filter_plane
) -> tuple[types.Array, types.Array]:
  """The two factors of eq. 13, as maps: luminance, and contrast x structure."""
  mx, my, sxx, syy, sxy = moments(x, y, smooth=smooth)
  luminance = (2 * mx * my + C1) / (mx * mx + my * my + C1)
  return luminance, (2 * sxy + C2) / (sxx + syy + C2)


def moments(
    x: types.Array, y: types.Array, *, smooth: Smooth = filter_plane
) -> tuple[types.Array, ...]:
  """Local means of x and y, their variances, and their covariance."""
  # Variances do not move with the origin, but their float32 error does: about
  # mid-grey the squares are four times smaller, and half-integers are exact.
  x, y = x - 127.5, y - 127.5
  mx, my = smooth(x), smooth(y)
  sxx = smooth(x * x) - mx * mx
  syy = smooth(y * y) - my * my
  sxy = smooth(x * y) - mx * my
  return mx + 127.5, my + 127.5, sxx, syy, sxy


def _levels(restored, sharp):
  levels.check(restored, sharp)
  levels.check_size(restored, side=2 * RADIUS + 1, what='SSIM')
  return levels.round_to_uint8(restored), levels.round_to_uint8(sharp)


def _filter_channels(x):
  """The window along the channels, whose border is replicated."""
  taps = np.arange(-RADIUS, RADIUS + 1)
  rows = []
  for c in range(3):
    source = np.clip(c + taps, 0, 2)
    mix = [float(sum(g for g, s in zip(_window(), source, strict=True)
                     if s == k)) for k in range(3)]
    rows.append(sum(m * x[..., k] for k, m in enumerate(mix)))
  return jnp.stack(rows, axis=-1)


def _window() -> list[float]:
  taps = np.exp(-np.arange(-RADIUS, RADIUS + 1) ** 2 / (2 * SIGMA ** 2))
  return [float(g) for g in taps / taps.sum()]
