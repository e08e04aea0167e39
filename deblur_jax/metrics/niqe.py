"""NIQE: the distance of an image from natural ones (Mittal et al. 2013).

An image is cut into blocks of 96 x 96 pixels. Each block gives 36 numbers that
describe the distribution of its locally normalised luminance, and of products
of neighbours in it, at two scales. With their mean m and covariance C, and
those of pristine photos, mp and Cp,

  NIQE^2 = (m - mp)^T ((C + Cp) / 2)^-1 (m - mp)                       (eq. 10)

Lower is more natural. This follows the authors' MATLAB release (8-bit gray,
bicubic halving with antialiasing, borders repeated); programs that take Y of
YCbCr or another halving give other values. There is one difference: where the
luminance is constant, its normalised value is 0 here, and the rounding noise of
float64 there. That changes partly clipped images by about 0.01. Blocks without
any detail are left out.

Like all metrics without reference, it alone must not rank deblurring methods.
"""

import math
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from deblur_jax import errors
from deblur_jax.metrics import common
from deblur_jax.metrics.record import Metric
from deblur_jax.ops import array_files
from deblur_jax.state import Array

BLOCK = 96
RADIUS = 3                # of the Gaussian window of sigma 7 / 6
FEATURES = 36
KEYS = 'mu_pris_param', 'cov_pris_param'
SHAPES = np.arange(200, 10001) / 1000       # the values of alpha that are tried
NEIGHBOURS = (0, 1), (1, 0), (1, 1), (-1, 1)


class Model(NamedTuple):
  """The statistics of natural photos, float64.

  Attributes:
    mean: [36], of the features.
    covariance: [36, 36], of the features.
  """

  mean: np.ndarray         # [36]
  covariance: np.ndarray   # [36, 36], positive definite


def build(*, path: str | pathlib.Path) -> Callable[[Array], Array]:
  """NIQE with the parameters of a file.

  Args:
    path: an .npz file, see `load`.

  Returns:
    image -> [n], see `niqe`.

  Raises:
    UserError: no such file, or one that does not hold a model.
  """
  model = load(path)
  return lambda image: niqe(image, model)


def niqe(image: Array, model: Model) -> Array:
  """The distance of each image from the model.

  Args:
    image: float32 [n, h, w, 3] in [0, 1], rounded to 8 bits first. It needs at
      least two blocks of 96 x 96; pixels outside of whole blocks do not count.
    model: from `load` or `fit`.

  Returns:
    float32 [n]; NaN where fewer than two blocks have texture, or where the
    image has a NaN.

  Raises:
    UserError: images that are not RGB or smaller than a block.
  """
  features, _ = _features(image)
  # In coordinates where the model's covariance is the identity: in float32 its
  # smallest eigenvalues are below the rounding errors.
  root = np.linalg.cholesky(model.covariance)
  whiten = np.linalg.inv(root).astype(np.float32)
  centred = features - jnp.asarray(model.mean, jnp.float32)[None, None, :]
  z = jnp.matmul(centred, whiten.T, precision=jax.lax.Precision.HIGHEST)
  broken = jnp.isnan(image).any(axis=(1, 2, 3))
  return jnp.where(broken, jnp.nan, jax.vmap(_distance)(z))


def load(path: str | pathlib.Path) -> Model:
  """Reads the published parameters, or those of `save`.

  Args:
    path: an .npz file.

  Returns:
    The model.

  Raises:
    UserError: no such file, or not of this form.
  """
  path = pathlib.Path(path)
  try:
    stored = array_files.load(path)
    found = {key: np.asarray(stored[key], np.float64) for key in KEYS
             if key in stored}
  except FileNotFoundError as error:
    raise errors.UserError(
        f'No NIQE parameters at {path}: take niqe_pris_params.npz of BasicSR, '
        'or fit your own on sharp photos with niqe.fit.') from error
  except (OSError, ValueError, TypeError) as error:
    raise errors.UserError(
        f'{path} is not an .npz file with {" and ".join(KEYS)}.') from error
  if list(found) != list(KEYS) or found[KEYS[0]].size != FEATURES or (
      found[KEYS[1]].shape != (FEATURES, FEATURES)):
    raise errors.UserError(
        f'{path} lacks NIQE parameters: expected {KEYS[0]} of {FEATURES} '
        f'numbers and {KEYS[1]} of {FEATURES}x{FEATURES}.')
  return _checked(Model(found[KEYS[0]].reshape(-1), found[KEYS[1]]), path)


