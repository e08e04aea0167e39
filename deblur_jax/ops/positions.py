"""Mixing pixels over a grid of cells, or inside of blocks (MAXIM, section 3.2).

  y[p] = sum over q of W[q, p] x[q] + bias[p],   p, q: positions

One matrix for all channels; its size does not depend on that of the picture. It
is any matrix, or a diagonal one and one of low rank,

  W = diag(d) + L R,   L: [positions, rank],  R: [rank, positions]

which has 2 rank + 1 parameters for each position, and as many products.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from deblur_jax.state import Array

Linear = Callable[[Array], Array]   # along the first axis
SWEEPS = 10    # of `split`, until d and L R hardly change


def full(kernel: Array) -> Linear:
  """W of a matrix [positions, positions], from row to column."""
  return lambda x: jnp.einsum('qp,q...->p...', kernel, x)


def low_rank(
    left: Array, right: Array, diagonal: Array) -> Linear:
  """W = diag(diagonal) + left right."""
  def apply(x):
    y = jnp.einsum('rp,r...->p...', right,
                   jnp.einsum('qr,q...->r...', left, x))
    return y + diagonal.reshape(-1, *[1] * (x.ndim - 1)) * x

  return apply


def split(
    kernel: np.ndarray, *, rank: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(left, right, diagonal) of `low_rank` that come close to a matrix.

  In turn the best diagonal and the best matrix of the rank, which the singular
  values give.
  """
  kernel = np.asarray(kernel, np.float64)
  diagonal = np.diag(kernel)
  for _ in range(SWEEPS):
    u, s, v = np.linalg.svd(kernel - np.diag(diagonal))
    left, right = u[:, :rank] * s[:rank]**0.5, s[:rank, None]**0.5 * v[:rank]
    diagonal = np.diag(kernel - left @ right)
  return tuple(x.astype(np.float32) for x in (left, right, diagonal))


def mix_grid(
    x: Array, linear: Linear, bias: Array, *, side: int
) -> Array:
  """Mixes the pixels at one place of all cells of a side x side grid.

  Args:
    x: [n, h, w, c], h and w multiples of `side`.
    linear: W, `full` or `low_rank`, of side^2 positions.
    bias: [side^2].
    side: cells along a side of the picture.

  Returns:
    [n, h, w, c].
  """
  n, h, w, c = x.shape
  cells = x.reshape(n, side, h // side, side, w // side, c)
  # Positions first: one product for all pixels and channels.
  cells = _mix(cells.transpose(1, 3, 0, 2, 4, 5), linear, bias)
  return cells.transpose(2, 0, 3, 1, 4, 5).reshape(x.shape)


def mix_block(
    x: Array, linear: Linear, bias: Array, *, side: int
) -> Array:
  """Mixes the pixels of each block of side x side; as `mix_grid`."""
  n, h, w, c = x.shape
  blocks = x.reshape(n, h // side, side, w // side, side, c)
  blocks = _mix(blocks.transpose(2, 4, 0, 1, 3, 5), linear, bias)
  return blocks.transpose(2, 3, 0, 4, 1, 5).reshape(x.shape)


def _mix(x, linear, bias):
  """[side, side, ...] along its first two axes."""
  flat = x.reshape(-1, *x.shape[2:])   # [side^2, ...]
  return (linear(flat) + bias[:, None, None, None, None]).reshape(x.shape)


MIX = {'Grid': mix_grid, 'Block': mix_block}
