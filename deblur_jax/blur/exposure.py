"""Averaging of frames over an exposure, in linear light.

A camera stores light through a response curve g. The average is of light:

  blur = g(mean over t of g^-1(frame_t))    (Nah et al. 2017, eq. 1-2)

g is the power curve of GoPro's subset `blur_gamma`, x = light^(1 / gamma), or a
measured table, such as that of REDS. With gamma = 1 the stored values
themselves are averaged: GoPro's subset `blur`. `windows` chooses the frames of
each picture.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors

# Below this a power < 1 is a straight line, because its slope is infinite at 0.
# With gamma 2.2 that is 0.06 of a level of 255.
_TOE = 1e-8
# Largest error of a measured curve where it does not rise, as a share of its
# height. That of REDS is 0.002 at one value.
_NOISE = 0.01


def to_light(image, *, gamma: float = 2.2, response=None):
  """Converts stored values to light: g^-1.

  Args:
    image: [..., c] in [0, 1]; any shape without `response`.
    gamma: of the power curve light = image^gamma, above 0; 1 is linear.
    response: a measured curve instead, see `check_response`. Between its 256
      values light is interpolated linearly.

  Returns:
    Light in [0, 1], of the image's shape.

  Raises:
    UserError: gamma is not above 0, `check_response` refuses the curve, or the
      curve's channels are not those of the image.
  """
  if response is None:
    return _power(image, check_gamma(gamma))
  curve = _curve_for(image, response)
  return _interpolate(image, jnp.linspace(0, 1, 256)[:, None], curve)


def to_stored(light, *, gamma: float = 2.2, response=None):
  """Converts light to stored values: g, the inverse of `to_light`.

  Args:
    light: [..., c] in [0, 1]; any shape without `response`.
    gamma: as of `to_light`.
    response: as of `to_light`.

  Returns:
    Stored values in [0, 1], of light's shape.

  Raises:
    UserError: as `to_light`.
  """
  if response is None:
    return _power(light, 1 / check_gamma(gamma))
  curve = _curve_for(light, response)
  return _interpolate(light, curve, jnp.linspace(0, 1, 256)[:, None])


def check_response(curve, *, straight_above: int | None = None) -> np.ndarray:
  """Checks a measured response curve and scales it to [0, 1].

  The unit and the offset of light do not change an average. Single values that
  do not rise, as in the calibration of REDS at 236, are interpolated from their
  neighbours.

  Args:
    curve: g^-1 as a table, not traced: [256], or [256, 3] with one column for
      each channel. Row i is the light of the stored value i, in any unit.
    straight_above: from this stored value on, 1 to 254, the table is replaced
      by a line with the slope (curve[i + 1] - curve[i - 1]) / 2. The authors of
      REDS use 250, above which their measurement is extreme.

  Returns:
    float32 [256, 1] or [256, 3]; each column rises from 0 to 1.

  Raises:
    UserError: the table has another shape, the curve does not rise, or
      `straight_above` is outside of its range.
  """
  curve = np.asarray(curve, np.float64)
  if curve.shape not in ((256,), (256, 1), (256, 3)):
    raise errors.UserError(
        'A response curve is a table of [256] or [256, 3], the light of each '
        f'stored value, got {list(curve.shape)}.')
  curve = curve.reshape(256, -1)
  if straight_above is not None:
    curve = _straighten(curve, straight_above)
  light = np.stack([_rising(curve[:, c], c) for c in range(curve.shape[1])], 1)
  light -= light[0]
  return (light / light[-1]).astype(np.float32)


def windows(
    seed, length: int, *, shortest: int = 7, longest: int | None = None,
) -> list[range]:
  """Divides a sequence into disjoint windows of frames; GoPro has 7 to 13.

  The length of each window is drawn evenly from the odd numbers between the
  bounds that still fit.

  Args:
    seed: for numpy's default_rng: a number or several.
    length: number of frames of the sequence.
    shortest: least length of a window, odd, from 3 on.
    longest: greatest length, odd; `shortest` by default.

  Returns:
    Ranges of frame numbers. The middle frame of each is the sharp picture.
    Fewer than `shortest` frames remain at the end.

  Raises:
    UserError: a bound is even or below 3, or no window fits.
  """
  longest = shortest if longest is None else longest
  if not 3 <= shortest <= longest or shortest % 2 == 0 or longest % 2 == 0:
    raise errors.UserError(
        'A window has an odd number of frames from 3 on (the middle one is the '
        f'sharp picture), got {shortest} to {longest}; use 7, or 7 to 13.')
  if length < shortest:
    raise errors.UserError(
        f'A window of {shortest} frames is longer than the sequence of '
        f'{length}; choose a shorter window, or leave the sequence out.')
  rng = np.random.default_rng(seed)
  found, start = [], 0
  while length - start >= shortest:
    choices = (min(longest, length - start) - shortest) // 2 + 1
    count = shortest + 2 * int(rng.integers(choices))
    found.append(range(start, start + count))
    start += count
  return found


def mean_over(render, moments):
  """Averages render(moment) over time, with one frame in memory at a time.

  Args:
    render: a function moment -> array of a constant shape.
    moments: a tree of arrays whose first axis is time.

  Returns:
    The mean, of the shape that render returns.

  Raises:
    UserError: there is no moment, or the arrays have different numbers of them.
  """
  moment, *_ = leaves = jax.tree.leaves(moments)
  count = moment.shape[0]
  if not count or any(leaf.shape[0] != count for leaf in leaves):
    raise errors.UserError(
        'An exposure needs one or more frames, the same number everywhere, got '
        f'{[leaf.shape for leaf in leaves]}.')
  shape = jax.eval_shape(
      render, jax.tree.map(lambda leaf: leaf[0], moments))
  total, _ = jax.lax.scan(
      lambda total, moment: (total + render(moment), None),
      jnp.zeros(shape.shape, shape.dtype), moments)
  return total / count


def _power(x, exponent):
  if exponent == 1:
    return x
  if exponent > 1:
    return jnp.maximum(x, 0) ** exponent
  return jnp.where(
      x > _TOE, jnp.maximum(x, _TOE) ** exponent, x * _TOE ** (exponent - 1))


def _interpolate(x, xs, ys):
  """ys at x [..., c]; xs and ys are [256, 1 or c]."""
  channels = x.shape[-1]
  xs, ys = (jnp.broadcast_to(table, (256, channels)) for table in (xs, ys))
  return jax.vmap(jnp.interp, in_axes=-1, out_axes=-1)(x, xs, ys)


def _curve_for(image, response):
  curve = check_response(response)
  if curve.shape[1] not in (1, image.shape[-1]):
    raise errors.UserError(
        f'A response curve {list(curve.shape)} does not fit pictures of '
        f'{image.shape[-1]} channels {list(image.shape)}.')
  return jnp.asarray(curve)


def _rising(column, channel):
  """A column [256] made strictly increasing; UserError if it is far from it."""
  highest = np.maximum.accumulate(column)
  rises = np.append(True, column[1:] > highest[:-1])      # not for NaN
  levels = np.arange(256)
  mended = np.interp(levels, levels[rises], column[rises])
  height = mended[-1] - mended[0]
  if np.isfinite(column).all() and (np.diff(mended) > 0).all() and (
      np.abs(mended - column) <= _NOISE * height).all():
    return mended
  level = 254 if rises.all() else np.argmin(rises) - 1
  before, after = column[level:level + 2]
  raise errors.UserError(
      f'A response curve must rise with the stored value: channel {channel} '
      f'goes from {before:.6g} at {level} to {after:.6g} at {level + 1}; smooth'
      ' it, or use straight_above (250 for REDS).')


def _straighten(curve, level):
  if not 1 <= level <= 254:
    raise errors.UserError(
        f'straight_above must be a stored value from 1 to 254, got {level}; '
        'REDS uses 250.')
  slope = (curve[level + 1] - curve[level - 1]) / 2
  steps = np.arange(256 - level)[:, None]
  return np.concatenate([curve[:level], curve[level] + steps * slope])


def check_gamma(gamma: float) -> float:
  """Returns gamma after a check.

  Args:
    gamma: the exponent of a response curve.

  Raises:
    UserError: gamma is not finite and above 0.
  """
  if not (math.isfinite(gamma) and gamma > 0):
    raise errors.UserError(
        f'gamma must be a number above 0, got {gamma}; use 2.2 for GoPro\'s '
        'blur_gamma, 1 for its blur.')
  return gamma