def save(path: str | pathlib.Path, model: Model) -> None:
  """Writes a model as a file that `load` reads.

  Args:
    path: the .npz file to write.
    model: from `fit`.
  """
  np.savez(path, **dict(zip(
      KEYS, (model.mean[None, :], model.covariance), strict=True)))


def fit(photos: Iterable[np.ndarray], *, threshold: float = 0.75) -> Model:
  """Fits a model to sharp photos.

  As in the authors' code, only those blocks of a photo count whose mean local
  deviation is above `threshold` times that of its sharpest block.

  Args:
    photos: uint8 or float32 in [0, 1], [h, w, 3], at least 96 x 96 pixels each.
      A stable model needs 50 or more, with several blocks each.
    threshold: in [0, 1]; 0 takes every block.

  Returns:
    The model.

  Raises:
    UserError: too few blocks for a covariance.
  """
  measure, chosen = jax.jit(_features), []
  for photo in photos:
    if photo.dtype == np.uint8:
      photo = photo / np.float32(255)
    # Whole blocks: photos of about one size are measured by one program.
    if min(photo.shape[:2]) >= BLOCK:
      photo = photo[:photo.shape[0] // BLOCK * BLOCK,
                    :photo.shape[1] // BLOCK * BLOCK]
    features, sharpness = (
        np.asarray(x[0], np.float64) for x in measure(photo[None]))
    good = (sharpness > threshold * sharpness.max()) & (
        np.isfinite(features).all(axis=1))
    chosen.append(features[good])
  rows = np.concatenate(chosen) if chosen else np.zeros((0, FEATURES))
  if len(rows) <= FEATURES:
    raise errors.UserError(
        f'A NIQE model needs more than {FEATURES} blocks of {BLOCK}x{BLOCK} '
        f'with texture, got {len(rows)}: give more or larger photos.')
  return _checked(Model(rows.mean(axis=0), np.cov(rows, rowvar=False)),
                  'these photos')


def _checked(model, where):
  try:
    np.linalg.cholesky(model.covariance)
  except np.linalg.LinAlgError as error:
    raise errors.UserError(
        f'The NIQE covariance of {where} is not positive definite: fit it on '
        'more photos.') from error
  return model


def _distance(z):
  """Whitened features [blocks, 36] -> a scalar."""
  valid = jnp.isfinite(z).all(axis=1)
  count = valid.sum()
  z = jnp.where(valid[:, None], z, 0)
  mean = z.sum(axis=0) / count
  apart = jnp.where(valid[:, None], z - mean[None, :], 0)
  covariance = jnp.matmul(apart.T, apart,
                          precision=jax.lax.Precision.HIGHEST) / (count - 1)
  pooled = (covariance + jnp.eye(FEATURES)) / 2
  square = (mean * jnp.linalg.solve(pooled, mean[:, None])[:, 0]).sum()
  return jnp.where(count > 1, jnp.sqrt(square), jnp.nan)


def _features(image):
  """[n, h, w, 3] -> [n, blocks, 36], and their sharpness [n, blocks]."""
  common.check_images(image)
  n, h, w, _ = image.shape
  rows, columns = h // BLOCK, w // BLOCK
  if rows * columns < 1:
    raise errors.UserError(
        f'NIQE needs images of at least {BLOCK}x{BLOCK} pixels, got {w}x{h}: '
        'leave such images out.')
  x = common.luma_uint8(image)[:, :rows * BLOCK, :columns * BLOCK, 0]
  parts = []
  for scale in (1, 2):
    normalised, deviation = _normalise(x)
    blocks = _blocks(normalised, BLOCK // scale)
    if scale == 1:
      sharpness = _blocks(deviation, BLOCK).mean(axis=-1).mean(axis=-1)
    fields = [blocks] + [
        blocks * jnp.roll(blocks, shift, axis=(2, 3)) for shift in NEIGHBOURS]
    for field in fields:
      alpha, left, right, ratio = _fit_asymmetric(field)
      parts += ([alpha, (left + right) / 2] if field is blocks else
                [alpha, (right - left) * ratio, left, right])
    x = _halve(x)
  return jnp.stack(parts, axis=-1), sharpness


def _blocks(x, side):
  """[n, h, w] -> [n, blocks, side, side]."""
  n, h, w = x.shape
  x = x.reshape(n, h // side, side, w // side, side).swapaxes(2, 3)
  return x.reshape(n, -1, side, side)


def _normalise(x):
  """(x - local mean) / (local deviation + 1), and the deviation.

  These are sums of differences to the middle, which are exact where x is
  constant.
  """
  side = 2 * RADIUS + 1
  taps = np.exp(-np.arange(-RADIUS, RADIUS + 1) ** 2 / (2 * (7 / 6) ** 2))
  taps = jnp.asarray(np.outer(taps, taps) / taps.sum() ** 2, jnp.float32)
  padded = jnp.pad(x, ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS)),
                   mode='edge')

  def add(index, sums):
    i, j = index // side, index % side
    difference = jax.lax.dynamic_slice(padded, (0, i, j), x.shape) - x
    weighted = taps[i, j] * difference
    return sums[0] + weighted, sums[1] + weighted * difference

  zeros = jnp.zeros_like(x)
  mean, square = jax.lax.fori_loop(0, side * side, add, (zeros, zeros))
  deviation = jnp.sqrt(jnp.abs(square - mean * mean))
  return -mean / (deviation + 1), deviation


def _fit_asymmetric(x):
  """Fits the asymmetric generalised Gaussian of section II-B to two last axes.

  The results are alpha, the left and the right scale, G(2/alpha) / G(1/alpha).
  """
  mean = lambda z: z.mean(axis=-1).mean(axis=-1)
  square = x * x
  deviations = []
  for side in (x < 0, x > 0):
    share = mean(side.astype(x.dtype))
    deviations.append(jnp.sqrt(mean(jnp.where(side, square, 0)) / share))
  left, right = deviations
  gamma = left / right
  ratio = jnp.square(mean(jnp.abs(x))) / mean(square)
  ratio *= (gamma ** 3 + 1) * (gamma + 1) / jnp.square(gamma ** 2 + 1)
  index = jnp.searchsorted(jnp.asarray(_EDGES), ratio)
  scale = jnp.asarray(_SCALES)[index]
  # Values of one sign have no such distribution.
  alpha = jnp.where(jnp.isnan(ratio), jnp.nan, jnp.asarray(_ALPHAS)[index])
  return alpha, left * scale, right * scale, jnp.asarray(_MEANS)[index]


def _halve(x):
  """MATLAB's imresize(x, 0.5) for even sides: bicubic with antialiasing."""
  distance = (np.arange(8) - 3.5) / 2
  d = np.abs(distance)
  taps = np.where(d <= 1, 1.5 * d ** 3 - 2.5 * d ** 2 + 1,
                  -0.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2) / 2
  for axis in (1, 2):
    widths = [(0, 0)] * 3
    widths[axis] = (3, 3)
    padded = jnp.pad(x, widths, mode='symmetric')
    size = x.shape[axis]
    x = sum(float(tap) * jax.lax.slice_in_dim(
        padded, i, i + size - 1, stride=2, axis=axis)
            for i, tap in enumerate(taps))
  return x


def _tables():
  """The functions of alpha, at each of the 9801 values of SHAPES."""
  one, two, three = (special.gamma(k / SHAPES) for k in (1, 2, 3))
  ratio = two ** 2 / (one * three)       # grows with alpha
  edges = (ratio[1:] + ratio[:-1]) / 2   # the nearest value lies between two
  return [table.astype(np.float32) for table in (
      edges, SHAPES, np.sqrt(one / three), two / one)]


_EDGES, _ALPHAS, _SCALES, _MEANS = _tables()
NIQE = Metric(
    build, 'distance from natural photos (Mittal et al. 2013)',
    higher_is_better=False, range=(0, math.inf), inputs=(), needs_weights=True,
    side=BLOCK, test_size=(200, 300))
