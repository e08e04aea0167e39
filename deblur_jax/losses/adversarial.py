"""Losses of generator and discriminator, and penalties of the slope of D."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax.state import Array


class Game(NamedTuple):
  """The two losses of a game, from values of a discriminator of any shape.

  Attributes:
    discriminator: (values of real images, values of fakes) -> L_D.
    generator: the same -> L_G.
    zero_sum: whether L_G is -L_D up to terms without the fakes.
    relative: whether L_G depends on the real values.
    zero_is_perfect: whether L_D of a discriminator without errors tends to 0.
  """

  discriminator: Callable[[Array, Array], Array]
  generator: Callable[[Array, Array], Array]
  zero_sum: bool = False
  relative: bool = False
  zero_is_perfect: bool = True


def _wgan_discriminator(real, fake):
  return jnp.mean(fake) - jnp.mean(real)


def _wgan_generator(real, fake):
  del real
  return -jnp.mean(fake)


def _lsgan_discriminator(real, fake):
  return (jnp.mean(jnp.square(real - 1)) + jnp.mean(jnp.square(fake))) / 2


def _lsgan_generator(real, fake):
  del real
  return jnp.mean(jnp.square(fake - 1)) / 2


def _bce_discriminator(real, fake):
  return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def _bce_generator(real, fake):
  del real
  return jnp.mean(jax.nn.softplus(-fake))


def _ralsgan_discriminator(real, fake):
  return (jnp.mean(jnp.square(real - jnp.mean(fake) - 1))
          + jnp.mean(jnp.square(fake - jnp.mean(real) + 1))) / 2


def _ralsgan_generator(real, fake):
  return _ralsgan_discriminator(fake, real)


def gradient_penalty(
    discriminator: Callable[[Array], Array], real: Array, fake: Array,
    key: Array
) -> Array:
  """mean_n (|d D(x) / dx| - 1)^2   (Gulrajani et al. 2017, eq. 3).

  x is on the line from a real image to a fake one, at a random position for
  each sample. D(x) is the mean of the discriminator's map, as in its loss, and
  the norm is over all values of an image.

  Args:
    discriminator: images -> map of values, both float32.
    real: [n, h, w, c]; it has no gradient.
    fake: the same shape; it has no gradient.
    key: a PRNG key.

  Returns:
    A scalar.
  """
  slopes = _slopes(
      lambda x: discriminator(x).mean(axis=(1, 2, 3)).sum(), real, fake, key)
  return jnp.mean(jnp.square(_norm(slopes, axis=(1, 2, 3)) - 1))


def gradient_penalty_per_pixel(
    discriminator: Callable[[Array], Array], real: Array, fake: Array,
    key: Array
) -> Array:
  """mean_{n,i,j} (|d sum D(x) / dx_ij| - 1)^2: DeblurGAN's released code.

  The norm is over the channels of a pixel alone, and D is summed over its map.
  So the slope is one for every pixel, not for every image, and the
  discriminator is steeper by a factor of about sqrt(h w). The whole batch has
  one position on the line.

  Args:
    discriminator: images -> map of values, both float32.
    real: [n, h, w, c]; it has no gradient.
    fake: the same shape; it has no gradient.
    key: a PRNG key.

  Returns:
    A scalar.
  """
  slopes = _slopes(lambda x: discriminator(x).sum(), real, fake, key,
                   together=True)
  return jnp.mean(jnp.square(_norm(slopes, axis=-1) - 1))


def _slopes(total, real, fake, key, *, together=False):
  count = 1 if together else len(real)
  place = jax.random.uniform(key, (count, 1, 1, 1))
  real, fake = (jax.lax.stop_gradient(x).astype(jnp.float32)
                for x in (real, fake))
  return jax.grad(total)(real + place * (fake - real))


def _norm(slopes, *, axis):
  # The root's own slope at 0 is infinite.
  return jnp.sqrt(jnp.sum(jnp.square(slopes), axis=axis) + 1e-12)


# Arjovsky et al. 2017; Mao et al. 2017; Goodfellow et al. 2014, not saturating;
# Jolicoeur-Martineau 2018, as DeblurGAN-v2 takes it.
ADVERSARIAL = {
    'bce': Game(_bce_discriminator, _bce_generator),
    'lsgan': Game(_lsgan_discriminator, _lsgan_generator),
    'ralsgan': Game(_ralsgan_discriminator, _ralsgan_generator, relative=True),
    'wgan': Game(_wgan_discriminator, _wgan_generator, zero_sum=True,
                 zero_is_perfect=False),
}
PENALTIES = {
    'sample': gradient_penalty,
    'pixel': gradient_penalty_per_pixel,
}
