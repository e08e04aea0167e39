"""Randomness of a batch: each picture has a key of its own."""

import jax
import jax.numpy as jnp


def each(key, count: int):
  """[count] keys, fold_in(key, i): the same whatever the batch or devices."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
