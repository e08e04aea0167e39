"""Dynamic-scene blur as in GoPro: the average of many sharp frames.

The camera moves over the picture, and an object moves in front of it: a soft-
edged region of the picture with its own path. Each frame is composited,

  frame_t = matte_t * object_t + (1 - matte_t) * background_t,

so the object hides the background and uncovers it again. The frames are then
averaged (`exposure.py`). The middle frame is the given picture.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax.blur import camera_motion, exposure
from deblur_jax.state import Array

_EDGE = 3.0     # pixels over which a matte falls from 1 to 0


class Blob(NamedTuple):
  """A bent ellipse: the object's outline; pixels and radians.

  Attributes:
    y: row of its centre.
    x: column of its centre.
    angle: of its long axis.
    long: radius along the angle.
    short: radius across it.
    bend: offset of its ends across the angle, in long radii.
  """

  y: Array
  x: Array
  angle: Array
  long: Array
  short: Array
  bend: Array


def dynamic_scene(
    key, sharp, *, frames: int = 21, shift: float = 12.0,
    rotation: float = 0.02, zoom: float = 0.01, object_shift: float = 12.0,
    gamma: float = 2.2):
  """Blurs one sharp picture by a moving camera and a moving object.

  Args:
    key: a PRNG key, for the motion and for the object.
    sharp: [h, w, 3] in [0, 1].
    frames: number of averaged frames, odd. Use about one for each pixel of
      motion: with fewer, bright lines become combs.
    shift: greatest length of the camera's path, in pixels.
    rotation: greatest rotation of the camera, in radians.
    zoom: greatest change of size; 0.01 is one percent.
    object_shift: greatest length of the object's own path, in pixels.
    gamma: of the response curve, see `exposure.to_light`.

  Returns:
    {'blur', 'sharp'}, each [h, w, 3] in [0, 1].

  Raises:
    UserError: frames is even or below 1, or gamma is not above 0.
  """
  height, width, _ = sharp.shape
  key_camera, key_object, key_blob = jax.random.split(key, 3)
  view = camera_motion.path(
      key_camera, frames=frames, shift=shift, rotation=rotation, zoom=zoom)
  own = camera_motion.path(key_object, frames=frames, shift=object_shift)
  blob = _draw_blob(key_blob, height, width)
  light = exposure.to_light(sharp, gamma=gamma)
  mean = exposure.mean_over(
      lambda moment: _frame(light, blob, *moment), (view, own))
  return {'blur': exposure.to_stored(mean, gamma=gamma), 'sharp': sharp}


def _frame(light, blob, view, own):
  """The scene at one moment, [h, w, 3], from the still picture."""
  height, width, _ = light.shape
  y, x = camera_motion.still_points(view, height=height, width=width)
  matte, _, _ = _blob_at(blob, y - own.y, x - own.x)
  front = camera_motion.sample(light, y - own.y, x - own.x)
  _, behind_y, behind_x = _blob_at(blob, y, x)
  back = camera_motion.sample(light, behind_y, behind_x)
  return matte[..., None] * front + (1 - matte[..., None]) * back


def _draw_blob(key, height, width):
  size = min(height, width)
  low = jnp.array([0.25 * height, 0.25 * width, 0, 0.18 * size, 0.12 * size,
                   -0.4])
  high = jnp.array([0.75 * height, 0.75 * width, jnp.pi, 0.35 * size,
                    0.22 * size, 0.4])
  return Blob(*jax.random.uniform(key, (6,), minval=low, maxval=high))


def _blob_at(blob, y, x):
  """(matte, y behind, x behind) at points of the still picture.

  The picture does not show the background behind the object. The surroundings
  are mirrored inwards about the object's edge, so that no part of the object
  appears twice.
  """
  cos, sin = jnp.cos(blob.angle), jnp.sin(blob.angle)
  along = (cos * (x - blob.x) + sin * (y - blob.y)) / blob.long
  lean = blob.bend * along ** 2 * blob.long
  across = (cos * (y - blob.y) - sin * (x - blob.x) - lean) / blob.short
  radius = jnp.sqrt(along ** 2 + across ** 2 + 1e-6)    # 1 on the outline
  edge = _EDGE / blob.short
  ramp = jnp.clip((1 - radius) / edge, 0, 1)
  matte = ramp ** 2 * (3 - 2 * ramp)
  # The mirror is the curve inside which the matte is 1: outside of it the
  # background is the picture itself, so the middle frame does not change.
  mirror = 1 - edge
  ratio = (2 * mirror - radius) / jnp.maximum(radius, 0.3)
  along, across = along * ratio, across * ratio
  rise = across * blob.short + blob.bend * along ** 2 * blob.long
  run = along * blob.long
  inner = radius < mirror
  return (
      matte,
      jnp.where(inner, blob.y + sin * run + cos * rise, y),
      jnp.where(inner, blob.x + cos * run - sin * rise, x))
