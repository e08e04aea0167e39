"""Mixing over positions, against loops in NumPy."""

import numpy as np
import pytest

from deblur_jax.ops import spatial_mixing

SIDE = 2


def _loop(x, kernel, bias, place):
  """place(row, column) -> (position, the key of the pixels mixed with it)."""
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


@pytest.mark.parametrize('axis', spatial_mixing.MIX)
def test_it_agrees_with_a_loop(axis):
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
  expected = _loop(x, kernel, bias, place)
  for make, parts in ((spatial_mixing.full, (kernel,)),
                      (spatial_mixing.low_rank, spatial_mixing.split(kernel,
                                                                     rank=4))):
    mixed = spatial_mixing.MIX[axis](x, make(*parts), bias, side=SIDE)
    np.testing.assert_allclose(mixed, expected, atol=1e-5)


def test_a_diagonal_and_a_low_rank_are_separated():
  rng = np.random.default_rng(0)
  left, right = rng.normal(size=(16, 2)), rng.normal(size=(2, 16))
  kernel = left @ right + np.diag(3 * rng.normal(size=16))
  parts = spatial_mixing.split(kernel, rank=2)
  assert [part.shape for part in parts] == [(16, 2), (2, 16), (16,)]
  found = parts[0] @ parts[1] + np.diag(parts[2])
  assert np.abs(found - kernel).max() < 0.02 * np.abs(kernel).max()
