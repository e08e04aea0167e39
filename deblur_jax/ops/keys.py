"""Random keys for a batch: each picture has its own."""

import jax
import jax.numpy as jnp


def each(key, count: int):
  """Returns [count] keys, fold_in(key, i): key i is independent of `count`."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
