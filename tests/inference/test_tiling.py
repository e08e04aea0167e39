"""Tiles: equal to the whole picture, few programs, and failures."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deblur_jax import errors
from deblur_jax.blur import kernels, operators
from deblur_jax.inference import restoration, tiling
from deblur_jax.state import Method, TrainState
from deblur_jax.training import parallel

RADIUS = 4    # of the receptive field of `smooth`
PHOTO = np.random.default_rng(0).random((150, 205, 3)).astype(np.float32)


def method(restore):
  return Method(init=None, step=None, restore=restore)


def smooth(state, blur):
  return operators.uniform(kernels.disk(4.0, size=9)).forward(blur)


def tiled(restore, **options):
  mesh = parallel.data_mesh()
  state = TrainState(step=jnp.zeros((), jnp.int32), params={}, opt_state={})
  state = parallel.put(state, parallel.replicated(mesh))
  return tiling.build(method(restore), state, mesh, **options)


def check_grid(size, tile, overlap):
  places = tiling.grid(size, tile, overlap)
  for firsts, side, t in zip(places[1:], size, tile, strict=True):
    assert firsts[0] == 0 and firsts[-1] == side - t
    gaps = np.diff(firsts)
    assert (gaps > 0).all() and (gaps <= t - overlap).all()


@pytest.mark.parametrize('size', [(64, 64), (65, 200), (128, 1000)])
def test_tiles_cover_the_picture(size):
  for overlap in (0, 8, 32):
    check_grid(size, (64, 64), overlap)


def test_tiles_are_the_whole_picture():
  whole = np.asarray(jax.jit(smooth)(None, PHOTO[None]))[0]
  found = tiled(smooth, tile=70, overlap=4 * RADIUS)(PHOTO)
  assert found.tiles == 24 and found.tile == (64, 64)    # of ALIGNMENT
  assert (found.recomputed, found.rejected) == (0, 0)
  inside = (slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS))
  np.testing.assert_allclose(found.image[inside], whole[inside], atol=1e-6)
  # Without overlap there is a seam.
  bare = tiled(smooth, tile=64, overlap=0)(PHOTO)
  assert np.abs(bare.image - whole)[inside].max() > 10 / 255


def test_tiles_are_the_whole_picture_of_networks_with_strides():
  """Their result depends on the position of the picture."""
  def restore(state, blur):
    del state
    small = blur.reshape(*blur.shape[:1], blur.shape[1] // 8, 8,
                         blur.shape[2] // 8, 8, 3).max((2, 4))
    return jnp.repeat(jnp.repeat(small, 8, 1), 8, 2)

  whole = tiled(restore, tile=0)(PHOTO)
  found = tiled(restore, tile=64, overlap=20)(PHOTO)
  assert found.tiles > 10 and whole.tiles == 1
  np.testing.assert_allclose(found.image, whole.image, atol=1e-6)


def test_several_tiles_at_once_are_each_their_own():
  shapes = []

  def restore(state, blur):
    shapes.append(blur.shape[0])
    return blur / (1 + blur.mean((1, 2, 3), keepdims=True))

  alone, together = (
      tiled(restore, tile=64, overlap=32, trust=1.0, at_once=count)
      for count in (1, 5))
  for photo in (PHOTO, PHOTO[:40, :50]):
    np.testing.assert_allclose(
        together(photo).image, alone(photo).image, atol=1e-6)
  devices = parallel.data_mesh().size     # a small picture: no large batch
  assert shapes == [5 * devices, devices]


@pytest.mark.parametrize('size', [
    (1, 1), (7, 5), (33, 17), (3, 700), (64, 64), (130, 40)])
def test_the_result_has_the_size_of_the_picture(size):
  photo = np.random.default_rng(1).random((*size, 3)).astype(np.float32)
  restore = tiled(lambda state, blur: blur, tile=96, overlap=16)
  for _ in range(2):
    found = restore(photo)
    np.testing.assert_allclose(found.image, photo, atol=1e-6)


def test_many_sizes_need_few_programs():
  shapes = []

  def restore(state, blur):
    shapes.append(blur.shape)     # once for each program, at its trace
    return blur

  run = tiled(restore, tile=96, overlap=16)
  random = np.random.default_rng(0)
  for size in random.integers(1, 300, (12, 2)):
    photo = random.random((*size, 3)).astype(np.float32)
    np.testing.assert_allclose(run(photo).image, photo, atol=1e-6)
  assert {side for shape in shapes for side in shape[1:3]} <= {32, 64, 96}


@pytest.mark.parametrize('side, multiple, expected', [
    (1, 32, 32), (33, 32, 64), (257, 32, 288), (513, 32, 576), (513, 64, 576),
    (65, 64, 128), (720, 64, 768), (1025, 32, 1152)])
def test_sides_are_one_of_eight_in_an_octave(side, multiple, expected):
  sides = tiling._Sides(multiple, 64)
  assert sides.of_tiles((side, side), 0) == (expected, expected)


def test_tiles_of_the_fewest_pixels():
  sides = tiling._Sides(64, 64)
  assert sides.of_tiles((720, 1280), 768) == (768, 704)      # two of them
  assert sides.of_tiles((720, 1280), 640, stretch=2) == (768, 512)
  for longest in (256, 512, 768):
    for side in range(1, 2000, 37):
      tile, _ = sides.of_tiles((side, 1), longest)
      assert tile % 64 == 0 and tile <= longest
      covered = tiling._count(side, tile, 64) * (tile - 64) + 64
      assert covered >= side


@pytest.mark.parametrize('overlap', [0, 64, 544, 600, 784, 1088])
@pytest.mark.parametrize('multiple', [32, 64])
def test_tiles_cover_with_any_overlap(multiple, overlap):
  sides = tiling._Sides(multiple, tiling._multiple_of(multiple, overlap))
  for longest in (560, 1024, 10**12):
    for size in ((64, 64), (720, 1280), (1800, 1800), (3000, 700)):
      shape = sides.of_tiles(size, longest, stretch=2)
      for side, tile in zip(size, shape, strict=True):
        assert tile % multiple == 0
        covered = tiling._count(side, tile, sides.overlap) * (
            tile - sides.overlap) + sides.overlap
        assert covered >= side


def test_large_photos_get_smaller_tiles():
  sides = tiling._Sides(64, 64)
  memory = []
  for size in ((720, 1280), (3000, 4000), (4500, 6000), (9000, 12000)):
    longest = sides.longest_for(size, 560, 6_000)
    shape = sides.of_tiles(size, longest, stretch=2)
    memory.append(6_000 * math.prod(shape) + tiling.PHOTO_BYTES * math.prod(
        size))
    assert sides.longest_for(size, 560, 0) == 560
  assert max(memory[:3]) <= 6_000 * 560**2
  assert longest == 280    # the photo alone takes more


def test_halved_tiles_come_to_an_end():
  """Also long tiles, half of whose length is the side of a square tile."""
  sides, longest, shapes = tiling._Sides(32, 0), 256, []
  with pytest.raises(errors.UserError, match='does not hold a tile of'):
    while True:
      shapes.append(sides.of_tiles((64, 4000), longest, stretch=2))
      longest = sides.halved(shapes[-1], longest)
  assert len(shapes) == len({*shapes}) >= 2


def test_a_result_does_not_depend_on_the_pictures_before_it():
  """For a network that averages over the whole tile."""
  def restore(state, blur):
    return blur / (1 + blur.mean((1, 2, 3), keepdims=True))

  small = PHOTO[:50, :70]
  alone = tiled(restore, trust=1.0)(small)
  run = tiled(restore, trust=1.0)
  for size in ((150, 205), (80, 205), (150, 90), (64, 64)):
    run(PHOTO[:size[0], :size[1]])
  after = run(small)
  assert after.tile == alone.tile
  np.testing.assert_array_equal(after.image, alone.image)


def test_receptive_field():
  def mean(state, blur):
    return blur.mean((1, 2), keepdims=True) + 0 * blur

  def halved(state, blur):
    small = jnp.maximum(blur[:, ::2, ::2], blur[:, 1::2, 1::2])
    return jnp.repeat(jnp.repeat(jnp.roll(small, 3, 2), 2, 1), 2, 2)

  mesh = parallel.data_mesh(jax.local_devices()[:1])
  assert [restoration.receptive_field(method(restore), None, mesh,
                                      longest=256) for
          restore in (smooth, halved, mean)] == [RADIUS, 6, None]


@pytest.mark.parametrize('tile, overlap', [(None, 64), (0, 0)])
def test_tiles_of_a_small_picture_do_not_cover_a_larger_one(tile, overlap):
  run = tiled(lambda state, blur: blur, tile=tile, overlap=overlap)
  for size in ((1, 1), (40, 40), (3, 600), (64, 64), (64, 512)):
    photo = np.full((*size, 3), 0.5, np.float32)
    found = run(photo)
    np.testing.assert_array_equal(found.image, photo)
    assert tile is None or found.tiles == 1


def test_memory_that_runs_out_halves_the_tiles():
  """A tile above 64 pixels allocates a terabyte."""
  def greedy(state, blur):
    if max(blur.shape[1:3]) > 64:
      side = 1 << 19
      much = jnp.sort(jnp.broadcast_to(blur[0, 0, 0, 0], (side, side))
                      * jnp.arange(float(side))[None, :], axis=0)
      blur = blur + 0 * much[0, 0]
    return blur

  found = tiled(greedy, tile=130, overlap=16)(PHOTO)
  assert max(found.tile) <= 64
  np.testing.assert_allclose(found.image, PHOTO, atol=1e-6)
  # The least side of a tile is twice the overlap.
  with pytest.raises(errors.UserError, match='memory does not hold .*128x128'):
    tiled(greedy, tile=130, overlap=64)(PHOTO)


def test_bad_tiles_are_recomputed_and_then_rejected():
  def wild(state, blur):
    return jnp.where(blur.mean((1, 2, 3), keepdims=True) > 0.5, 1.0, blur)

  dark = 0.5 * PHOTO[:64, :64]
  photo = np.concatenate([dark, 0.4 + dark], axis=1)
  for exact, counts in (
      (None, (0, 1)), (method(wild), (1, 1)),
      (method(lambda state, blur: blur), (1, 0))):
    found = tiled(wild, tile=64, overlap=0, exact=exact)(photo)
    assert (found.tiles, found.recomputed, found.rejected) == (2, *counts)
    np.testing.assert_allclose(found.image, photo, atol=1e-6)
  assert tiled(wild, tile=64, overlap=0, trust=1.0)(photo).rejected == 0


@pytest.mark.parametrize('spoil', [np.nan, np.inf, 40.0])
def test_agreement(spoil):
  assert tiling.agrees(PHOTO, PHOTO)
  spoiled = PHOTO.copy()
  spoiled[:40, -40:] = spoil
  assert not tiling.agrees(spoiled, PHOTO)
  # Sharpening keeps the means.
  detail = PHOTO - np.asarray(smooth(None, PHOTO[None]))[0]
  assert tiling.agrees(PHOTO + detail, PHOTO)


def test_ensemble_is_the_mean_over_rotations_and_reflections():
  """Of a shift to the right: a shift to each side, twice."""
  shift = lambda state, blur: jnp.roll(blur, 1, 2)
  found = tiled(shift, tile=64, overlap=8, ensemble=True)(PHOTO[:64, :64])
  around = [np.roll(PHOTO[:64, :64], step, axis)
            for step in (1, -1) for axis in (0, 1)]
  np.testing.assert_allclose(found.image, np.mean(around, 0), atol=1e-6)


def test_progress_is_reported():
  seen = []
  tiled(smooth, tile=64, overlap=16)(
      PHOTO, on_tile=lambda *counts: seen.append(counts))
  assert seen[-1] == (24, 24) and seen == sorted(seen)


def test_mistakes_are_one_line():
  for options, message in [
      (dict(tile=32), 'tile must be 0, or at least 128'),
      (dict(overlap=-1), 'overlap must be at least 0')]:
    with pytest.raises(errors.UserError, match=message):
      tiled(smooth, **options)
  with pytest.raises(errors.UserError, match=r'picture \[h, w, 3\]'):
    tiled(smooth)(np.zeros((4, 4)))
  with pytest.raises(errors.UserError, match='fits each image'):
    tiling.build(method(smooth)._replace(per_image=True), None, None)
