"""A pool of earlier fakes, from which a critic learns too.

Shrivastava et al. (CVPR 2017), as CycleGAN's code has it: the pool is filled
first, by the fakes themselves as they come. Then each fake is, with probability
1/2, put in the place of a random one of the pool, which is shown instead; else
it is shown itself and not kept. One fake of a batch after the other.
"""

from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.ops import keys
from deblur_jax.state import Array

# 'images' [size, h, w, c], none for a size of 0; 'count' int32, of them there
Pool = dict[str, Any]


def init(size: int, shape: tuple[int, int, int]) -> Pool:
  """An empty pool for `size` images of a shape; size 0 keeps none.

  Raises:
    UserError: a negative size.
  """
  if size < 0:
    raise errors.UserError(f'method.pool_size must be 0 or more, got {size}.')
  # What has no values no checkpoint keeps.
  images = {'images': jnp.zeros((size, *shape))} if size else {}
  return images | {'count': jnp.zeros((), jnp.int32)}


def exchange(key: Array, pool: Pool, fakes: Array) -> tuple[Pool, Array]:
  """The pool after a batch of fakes, and what is shown instead of them.

  Args:
    key: a PRNG key.
    pool: of images of the same shape.
    fakes: [n, h, w, c].

  Returns:
    The pool, and [n, h, w, c]. No gradient flows through either.

  Raises:
    UserError: fakes of another shape than those of the pool.
  """
  fakes = jax.lax.stop_gradient(fakes)
  if 'images' not in pool:
    return pool, fakes
  shape = list(pool['images'].shape[1:])
  if list(fakes.shape[1:]) != shape:
    raise errors.UserError(
        f'The pool holds images of {shape[0]}x{shape[1]}, got '
        f'{fakes.shape[1]}x{fakes.shape[2]}: crops that grow need '
        'method.pool_size=0.')
  return jax.lax.scan(_one, pool, (keys.each(key, len(fakes)), fakes))


def _one(pool: Pool, inputs):
  (key, fake), (images, count) = inputs, (pool['images'], pool['count'])
  key_swap, key_place = jax.random.split(key)
  filling = count < len(images)
  swap = jax.random.bernoulli(key_swap) & ~filling
  place = jnp.where(
      filling, count, jax.random.randint(key_place, (), 0, len(images)))
  there = images[place]
  images = images.at[place].set(jnp.where(filling | swap, fake, there))
  return ({'images': images, 'count': count + filling},
          jnp.where(swap, there, fake))
