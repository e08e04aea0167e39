"""What a camera adds to light: highlights cut off, noise, 8 bits, JPEG.

Light is linear, [0, 1] between black and where the sensor is full; stored
values are display-referred. Roundings let the gradient through unchanged.
"""

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.blur import exposure, jpeg, kernels
from deblur_jax.ops import keys as keys_lib
from deblur_jax.state import Array


def build(
    *, gamma: float = 2.2, gain: tuple[float, float] = (1.0, 1.0),
    shot: tuple[float, float] = (0.0, 0.0),
    read: tuple[float, float] = (0.0, 0.0),
    quality: tuple[float, float] | None = None, bits: int = 0):
  """A function (key, batch) -> batch: blurred pictures as a camera stores them.

  Each picture draws its own values, uniformly from the ranges. The gain and
  the cut are done to both pictures of a pair, all else to the blurry one.

  Args:
    gamma: of the response curve that stored the pictures.
    gain: range of a factor on light; above 1, highlights are cut off.
    shot: range of a in the noise's variance a * light + b^2.
    read: range of b, in units of light.
    quality: range of JPEG's quality, 1 to 100; None leaves JPEG out.
    bits: to which the result is rounded; 0 leaves it as it is.

  Raises:
    UserError: a range that is none, or a quality outside [1, 100].
  """
  for name, values, least, most in [
      ('gain', gain, 0, np.inf), ('shot', shot, 0, np.inf),
      ('read', read, 0, np.inf), ('quality', quality or (50, 50), 1, 100)]:
    kernels.check_range(
        f'data.blur.camera.{name}', values, above=least, most=most)
  if not isinstance(bits, int) or not 0 <= bits <= 16:
    raise errors.UserError(
        f'data.blur.camera.bits must be 0 to 16, got {bits}.')
  exposure.check_gamma(gamma)

  def one(key, pair):
    keys = jax.random.split(key, 5)
    draw = lambda key, values: jax.random.uniform(
        key, minval=values[0], maxval=values[1])
    drawn_gain = draw(keys[0], gain)
    light = {name: saturate(exposure.to_light(image, gamma=gamma),
                            gain=drawn_gain) for name, image in pair.items()}
    light['blur'] = noise(
        keys[1], light['blur'], shot=draw(keys[2], shot),
        read=draw(keys[3], read))
    stored = {name: exposure.to_stored(jnp.clip(image, 0, 1), gamma=gamma)
              for name, image in light.items()}
    if quality:
      stored['blur'] = jpeg.compress(
          stored['blur'], quality=draw(keys[4], quality))
    if bits:
      stored['blur'] = quantise(stored['blur'], bits=bits)
    return stored

  def sensor(key, batch):
    pair = {name: batch[name] for name in ('blur', 'sharp')}
    own = keys_lib.each(key, len(pair['sharp']))
    return batch | jax.vmap(one)(own, pair)

  return sensor


def saturate(light, *, gain) -> Array:
  """Brighter by a factor, and cut off where the sensor is full."""
  return jnp.clip(light * gain, 0, 1)


def noise(key, light, *, shot, read) -> Array:
  """Poisson-Gaussian noise by its normal approximation (Foi et al. 2008).

  Args:
    key: a PRNG key.
    light: linear, any shape.
    shot: a in the variance a * light + b^2: one over the electrons of a full
      pixel.
    read: b.

  Returns:
    light + noise, not clipped.
  """
  variance = shot * jnp.maximum(light, 0) + read ** 2
  # The root's slope at 0 is infinite: where there is no noise it stays out.
  deviation = jnp.where(
      variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)
  return light + deviation * jax.random.normal(key, light.shape)


def quantise(image, *, bits: int = 8) -> Array:
  """Stored values [0, 1] rounded to so many bits; the gradient goes through."""
  levels = 2 ** bits - 1
  rounded = jnp.round(jnp.clip(image, 0, 1) * levels) / levels
  return image + jax.lax.stop_gradient(rounded - image)
