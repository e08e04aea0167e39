"""Mixing pixels over a grid of cells, or inside of blocks (MAXIM, section 3.2).

  y[p] = sum over q of kernel[q, p] x[q] + bias[p],   p, q: positions

One matrix for all channels; its size does not depend on that of the picture.
"""

import jax.numpy as jnp

from deblur_jax import types


def mix_grid(
    x: types.Array, kernel: types.Array, bias: types.Array, *, side: int
) -> types.Array:
  """Mixes the pixels at one place of all cells of a side x side grid.

  Args:
    x: [n, h, w, c], h and w multiples of `side`.
    kernel: [side^2, side^2], from row to column.
    bias: [side^2].
    side: cells along a side of the picture.

  Returns:
    [n, h, w, c].
  """
  n, h, w, c = x.shape
  cells = x.reshape(n, side, h // side, side, w // side, c)
  # Positions first: one product for all pixels and channels.
  cells = _mix(cells.transpose(1, 3, 0, 2, 4, 5), kernel, bias)
  return cells.transpose(2, 0, 3, 1, 4, 5).reshape(x.shape)


def mix_block(
    x: types.Array, kernel: types.Array, bias: types.Array, *, side: int
) -> types.Array:
  """Mixes the pixels of each block of side x side; as `mix_grid`."""
  n, h, w, c = x.shape
  blocks = x.reshape(n, h // side, side, w // side, side, c)
  blocks = _mix(blocks.transpose(2, 4, 0, 1, 3, 5), kernel, bias)
  return blocks.transpose(2, 3, 0, 4, 1, 5).reshape(x.shape)


def _mix(x, kernel, bias):
  """[side, side, ...] along its first two axes."""
  flat = x.reshape(-1, *x.shape[2:])   # [side^2, ...]
  y = jnp.einsum('qp,q...->p...', kernel, flat)
  return (y + bias[:, None, None, None, None]).reshape(x.shape)


MIX = {'Grid': mix_grid, 'Block': mix_block}
