"""A model of the camera's sensor: saturation, noise, quantization and JPEG.

Light is linear, from 0 for black to 1 for a saturated sensor; stored values
are display-referred. The gradient of rounding is one (straight-through).
"""

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.blur import exposure, jpeg, kernels
from deblur_jax.ops import keys as keys_lib
from deblur_jax.state import Array


def build(
    *, gamma: float, gain: tuple[float, float] = (1.0, 1.0),
    shot: tuple[float, float] = (0.0, 0.0),
    read: tuple[float, float] = (0.0, 0.0),
    quality: tuple[float, float] | None = None, bits: int = 0):
  """Builds the function that adds the effects of a camera to a batch.

  The values of each picture are drawn uniformly from the ranges. Gain and
  saturation apply to both pictures of a pair, everything else to the blurry
  one.

  Args:
    gamma: of the response curve of the stored pictures, above 0: that of the
      blur.
    gain: range of a factor on light, 0 or more; above 1 highlights saturate.
    shot: range of a in the noise's variance a * light + b^2, 0 or more.
    read: range of b, in units of light, 0 or more.
    quality: range of JPEG's quality, 1 to 100; None leaves JPEG out.
    bits: the blurry picture is rounded to this number of bits, 1 to 16; 0 does
      not round.

  Returns:
    A function (key, batch) -> batch; the batch has 'blur' and 'sharp',
    [n, h, w, 3] in [0, 1].

  Raises:
    UserError: a range, bits or gamma is invalid.
  """
  for name, values, least, most in [
      ('gain', gain, 0, np.inf), ('shot', shot, 0, np.inf),
      ('read', read, 0, np.inf), ('quality', quality or (50, 50), 1, 100)]:
    kernels.check_range(
        f'data.blur.camera.{name}', values, above=least, maximum=most)
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
      stored['blur'] = fake_quantize(stored['blur'], bits=bits)
    return stored

  def sensor(key, batch):
    pair = {name: batch[name] for name in ('blur', 'sharp')}
    own = keys_lib.each(key, len(pair['sharp']))
    return batch | jax.vmap(one)(own, pair)

  return sensor


def saturate(light, *, gain) -> Array:
  """Multiplies light by a gain and clips it to [0, 1]."""
  return jnp.clip(light * gain, 0, 1)


def noise(key, light, *, shot, read) -> Array:
  """Adds Poisson-Gaussian noise by its normal approximation (Foi et al. 2008).

  Args:
    key: a PRNG key.
    light: linear, any shape.
    shot: a in the variance a * light + b^2: one over the number of electrons of
      a saturated pixel.
    read: b, in units of light.

  Returns:
    light + noise, not clipped.
  """
  variance = shot * jnp.maximum(light, 0) + read ** 2
  # The square root's slope at 0 is infinite: it is left out without noise.
  deviation = jnp.where(
      variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)
  return light + deviation * jax.random.normal(key, light.shape)


def fake_quantize(image, *, bits: int = 8) -> Array:
  """Rounds stored values to a number of bits; the gradient is one.

  Args:
    image: any shape; clipped to [0, 1].
    bits: 1 or more.

  Returns:
    Multiples of 1 / (2^bits - 1), of the image's shape.
  """
  levels = 2 ** bits - 1
  rounded = jnp.round(jnp.clip(image, 0, 1) * levels) / levels
  return image + jax.lax.stop_gradient(rounded - image)
