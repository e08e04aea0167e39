"""What a sensor does while the shutter is open: it averages light.

A camera stores light through a response curve g; here the power curve of
GoPro's subset `blur_gamma`, x = g(light) = light^(1 / gamma). Averaging is done
in light:  blur = g(mean over t of g^-1(frame_t))  (Nah et al. 2017, eq. 1-2).
With gamma = 1 stored values are averaged as they are: GoPro's subset `blur`.
"""

import math

import jax
import jax.numpy as jnp

from deblur_jax import types

# Below this a power < 1 goes on as a straight line: its slope would be infinite
# at 0. With gamma 2.2 that is 0.06 of a level of 255.
_TOE = 1e-8


def to_light(image, *, gamma: float = 2.2):
  """g^-1: stored values [0, 1] of any shape -> light, x^gamma."""
  return _power(image, _check_gamma(gamma))


def to_stored(light, *, gamma: float = 2.2):
  """g: light [0, 1] of any shape -> stored values, x^(1 / gamma)."""
  return _power(light, 1 / _check_gamma(gamma))


def average(frames, *, gamma: float = 2.2):
  """The blurry picture of a series of sharp ones: g(mean of g^-1(frame)).

  Args:
    frames: [t, ..., h, w, c] in [0, 1].
    gamma: of the response; 2.2 for GoPro's `blur_gamma`, 1 for its `blur`.

  Returns:
    [..., h, w, c] in [0, 1]. The gradient is finite everywhere, 0 included.

  Raises:
    UserError: gamma is not above 0, or there is no frame.
  """
  light = mean_over(lambda frame: to_light(frame, gamma=gamma), frames)
  return to_stored(light, gamma=gamma)


def mean_over(render, moments):
  """The mean of render(moment), with one frame in memory at a time.

  Args:
    render: moment -> an array, always of one shape.
    moments: arrays (a tree of them) whose first axis is time.
  """
  moment, *_ = leaves = jax.tree.leaves(moments)
  count = moment.shape[0]
  if not count or any(leaf.shape[0] != count for leaf in leaves):
    raise types.UserError(
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


def _check_gamma(gamma):
  if not (math.isfinite(gamma) and gamma > 0):
    raise types.UserError(
        f'gamma must be a number above 0, got {gamma}; use 2.2 for GoPro\'s '
        'blur_gamma, 1 for its blur.')
  return gamma
