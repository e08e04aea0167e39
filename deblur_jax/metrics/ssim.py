"""Structural similarity, in the two conventions that GoPro tables mix.

          (2 mx my + C1) (2 sxy + C2)
  mean of -------------------------------------   (Wang et al. 2004, eq. 13)
          (mx^2 + my^2 + C1) (sx^2 + sy^2 + C2)

The window and the constants are those of `ops.similarity`.
"""

import functools

import jax.numpy as jnp
import numpy as np

from deblur_jax.metrics import common
from deblur_jax.metrics.record import Metric
from deblur_jax.ops import similarity
from deblur_jax.state import Array

SIDE = 2 * similarity.RADIUS + 1


def ssim_matlab3d(restored: Array, sharp: Array) -> Array:
  """MATLAB's `ssim` of an h x w x 3 array: papers since Nah et al. use it.

  The window has 11 x 11 x 11 taps, so the three channels mix. The borders of
  all three dimensions are replicated, and the mean is over the whole map. Both
  images are rounded to 8 bits first.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 11.
    sharp: the same shape.

  Returns:
    float32 [n]; 1 for equal images.

  Raises:
    UserError: unequal shapes, images that are not RGB or too small.
  """
  radius = similarity.RADIUS
  pad = ((0, 0), (radius, radius), (radius, radius), (0, 0))

  def smooth(x):
    return _filter_channels(
        similarity.filter_plane(jnp.pad(x, pad, mode='edge')))

  return index(*_levels(restored, sharp), smooth=smooth)


def ssim_skimage(restored: Array, sharp: Array) -> Array:
  """scikit-image's `structural_similarity` with the settings of the paper.

  These are gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
  channel_axis=-1, data_range=255: a map for each channel, and the mean without
  the 5 pixels at each border. Both images are rounded to 8 bits first.

  Args:
    restored: float32 [n, h, w, 3] in [0, 1], h and w at least 11.
    sharp: the same shape.

  Returns:
    float32 [n]; 1 for equal images.

  Raises:
    UserError: unequal shapes, images that are not RGB or too small.
  """
  return index(*_levels(restored, sharp))


def index(
    x: Array, y: Array, *,
    smooth: similarity.Smooth = similarity.filter_plane
) -> Array:
  """The mean of eq. 13 over the map.

  Args:
    x: float32 [n, h, w, c] in [0, 255].
    y: the same shape.
    smooth: the local mean, images to images.

  Returns:
    float32 [n]; 1 for equal images.
  """
  luminance, structure = similarity.terms(x, y, smooth=smooth)
  return common.mean(luminance * structure)


def _levels(restored, sharp):
  common.check(restored, sharp)
  common.check_size(restored, side=SIDE, what='SSIM')
  return common.round_to_uint8(restored), common.round_to_uint8(sharp)


def _filter_channels(x):
  """The window along the channels; their border is replicated."""
  taps = np.arange(-similarity.RADIUS, similarity.RADIUS + 1)
  rows = []
  for c in range(3):
    source = np.clip(c + taps, 0, 2)
    mix = [float(sum(g for g, s in zip(similarity.window(), source, strict=True)
                     if s == k)) for k in range(3)]
    rows.append(sum(m * x[..., k] for k, m in enumerate(mix)))
  return jnp.stack(rows, axis=-1)


# The record of any similarity: 1 for equal images.
metric = functools.partial(
    Metric, higher_is_better=True, range=(-1, 1), side=SIDE)
MATLAB3D = metric(
    ssim_matlab3d, "MATLAB's ssim of an RGB array (3-D window)", standard=True)
SKIMAGE = metric(
    ssim_skimage, "scikit-image's SSIM, Gaussian window, mean over channels",
    standard=True)
