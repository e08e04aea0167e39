"""Augmentation: pairs stay pairs, draws have the right odds, devices agree."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.color

from deblur_jax import errors
from deblur_jax.blur import jpeg, uniform
from deblur_jax.data import augment
from deblur_jax.ops import colour

ALIGNED = dict(identity=0.0, noise=0.0)


@pytest.fixture(scope='module')
def batch():
  blur, sharp = np.random.default_rng(0).random(
      (2, 64, 8, 8, 3), dtype=np.float32)
  return {'blur': jnp.asarray(blur), 'sharp': jnp.asarray(sharp)}


def apply(batch, seed=0, **options):
  return jax.jit(augment.build(**options))(jax.random.key(seed), batch)


@pytest.mark.parametrize('preset', augment.PRESETS)
def test_pairs_stay_aligned(preset, batch):
  same = {'blur': batch['sharp'], 'sharp': batch['sharp']}
  out = apply(same, preset=preset, **ALIGNED)
  np.testing.assert_array_equal(out['blur'], out['sharp'])
  changed = (np.asarray(out['sharp']) != batch['sharp']).any((1, 2, 3)).mean()
  assert changed == 0 if preset == 'none' else changed > 0.3


def test_sharp_alone_is_changed_as_in_a_pair(batch):
  preset = 'deepdeblur_pytorch'
  pair = apply(batch, preset=preset)
  # Without blur there is no pair to make equal.
  alone = apply({'sharp': batch['sharp'][:3]}, preset=preset, identity=0.1)
  assert set(alone) == {'sharp'}
  # Of 3 samples here and 64 there: a batch's size changes nothing either.
  np.testing.assert_allclose(alone['sharp'], pair['sharp'][:3], atol=1e-6)


def test_other_entries_pass_through(batch):
  out = apply(batch | {'mask': jnp.ones(64)}, preset='flips')
  np.testing.assert_array_equal(out['mask'], np.ones(64))


def test_two_devices_give_what_one_gives(batch):
  preset = 'deepdeblur_pytorch'
  mesh = jax.make_mesh(
      (2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
  split = jax.NamedSharding(mesh, jax.P('data'))
  step = jax.jit(augment.build(preset=preset), out_shardings=split)
  key = jax.device_put(
      jax.random.key(3), jax.NamedSharding(mesh, jax.P()))
  two = step(key, jax.device_put(batch, split))
  assert len(two['blur'].addressable_shards) == 2
  one = apply(batch, seed=3, preset=preset)
  for name in batch:
    np.testing.assert_allclose(two[name], one[name], atol=1e-6)


@pytest.mark.parametrize('option, change', [
    ('horizontal_flip', lambda x: x[:, :, ::-1]),
    ('vertical_flip', lambda x: x[:, ::-1]),
    ('transpose', lambda x: x.transpose(0, 2, 1, 3)),
])
def test_geometry(option, change, batch):
  before = {name: np.asarray(x) for name, x in batch.items()}
  after = {name: np.asarray(x) for name, x in apply(
      batch, **{option: 0.5}).items()}
  changed, kept = (
      np.stack([(after[name] == image(before[name])).all((1, 2, 3))
                for name in ('blur', 'sharp')])
      for image in (change, lambda x: x))
  assert (changed ^ kept).all()
  assert (changed[0] == changed[1]).all() and 0.3 < changed.mean() < 0.7


def test_rotations_are_the_four_turns_equally_often():
  image = np.random.default_rng(1).random((8, 8, 3), dtype=np.float32)
  batch = {'sharp': jnp.broadcast_to(image[None], (400, 8, 8, 3))}
  out = np.asarray(apply(batch, rotate=1.0)['sharp'])
  turns = [(out == np.rot90(image, k)[None]).all((1, 2, 3)) for k in range(4)]
  assert np.sum(turns, axis=0).tolist() == [1] * 400
  assert all(0.18 < turn.mean() < 0.32 for turn in turns)


def test_channel_orders_are_the_six_equally_often():
  batch = {'sharp': jnp.broadcast_to(jnp.arange(3.0) / 4, (600, 2, 2, 3))}
  out = np.asarray(apply(batch, permute_channels=1.0)['sharp'])[:, 0, 0] * 4
  for order in itertools.permutations(range(3)):
    assert 0.11 < (out == np.array(order)).all(1).mean() < 0.23


def test_saturation_draws():
  image = np.array([0.8, 0.6, 0.4], np.float32)      # S = 0.5, V = 0.8
  batch = {'sharp': jnp.broadcast_to(image, (800, 2, 2, 3))}
  out = np.asarray(apply(batch, saturate=0.5)['sharp'])[:, 0, 0]
  factor = (1 - out.min(1) / out.max(1)) / 0.5
  np.testing.assert_allclose(out.max(1), 0.8, atol=1e-6)
  drawn = factor[np.abs(factor - 1) > 1e-6]
  assert 0.43 < drawn.size / 800 < 0.57
  assert drawn.min() > 0.499 and drawn.max() < 1.501
  assert abs(drawn.mean() - 1) < 0.05 and abs(drawn.std() - 12**-0.5) < 0.02


def test_brightness_draws():
  batch = {name: jnp.full((800, 2, 2, 3), 0.5) for name in ('blur', 'sharp')}
  out = apply(batch, brighten=0.5, brightness=(0.5, 2.5))
  np.testing.assert_array_equal(out['blur'], out['sharp'])
  factor = np.asarray(out['sharp'])[:, 0, 0, 0] / 0.5
  assert out['sharp'].max() == 1
  drawn = factor[np.abs(factor - 1) > 1e-6]
  assert 0.43 < drawn.size / 800 < 0.57
  assert 0.5 <= drawn.min() < 0.55 and abs((drawn < 2).mean() - 0.75) < 0.06


def test_noise_is_on_blur_only_and_half_normal_in_size():
  gray = {name: jnp.full((500, 16, 16, 3), 0.5) for name in ('blur', 'sharp')}
  out = apply(gray, noise=2 / 255)
  np.testing.assert_array_equal(out['sharp'], gray['sharp'])
  sigma = np.asarray(out['blur'] - 0.5).std((1, 2, 3)) * 255
  # The mean of |N(0, 2^2)| is 2 sqrt(2 / pi), its mean square 4.
  assert abs(sigma.mean() - 2 * (2 / np.pi) ** 0.5) < 0.15
  assert abs((sigma ** 2).mean() - 4) < 0.6
  white = apply({'blur': jnp.ones((4, 8, 8, 3))}, noise=0.5)['blur']
  assert white.max() <= 1 and white.min() < 1


def test_jpeg_is_on_blur_only_its_blocks_beginning_anywhere():
  # A slope of 16 pixels' width: JPEG's steps stand where its blocks meet.
  picture = np.random.default_rng(4).random((40, 48, 3), dtype=np.float32)
  batch = {name: jnp.broadcast_to(picture, (60, 40, 48, 3))
           for name in ('blur', 'sharp')}
  out = apply(batch, jpeg=0.5, quality=(50, 50))
  np.testing.assert_array_equal(out['sharp'], batch['sharp'])
  lossy = np.asarray(out['blur'] != batch['blur']).any((1, 2, 3))
  assert 0.3 < lossy.mean() < 0.7
  places = {jpeg_of(picture, top, left).tobytes()
            for top in range(16) for left in range(16)}
  found = {np.round(255 * np.asarray(one)).astype(np.uint8).tobytes()
           for one in out['blur'][lossy]}
  assert len(found) > 15 and found <= places


def jpeg_of(picture, top, left):
  """The loss of JPEG where a block begins at (-top, -left), as 8 bits."""
  above, before = 16 - top, 16 - left
  framed = np.pad(picture, ((above, top), (before, left), (0, 0)), mode='edge')
  lossy = np.asarray(COMPRESS(framed))
  lossy = lossy[above:above + 40, before:before + 48]
  return np.round(255 * lossy).astype(np.uint8)


COMPRESS = jax.jit(lambda x: jpeg.compress(x, quality=50.0))


def test_jpeg_of_frames_is_each_frame_s():
  frames = np.random.default_rng(5).random((2, 16, 16, 9), dtype=np.float32)
  batch = {'blur': jnp.asarray(frames), 'sharp': jnp.asarray(frames[..., 3:6])}
  out = apply(batch, jpeg=1.0)['blur']
  for first in (0, 3, 6):
    frame = slice(first, first + 3)
    alone = apply(batch | {'blur': batch['blur'][..., frame]}, jpeg=1.0)
    np.testing.assert_allclose(out[..., frame], alone['blur'], atol=1e-6)


def test_identity_pairs(batch):
  out = apply(batch, identity=0.25)
  np.testing.assert_array_equal(out['sharp'], batch['sharp'])
  same = np.asarray(out['blur'] == out['sharp']).all((1, 2, 3))
  kept = np.asarray(out['blur'] == batch['blur']).all((1, 2, 3))
  assert (same ^ kept).all()
  assert 0.1 < same.mean() < 0.4
  labels = {'blur_type': jnp.full(len(same), 2),
            'kernel': jnp.full((len(same), 3, 3), 1 / 9)}
  augmented = apply(batch | labels, identity=0.25, rotate=1.0)
  np.testing.assert_array_equal(
      augmented['blur_type'], np.where(same, len(uniform.BLUR_TYPES), 2))
  np.testing.assert_allclose(
      augmented['kernel'][:, 1, 1], np.where(same, 1, 1 / 9))


def test_leaving_one_change_out_moves_no_other_draw(batch):
  flips = apply(batch, preset='flips')
  both = apply(batch, preset='flips', noise=0.1)
  np.testing.assert_array_equal(flips['sharp'], both['sharp'])


def test_golden_draws():
  ramp = jnp.arange(3 * 4 * 4 * 3, dtype=jnp.float32).reshape(3, 4, 4, 3) / 144
  out = apply({'blur': ramp, 'sharp': ramp}, preset='deepdeblur_pytorch')
  np.testing.assert_allclose(
      [out['sharp'][:, 0, 1].tolist(), out['blur'][:, 0, 1].tolist()],
      GOLDEN, atol=2e-5)


GOLDEN = [
    [[0.30556, 0.30120, 0.29684], [0.37912, 0.36935, 0.38889],
     [0.69718, 0.69298, 0.70139]],
    [[0.30076, 0.29897, 0.28873], [0.38215, 0.37177, 0.38165],
     [0.69940, 0.69343, 0.69177]],
]


@pytest.mark.parametrize('options, message', [
    (dict(preset='flip'), "Unknown augmentation preset 'flip'.*mean 'flips'"),
    (dict(horizontal_flips=0.5), 'augment.horizontal_flips.*mean'),
    (dict(rotate=2.0), 'augment.rotate is a probability, got 2.0'),
    (dict(noise=-1.0), 'noise=-1.0 must not be negative'),
    (dict(jpeg=0.5, quality=(0, 90)), r'augment.quality=\(0.0, 90.0\) must'),
    (dict(saturation=(1.5, 0.5)), r'saturation=\(1.5, 0.5\) must rise'),
    (dict(brightness=(0.8,)), 'brightness must be a list of 2'),
    (dict(brightness=(-1, 0.5)), r'brightness=\(-1.0, 0.5\) must rise'),
])
def test_mistakes_in_the_options(options, message):
  with pytest.raises(errors.UserError, match=message):
    augment.build(**options)


@pytest.mark.parametrize('shapes, message', [
    (dict(blur=(2, 8, 6, 3)), 'must be square, got 8x6'),
    (dict(blur=(2, 8, 8, 3), sharp=(2, 8, 9, 3)), r'one shape.*\(2, 8, 9, 3\)'),
    (dict(blur=(8, 8, 3)), r'pictures \[n, h, w, 3\]'),
    (dict(mask=(2,)), "needs 'blur' or 'sharp'"),
])
def test_mistakes_in_the_batch(shapes, message):
  batch = {name: jnp.zeros(shape) for name, shape in shapes.items()}
  with pytest.raises(errors.UserError, match=message):
    augment.build(transpose=0.5)(jax.random.key(0), batch)


CORNERS = np.array(list(itertools.product([0, 0.3, 1], repeat=3)), np.float32)


@pytest.mark.parametrize('factor', [0.0, 0.5, 1.0, 1.5, 100.0])
def test_saturate_is_the_way_through_hsv(factor):
  image = np.concatenate(
      [CORNERS, np.random.default_rng(3).random((50, 3), dtype=np.float32)])
  hsv = skimage.color.rgb2hsv(image)
  hsv[:, 1] = np.clip(hsv[:, 1] * factor, 0, 1)
  np.testing.assert_allclose(
      jax.jit(colour.saturate)(jnp.asarray(image), factor),
      skimage.color.hsv2rgb(hsv), atol=1e-5)


def test_luma():
  image = jnp.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
  np.testing.assert_allclose(
      colour.luma(image)[:, 0], [1, 0.299, 0.587, 0.114], atol=1e-6)


@pytest.mark.parametrize('function', [
    colour.rgb_to_ycbcr, colour.ycbcr_to_rgb, colour.luma,
    lambda x: colour.saturate(x, 1.3)])
def test_gradients_of_colour_are_finite(function):
  slope = jax.jit(jax.grad(lambda x: function(x).sum()))(
      jnp.asarray(CORNERS))
  assert np.isfinite(slope).all()


def test_gray_pictures_are_refused():
  with pytest.raises(errors.UserError, match=r'shape \(4, 4, 1\)'):
    colour.luma(jnp.zeros((4, 4, 1)))
