"""Losses of generator and discriminator, and penalties of its slope."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax.state import Array


class Game(NamedTuple):
  """The two losses of a game, of a discriminator's values of any shape.

  discriminator: (values of real images, of fakes) -> L_D.
  generator: the same -> L_G.
  zero_sum: L_G is -L_D up to what does not depend on the fakes.
  relative: whether L_G looks at the real values.
  zero_is_perfect: whether L_D of a discriminator that is never wrong tends to
    0.
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

  x lies on the line from a real image to a fake one, at a place drawn for each
  sample. D(x) is the mean of the discriminator's map, as in its loss, and the
  norm goes over all of an image.

  Args:
    discriminator: images -> map of values, both float32.
    real, fake: [n, h, w, c]; no gradient flows to them.
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

  The norm goes over the channels of a pixel only, and D is summed over its
  map: a slope of one in every pixel, not in every image, and so about
  sqrt(h w) times as steep a discriminator. One place on the line for the whole
  batch. Args and result as of `gradient_penalty`.
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
