"""Mixing over positions, pixel by pixel in NumPy."""

import jax
import numpy as np
import pytest

from deblur_jax.ops import positions

SIDE = 2


def _loop(x, kernel, bias, place):
  """place(row, column) -> (its position, what all of its partners share)."""
  partners = {}
  for row in range(x.shape[1]):
    for column in range(x.shape[2]):
      q, shared = place(row, column)
      partners.setdefault(shared, {})[q] = (row, column)
  y = np.empty_like(x)
  for group in partners.values():
    assert len(group) == SIDE**2
    for p, (row, column) in group.items():
      y[:, row, column] = bias[p] + sum(
          kernel[q, p] * x[:, r, c] for q, (r, c) in group.items())
  return y


@pytest.mark.parametrize('axis', positions.MIX)
def test_it_is_the_loop(axis):
  rng = np.random.default_rng(0)
  height, width = 4, 6
  x, kernel, bias = (rng.normal(size=shape).astype(np.float32) for shape in (
      (2, height, width, 3), (SIDE**2, SIDE**2), (SIDE**2,)))
  cell = height // SIDE, width // SIDE
  place = {
      'Grid': lambda r, c: (SIDE * (r // cell[0]) + c // cell[1],
                            (r % cell[0], c % cell[1])),
      'Block': lambda r, c: (SIDE * (r % SIDE) + c % SIDE,
                             (r // SIDE, c // SIDE))}[axis]
  mixed = jax.jit(positions.MIX[axis], static_argnames='side')(
      x, kernel, bias, side=SIDE)
  np.testing.assert_allclose(mixed, _loop(x, kernel, bias, place), atol=1e-5)
