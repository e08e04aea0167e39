"""Motion of a picture in its plane while the shutter is open.

Lengths are in pixels and angles in radians; x points right and y down. A pose
maps a point p of the still picture, relative to the picture's centre, to
zoom * R(angle) p + (x, y).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.state import Array


class Pose(NamedTuple):
  """A motion of the whole picture; arrays of one shape: [] or [frames].

  Attributes:
    x: pixels to the right.
    y: pixels down.
    angle: radians, clockwise as seen on a screen.
    zoom: 1 leaves the size.
  """

  x: Array
  y: Array
  angle: Array
  zoom: Array


def path(
    key, *, frames: int, shift: float = 0.0, rotation: float = 0.0,
    zoom: float = 0.0) -> Pose:
  """Draws a smooth random motion over one exposure.

  Every coordinate is a random cubic polynomial of time. The total length of its
  path is drawn uniformly between a quarter of the given bound and the bound.
  The middle frame is the identity.

  Args:
    key: a PRNG key.
    frames: number of moments, odd. The motion itself does not depend on it.
    shift: greatest length of the path, in pixels.
    rotation: greatest total rotation, in radians.
    zoom: greatest total change of size; 0.01 is one percent.

  Returns:
    A Pose of arrays [frames], float32.

  Raises:
    UserError: frames is even or below 1.
  """
  if frames < 1 or frames % 2 == 0:
    raise errors.UserError(
        'frames must be odd (the middle one is the sharp picture), got '
        f'{frames}; use {max(frames + 1, 1)}.')
  half = frames // 2
  times = (jnp.arange(frames, dtype=jnp.float32) - half) / max(half, 1)
  key_shape, key_length = jax.random.split(key)
  # The linear term dominates: larger other terms make loops and stops.
  weights = jnp.array([1.0, 0.5, 0.35])
  cubics = jax.random.normal(key_shape, (3, 4)) * weights[:, None]
  drawn = jax.random.uniform(key_length, (3,), minval=0.25, maxval=1.0)
  across = _curve(cubics[:, :2], times, length=shift * drawn[0])
  angle = _curve(cubics[:, 2:3], times, length=rotation * drawn[1])
  grown = _curve(cubics[:, 3:], times, length=zoom * drawn[2])
  return Pose(across[:, 0], across[:, 1], angle[:, 0], 1 + grown[:, 0])


def still_points(pose: Pose, *, height: int, width: int) -> tuple[Array, Array]:
  """Computes the point of the still picture that each moved pixel shows.

  Args:
    pose: a pose of scalars.
    height: of the picture, in pixels.
    width: of the picture, in pixels.

  Returns:
    (y, x), each [height, width], in pixels from the centre of the top left
    pixel.
  """
  middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
  y = jnp.arange(height, dtype=jnp.float32)[:, None] - middle_y - pose.y
  x = jnp.arange(width, dtype=jnp.float32)[None, :] - middle_x - pose.x
  cos, sin = jnp.cos(pose.angle) / pose.zoom, jnp.sin(pose.angle) / pose.zoom
  return cos * y - sin * x + middle_y, cos * x + sin * y + middle_x


def sample(image, y, x):
  """Interpolates an image bilinearly at points.

  Outside of the image its mirror image about the edge pixels is read, once;
  farther away the last pixel of the mirror image repeats.

  Args:
    image: [h, w, c].
    y: [...] in pixels down from the centre of the top left pixel.
    x: [...] in pixels right from the centre of the top left pixel.

  Returns:
    [..., c]; exact at whole pixels, differentiable in all three inputs.
  """
  height, width, channels = image.shape
  y0, y1, part_y = _neighbours(y, height)
  x0, x1, part_x = _neighbours(x, width)
  pixels = image.reshape(-1, channels)
  at = lambda rows, cols: pixels.at[rows * width + cols].get(
      mode='promise_in_bounds')
  upper = at(y0, x0) * (1 - part_x) + at(y0, x1) * part_x
  lower = at(y1, x0) * (1 - part_x) + at(y1, x1) * part_x
  return upper * (1 - part_y) + lower * part_y


def _curve(cubic, times, *, length):
  """A curve [t, axes] over times in [-1, 1], 0 at time 0, of the given length.

  cubic: [3, axes], the coefficients of t, t^2 and t^3 before scaling.
  """
  def at(times):
    t = times[:, None]
    return ((cubic[2:] * t + cubic[1:2]) * t + cubic[:1]) * t

  steps = jnp.diff(at(jnp.linspace(-1.0, 1.0, 65)), axis=0)
  travelled = jnp.sqrt((steps ** 2).sum(-1)).sum()
  return at(times) * length / travelled


def _neighbours(position, size):
  """The two pixels around each position, and the weight of the second."""
  last = size - 1
  position = last - jnp.abs(last - jnp.abs(position))
  position = jnp.clip(position, 0, last)
  first = jnp.floor(jax.lax.stop_gradient(position)).astype(jnp.int32)
  share = (position - first)[..., None]
  return first, jnp.minimum(first + 1, last), share
