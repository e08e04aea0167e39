"""Structural similarity, in the two senses that GoPro tables mix.

          (2 mx my + C1) (2 sxy + C2)
  mean of -------------------------------------   (Wang et al. 2004, eq. 13)
          (mx^2 + my^2 + C1) (sx^2 + sy^2 + C2)

The window and the constants are those of `ops.similarity`.
"""

import jax.numpy as jnp
import numpy as np

from deblur_jax.metrics import levels
from deblur_jax.ops import similarity
from deblur_jax.state import Array


def ssim_matlab3d(restored: Array, sharp: Array) -> Array:
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
  radius = similarity.RADIUS
  pad = ((0, 0), (radius, radius), (radius, radius), (0, 0))

  def smooth(x):
    return _filter_channels(
        similarity.filter_plane(jnp.pad(x, pad, mode='edge')))

  return index(*_levels(restored, sharp), smooth=smooth)


def ssim_skimage(restored: Array, sharp: Array) -> Array:
  """scikit-image's `structural_similarity` with the settings of that paper.

  That is gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
  channel_axis=-1, data_range=255: a map for each channel, and the mean without
  the 5 pixels at each border. Both pictures are rounded to 8 bits first.

  Args and result as of `ssim_matlab3d`.
  """
  return index(*_levels(restored, sharp))


def index(
    x: Array, y: Array, *,
    smooth: similarity.Smooth = similarity.filter_plane
) -> Array:
  """The mean of eq. 13 over the map: [n, h, w, c] of 255 levels -> [n]."""
  luminance, structure = similarity.terms(x, y, smooth=smooth)
  return levels.mean(luminance * structure)


def _levels(restored, sharp):
  levels.check(restored, sharp)
  levels.check_size(restored, side=2 * similarity.RADIUS + 1,
                    what='SSIM')
  return levels.round_to_uint8(restored), levels.round_to_uint8(sharp)


def _filter_channels(x):
  """The window along the channels, whose border is replicated."""
  taps = np.arange(-similarity.RADIUS, similarity.RADIUS + 1)
  rows = []
  for c in range(3):
    source = np.clip(c + taps, 0, 2)
    mix = [float(sum(g for g, s in zip(similarity.window(), source, strict=True)
                     if s == k)) for k in range(3)]
    rows.append(sum(m * x[..., k] for k, m in enumerate(mix)))
  return jnp.stack(rows, axis=-1)
