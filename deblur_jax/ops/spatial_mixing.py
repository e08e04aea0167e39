"""Linear mixing of pixels over a grid or in blocks (MAXIM, section 3.2).

  y[p] = sum over q of W[q, p] x[q] + bias[p],   p, q: positions

All channels share W, whose size does not depend on that of the picture. W is a
full matrix, or the sum of a diagonal matrix and one of low rank,

  W = diag(d) + L R,   L: [positions, rank],  R: [rank, positions]

with 2 rank + 1 parameters and multiplications for each position.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from deblur_jax.state import Array

Linear = Callable[[Array], Array]   # along the first axis
SWEEPS = 10    # iterations of `split`; then d and L R hardly change


def full(kernel: Array) -> Linear:
  """Makes W from a matrix [positions, positions], rows to columns."""
  return lambda x: jnp.einsum('qp,q...->p...', kernel, x)


def low_rank(
    left: Array, right: Array, diagonal: Array) -> Linear:
  """Makes W = diag(diagonal) + left right.

  Args:
    left: [positions, rank].
    right: [rank, positions].
    diagonal: [positions].

  Returns:
    A linear function along the first axis.
  """
  def apply(x):
    y = jnp.einsum('rp,r...->p...', right,
                   jnp.einsum('qr,q...->r...', left, x))
    return y + diagonal.reshape(-1, *[1] * (x.ndim - 1)) * x

  return apply


def split(
    kernel: np.ndarray, *, rank: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Approximates a matrix by the form of `low_rank`.

  Alternates between the best diagonal and, by a singular value decomposition,
  the best matrix of the rank.

  Args:
    kernel: [positions, positions].
    rank: 1 or more.

  Returns:
    (left, right, diagonal), float32.
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
  """Mixes the pixels at the same place of all cells of a side x side grid.

  Args:
    x: [n, h, w, c], h and w multiples of `side`.
    linear: W, from `full` or `low_rank`, of side^2 positions.
    bias: [side^2].
    side: number of cells along each side of the picture.

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
  """Mixes the pixels of each block of side x side pixels.

  Args:
    x: [n, h, w, c], h and w multiples of `side`.
    linear: W, from `full` or `low_rank`, of side^2 positions.
    bias: [side^2].
    side: of a block, in pixels.

  Returns:
    [n, h, w, c].
  """
  n, h, w, c = x.shape
  blocks = x.reshape(n, h // side, side, w // side, side, c)
  blocks = _mix(blocks.transpose(2, 4, 0, 1, 3, 5), linear, bias)
  return blocks.transpose(2, 3, 0, 4, 1, 5).reshape(x.shape)


def _mix(x, linear, bias):
  """Mixes [side, side, ...] along its first two axes."""
  flat = x.reshape(-1, *x.shape[2:])   # [side^2, ...]
  return (linear(flat) + bias[:, None, None, None, None]).reshape(x.shape)


MIX = {'Grid': mix_grid, 'Block': mix_block}
