"""The buffer of earlier fakes: CycleGAN's semantics, image by image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors
from deblur_jax.methods import image_buffer
from deblur_jax.state import TrainState
from deblur_jax.training import checkpoint, parallel

SIZE = 4
exchange = jax.jit(image_buffer.exchange)


def fakes(first, count):
  """Images of one value each: first, first + 1, ..."""
  values = jnp.arange(first, first + count, dtype=jnp.float32)
  return jnp.broadcast_to(values[:, None, None, None], (count, 2, 2, 3))


def values(images):
  return np.asarray(images[:, 0, 0, 0]).astype(int).tolist()


def filled():
  return exchange(jax.random.key(9), image_buffer.init(SIZE, (2, 2, 3)),
                  fakes(0, SIZE))


def test_it_is_filled_first_and_shows_what_comes():
  buffer, shown = exchange(
      jax.random.key(0), image_buffer.init(SIZE, (2, 2, 3)), fakes(0, 3))
  assert values(shown) == [0, 1, 2]
  assert values(buffer['images'])[:3] == [0, 1, 2] and int(buffer['count']) == 3
  # The batch that fills it: its first is kept, the others take their chances.
  buffer, shown = exchange(jax.random.key(1), buffer, fakes(3, 3))
  assert values(shown)[0] == 3 and int(buffer['count']) == SIZE


def test_each_of_a_batch_is_kept_or_swapped_in_order():
  buffer, _ = filled()
  kept = set(values(buffer['images']))
  for step in range(20):
    new = [100 + 3 * step + i for i in range(3)]
    buffer, shown = exchange(jax.random.key(step), buffer, fakes(new[0], 3))
    for own, seen in zip(new, values(shown), strict=True):
      if seen != own:          # swapped: what is shown has left the buffer
        assert seen in kept
        kept = kept - {seen} | {own}
    assert set(values(buffer['images'])) == kept and len(kept) == SIZE
    assert int(buffer['count']) == SIZE


def test_half_are_swapped_and_every_place_is_taken():
  buffer, shown = filled()
  buffer, shown = exchange(jax.random.key(2), buffer, fakes(1000, 2000))
  shown = np.array(values(shown))
  swapped = shown != np.arange(1000, 3000)
  # Standard deviation of the share: 0.011.
  assert abs(swapped.mean() - 0.5) < 0.05
  # An earlier one stays for 2 SIZE fakes on average: geometric.
  age = np.flatnonzero(swapped) + 1000 - shown[swapped]
  assert 0.8 * 2 * SIZE < age[100:].mean() < 1.2 * 2 * SIZE
  assert min(values(buffer['images'])) >= 1000      # no place is forgotten


def test_it_is_a_function_of_its_key():
  buffer, _ = filled()
  first, again, other = (exchange(jax.random.key(key), buffer, fakes(10, 50))[1]
                         for key in (3, 3, 4))
  assert values(first) == values(again) != values(other)


def test_no_gradient_and_no_pool_of_size_0():
  buffer, _ = filled()
  empty = image_buffer.init(0, (2, 2, 3))
  total = lambda x, buffer: image_buffer.exchange(jax.random.key(0), buffer,
                                                  x)[1].sum()
  for these in (buffer, empty):
    assert not np.any(jax.grad(total)(fakes(10, 3), these))
  _, shown = image_buffer.exchange(jax.random.key(0), empty, fakes(7, 3))
  assert values(shown) == [7, 8, 9]


def test_no_buffer_of_size_0_is_kept_by_a_checkpoint(tmp_path):
  shelf = checkpoint.Checkpoints(tmp_path)
  buffer = image_buffer.init(0, (2, 2, 3))
  shelf.save(1, TrainState(
      step=jnp.ones((), jnp.int32), params={}, opt_state={},
      buffers={'is_sharp': buffer}), None)
  shelf.wait()
  kept = shelf.read(1, parallel.replicated(parallel.data_mesh()))
  assert kept['buffers']['is_sharp'].keys() == buffer.keys() == {'count'}
  shelf.close()


def test_mistakes_are_one_line():
  with pytest.raises(errors.UserError, match='buffer_size must be 0 or more'):
    image_buffer.init(-1, (2, 2, 3))
  with pytest.raises(errors.UserError, match='of 2x2, got 4x4.*buffer_size=0'):
    image_buffer.exchange(jax.random.key(0), filled()[0], jnp.zeros((1, 4, 4,
                                                                     3)))
