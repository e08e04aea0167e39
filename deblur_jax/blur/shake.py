"""Camera shake in six degrees of freedom: an average of homography warps.

The scene is a plane at distance d with its normal n along the optical axis. A
camera with rotation R and translation t sees it through the homography

  H = K (R + t n' / d) K^-1        (Whyte et al. 2010; Koehler et al. 2012)

and the picture is the mean of these views over the exposure. The blur varies
over the picture: rotation about the optical axis keeps the middle sharp.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.blur import camera_motion, exposure
from deblur_jax.state import Array


class Shake(NamedTuple):
  """A path of the camera; arrays of one shape: [] or [frames].

  x points right, y down, z into the scene; translations are shares of the
  distance of the scene.

  Attributes:
    tilt: radians about x.
    pan: radians about y.
    roll: radians about z.
    x: translation to the right.
    y: translation down.
    z: translation into the scene.
  """

  tilt: Array
  pan: Array
  roll: Array
  x: Array
  y: Array
  z: Array


def camera_shake(
    key, sharp, *, frames: int = 21, rotation: float = 0.015,
    roll: float = 0.02, translation: float = 0.005, focal: float = 1.0,
    gamma: float = 2.2):
  """Blurs one sharp picture by a shaking camera.

  Args:
    key: a PRNG key.
    sharp: [h, w, 3] in [0, 1].
    frames: number of averaged moments, odd; the middle one is the picture. Use
      about one for each pixel of motion: with fewer, bright points become
      separate dots.
    rotation: greatest path of tilt and pan, in radians: about
      rotation * focal * w pixels.
    roll: greatest rotation about the optical axis, in radians.
    translation: greatest path of the camera, as a share of the distance.
    focal: focal length as a share of the longer side; 1 is a normal lens.
    gamma: of the response curve, see `exposure.to_light`.

  Returns:
    {'blur', 'sharp'}, each [h, w, 3] in [0, 1].

  Raises:
    UserError: frames is even or below 1, or focal or gamma is not above 0.
  """
  path = random_shake(
      key, frames=frames, rotation=rotation, roll=roll,
      translation=translation)
  light = exposure.to_light(sharp, gamma=gamma)
  mean = exposure.mean_over(
      lambda moment: warp(light, moment, focal=focal), path)
  return {'blur': exposure.to_stored(mean, gamma=gamma), 'sharp': sharp}


def random_shake(
    key, *, frames: int, rotation: float, roll: float,
    translation: float) -> Shake:
  """Draws a smooth random path; the middle frame is the identity.

  Rotation, roll and translation are random cubic polynomials of time, see
  `camera_motion.path`.

  Args:
    key: a PRNG key.
    frames: number of moments, odd.
    rotation: greatest path of tilt and pan, in radians.
    roll: greatest rotation about the optical axis, in radians.
    translation: greatest path of the camera, as a share of the distance.

  Returns:
    A Shake of arrays [frames].

  Raises:
    UserError: frames is even or below 1.
  """
  key_rotation, key_roll, key_translation, key_depth = jax.random.split(key, 4)
  turned = camera_motion.path(key_rotation, frames=frames, shift=rotation)
  rolled = camera_motion.path(key_roll, frames=frames, rotation=roll)
  moved = camera_motion.path(key_translation, frames=frames, shift=translation)
  deep = camera_motion.path(key_depth, frames=frames, zoom=translation)
  return Shake(turned.y, turned.x, rolled.angle, moved.x, moved.y,
               deep.zoom - 1)


def warp(image, shake: Shake, *, focal: float):
  """Warps a picture to the view of the camera; borders are mirrored.

  Args:
    image: [h, w, c].
    shake: a Shake of scalars.
    focal: focal length as a share of the longer side, above 0.

  Returns:
    [h, w, c].

  Raises:
    UserError: focal is not above 0.
  """
  if focal <= 0:
    raise errors.UserError(f'focal must be above 0, got {focal}.')
  height, width, _ = image.shape
  length = focal * max(height, width)
  # The pixel seen at p comes from H^-1 p of the still picture.
  inverse = jnp.linalg.inv(homography(shake, length=length))
  y = jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2
  x = jnp.arange(width, dtype=jnp.float32)[None, :] - (width - 1) / 2
  (a, b, c), (d, e, f), (g, h, i) = inverse
  depth = g * x + h * y + i
  return camera_motion.sample(
      image, (d * x + e * y + f) / depth + (height - 1) / 2,
      (a * x + b * y + c) / depth + (width - 1) / 2)


def homography(shake: Shake, *, length) -> Array:
  """Computes the homography H of a camera's pose.

  Args:
    shake: a Shake of scalars.
    length: focal length in pixels.

  Returns:
    [3, 3], for points (x, y, 1) in pixels from the middle of the picture.
  """
  zero, one = jnp.zeros(()), jnp.ones(())
  rows = lambda *values: jnp.stack(
      [jnp.asarray(value, jnp.float32) for value in values]).reshape(3, 3)
  cos, sin = jnp.cos(shake.tilt), jnp.sin(shake.tilt)
  tilt = rows(one, zero, zero, zero, cos, -sin, zero, sin, cos)
  cos, sin = jnp.cos(shake.pan), jnp.sin(shake.pan)
  pan = rows(cos, zero, sin, zero, one, zero, -sin, zero, cos)
  cos, sin = jnp.cos(shake.roll), jnp.sin(shake.roll)
  roll = rows(cos, -sin, zero, sin, cos, zero, zero, zero, one)
  moved = rows(zero, zero, shake.x, zero, zero, shake.y, zero, zero, shake.z)
  lens = jnp.array([length, length, 1.0])
  product = lambda a, b: jnp.matmul(a, b, precision='highest')
  seen = product(product(tilt, pan), roll) + moved
  return lens[:, None] * seen / lens[None, :]
