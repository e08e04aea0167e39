"""A buffer of earlier fakes, from which a discriminator learns too.

Shrivastava et al. (CVPR 2017), as in CycleGAN's code. First the buffer fills
with the fakes as they come. Then each fake takes, with probability 1/2, the
place of a random image of the buffer, and that image is shown; otherwise the
fake itself is shown and not kept. The fakes of a batch follow one another.
"""

from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.ops import keys
from deblur_jax.state import Array

# 'images' [size, h, w, c], absent for size 0; 'count' int32 [], images in it
Buffer = dict[str, Any]


def init(size: int, shape: tuple[int, int, int]) -> Buffer:
  """An empty buffer.

  Args:
    size: how many images it holds; 0 keeps none.
    shape: [h, w, c] of each.

  Raises:
    UserError: a negative size.
  """
  if size < 0:
    raise errors.UserError(f'method.buffer_size must be 0 or more, got {size}.')
  # A checkpoint cannot keep an array without values.
  images = {'images': jnp.zeros((size, *shape))} if size else {}
  return images | {'count': jnp.zeros((), jnp.int32)}


def exchange(key: Array, buffer: Buffer, fakes: Array) -> tuple[Buffer, Array]:
  """The buffer after a batch of fakes, and the images shown instead of them.

  Args:
    key: a PRNG key.
    buffer: of images of the same shape.
    fakes: [n, h, w, c].

  Returns:
    The buffer, and [n, h, w, c]. No gradient flows through either.

  Raises:
    UserError: fakes of another shape than those of the buffer.
  """
  fakes = jax.lax.stop_gradient(fakes)
  if 'images' not in buffer:
    return buffer, fakes
  shape = list(buffer['images'].shape[1:])
  if list(fakes.shape[1:]) != shape:
    raise errors.UserError(
        f'The buffer holds images of {shape[0]}x{shape[1]}, got '
        f'{fakes.shape[1]}x{fakes.shape[2]}: crops that grow need '
        'method.buffer_size=0.')
  return jax.lax.scan(_one, buffer, (keys.each(key, len(fakes)), fakes))


def _one(buffer: Buffer, inputs):
  (key, fake), (images, count) = inputs, (
      buffer['images'], buffer['count'])
  key_swap, key_place = jax.random.split(key)
  filling = count < len(images)
  swap = jax.random.bernoulli(key_swap) & ~filling
  place = jnp.where(
      filling, count, jax.random.randint(key_place, (), 0, len(images)))
  there = images[place]
  images = images.at[place].set(jnp.where(filling | swap, fake, there))
  return ({'images': images, 'count': count + filling},
          jnp.where(swap, there, fake))
