"""What a sensor does while the shutter is open: it averages light.

A camera stores light through a response curve g. Averaging is done in light:

  blur = g(mean over t of g^-1(frame_t))    (Nah et al. 2017, eq. 1-2)

g is the power curve of GoPro's subset `blur_gamma`, x = light^(1 / gamma), or a
measured table, as REDS has one. With gamma = 1 stored values are averaged as
they are: GoPro's subset `blur`. `windows` says which frames make one picture.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors

# Below this a power < 1 goes on as a straight line: its slope would be infinite
# at 0. With gamma 2.2 that is 0.06 of a level of 255.
_TOE = 1e-8
# How far, of its height, a measured curve may be off where it does not rise:
# REDS' is 0.002 off at one value.
_NOISE = 0.01


def to_light(image, *, gamma: float = 2.2, response=None):
  """g^-1: stored values -> light.

  Args:
    image: [..., c] in [0, 1]; any shape without `response`.
    gamma: of the power curve: light = image^gamma; 1 is linear.
    response: a measured curve in its place, see `check_response`; between its
      256 values light is interpolated linearly.

  Raises:
    UserError: gamma is not above 0, or `check_response` refuses the curve.
  """
  if response is None:
    return _power(image, check_gamma(gamma))
  curve = _curve_for(image, response)
  return _interpolate(image, jnp.linspace(0, 1, 256)[:, None], curve)


def to_stored(light, *, gamma: float = 2.2, response=None):
  """g: light [0, 1] -> stored values, the inverse of `to_light`."""
  if response is None:
    return _power(light, 1 / check_gamma(gamma))
  curve = _curve_for(light, response)
  return _interpolate(light, curve, jnp.linspace(0, 1, 256)[:, None])


def average(frames, *, gamma: float = 2.2, response=None):
  """The blurry picture of a series of sharp ones: g(mean of g^-1(frame)).

  Args:
    frames: [t, ..., h, w, c] in [0, 1].
    gamma: of the power curve; 2.2 for GoPro's `blur_gamma`, 1 for its `blur`.
    response: a measured curve in its place, see `check_response`.

  Returns:
    [..., h, w, c] in [0, 1]. The gradient is finite everywhere, 0 included.

  Raises:
    UserError: gamma is not above 0, the curve does not rise, or there is no
      frame.
  """
  curve = dict(gamma=gamma, response=response)
  light = mean_over(lambda frame: to_light(frame, **curve), frames)
  return to_stored(light, **curve)


def check_response(curve, *, straight_above: int | None = None) -> np.ndarray:
  """A measured response curve, ready for `to_light` and `to_stored`.

  Args:
    curve: g^-1 as a table, not traced: [256] or, a column a channel, [256, 3];
      [i] is the light of the stored value i, in any unit.
    straight_above: from this stored value on the table is replaced by a line of
      its slope there, (curve[i + 1] - curve[i - 1]) / 2. REDS' authors do so at
      250, where their measurement becomes extreme.

  Returns:
    float32 [256, 1] or [256, 3], each column rising from 0 to 1: a unit and an
    offset of light change no average. Single values that fall a little short,
    as calibrations have them (REDS' at 236), lie between their neighbours.

  Raises:
    UserError: another shape, or a curve that does not rise.
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
  """Disjoint runs of frames, one after another; GoPro took 7 to 13.

  Args:
    seed: for numpy's default_rng: a number or several.
    length: frames of the sequence.
    shortest, longest: odd bounds of a window's length, which is drawn evenly
      from the odd numbers between them that still fit; `longest` is `shortest`
      by default.

  Returns:
    Ranges of frame numbers; the middle one of each is the sharp picture. Less
    than `shortest` frames are left over at the end.

  Raises:
    UserError: an even bound, one below 3, or no window fits.
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
  """The mean of render(moment), with one frame in memory at a time.

  Args:
    render: moment -> an array, always of one shape.
    moments: arrays (a tree of them) whose first axis is time.
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
  """A column [256] made strictly rising, or a UserError that says where not."""
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
      ' it, or straighten its end (REDS does above 250).')


def _straighten(curve, level):
  if not 1 <= level <= 254:
    raise errors.UserError(
        f'straight_above must be a stored value from 1 to 254, got {level}; '
        'REDS uses 250.')
  slope = (curve[level + 1] - curve[level - 1]) / 2
  steps = np.arange(256 - level)[:, None]
  return np.concatenate([curve[:level], curve[level] + steps * slope])


def check_gamma(gamma: float) -> float:
  """gamma, or a UserError where it is not above 0."""
  if not (math.isfinite(gamma) and gamma > 0):
    raise errors.UserError(
        f'gamma must be a number above 0, got {gamma}; use 2.2 for GoPro\'s '
        'blur_gamma, 1 for its blur.')
  return gamma
