"""The blur of a moving camera and of a moving object."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from deblur_jax import blur, errors
from deblur_jax.blur import camera_motion, dynamic_scene

SHAPE = (48, 56, 3)


@pytest.fixture(scope='module')
def image():
  noise = np.random.default_rng(0).random(SHAPE)
  smooth = scipy.ndimage.gaussian_filter(noise, (1, 1, 0))
  smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
  return jnp.asarray(smooth, jnp.float32)


draw_path = jax.jit(camera_motion.path, static_argnames='frames')
dynamic = jax.jit(dynamic_scene.dynamic_scene, static_argnames='frames')


@jax.jit
def warp(image, pose):
  """The image moved by a pose, as a frame of a scene is."""
  height, width, _ = image.shape
  return camera_motion.sample(image, *camera_motion.still_points(
      pose, height=height, width=width))


def pose(x=0.0, y=0.0, angle=0.0, zoom=1.0):
  return camera_motion.Pose(*map(jnp.float32, (x, y, angle, zoom)))


def test_the_middle_frame_is_the_picture(image):
  path = draw_path(
      jax.random.key(0), frames=9, shift=12.0, rotation=0.1, zoom=0.1)
  assert path.x.shape == (9,)
  middle = jax.tree.map(lambda x: x[4], path)
  assert middle == (0, 0, 0, 1)
  np.testing.assert_array_equal(warp(image, middle), image)


def test_a_path_is_within_its_bounds_and_uses_them():
  draw = lambda key: draw_path(
      key, frames=129, shift=12.0, rotation=0.1, zoom=0.02)
  path = jax.vmap(draw)(jax.random.split(jax.random.key(1), 200))
  travelled = lambda *axes: np.sqrt(
      sum(np.diff(axis, axis=1) ** 2 for axis in axes)).sum(1)
  for length, bound in [
      (travelled(path.x, path.y), 12.0), (travelled(path.angle), 0.1),
      (travelled(path.zoom), 0.02)]:
    assert 0.24 < length.min() / bound < 0.3
    assert 0.95 < length.max() / bound < 1.01
  # Half of the first steps go up, half go left.
  assert 0.4 < (np.diff(path.y)[:, 0] < 0).mean() < 0.6
  assert 0.4 < (np.diff(path.x)[:, 0] < 0).mean() < 0.6


def test_the_motion_does_not_depend_on_the_number_of_frames():
  few, many = (
      draw_path(jax.random.key(2), frames=frames, shift=9.0, rotation=0.1)
      for frames in (5, 17))
  for a, b in zip(few, many, strict=True):
    np.testing.assert_allclose(a, b[::4], atol=1e-5)


def test_whole_pixels_move_right_and_down(image):
  moved = warp(image, pose(x=3.0, y=2.0))
  np.testing.assert_allclose(moved[2:, 3:], image[:-2, :-3], atol=1e-5)


def test_a_quarter_turn_is_clockwise():
  square = jnp.asarray(np.random.default_rng(1).random((9, 9, 3)), jnp.float32)
  turned = warp(square, pose(angle=np.pi / 2))
  np.testing.assert_allclose(turned, np.rot90(square, k=-1), atol=1e-4)


@pytest.mark.parametrize('motion', [
    dict(x=2.3, y=-4.6), dict(angle=0.2), dict(zoom=0.8),
    dict(x=-20.0, y=9.5, angle=-0.1, zoom=1.1)])
def test_agrees_with_scipy(motion, image):
  motion = dict(x=0.0, y=0.0, angle=0.0, zoom=1.0) | motion
  middle = (np.array(SHAPE[:2]) - 1) / 2
  cos, sin = np.cos(motion['angle']), np.sin(motion['angle'])
  back = np.array([[cos, -sin], [sin, cos]]) / motion['zoom']     # of (y, x)
  offset = middle - back @ (middle + np.array([motion['y'], motion['x']]))
  expected = np.stack([
      scipy.ndimage.affine_transform(
          np.asarray(image[..., c], np.float64), back, offset, order=1,
          mode='mirror') for c in range(3)], axis=-1)
  moved = warp(image, pose(**motion))
  np.testing.assert_allclose(moved, expected, atol=1e-4)


def test_a_warp_is_differentiable_in_image_and_pose():
  ramp = jnp.broadcast_to(
      jnp.arange(20.0)[None, :, None] + 5 * jnp.arange(16.0)[:, None, None],
      (16, 20, 3))
  inner = lambda image, pose: warp(image, pose)[6:10, 6:10].mean()
  of_image, of_pose = jax.jit(jax.grad(inner, argnums=(0, 1)))(
      ramp, pose(0.3, 0.4))
  np.testing.assert_allclose(of_image.sum(), 1, rtol=1e-5)
  np.testing.assert_allclose((of_pose.x, of_pose.y), (-1, -5), rtol=1e-4)
  assert np.isfinite(of_pose.angle) and np.isfinite(of_pose.zoom)


def test_a_single_row_can_be_warped():
  row = jnp.arange(5.0)[None, :, None]
  np.testing.assert_allclose(
      warp(row, pose(x=1.0))[0, :, 0], [1, 0, 1, 2, 3], atol=1e-6)


@pytest.mark.parametrize('frames, instead', [(8, 9), (0, 1), (-2, 1)])
def test_frames_must_be_odd(frames, instead):
  with pytest.raises(errors.UserError, match=f'odd.* {frames}; use {instead}'):
    camera_motion.path(jax.random.key(0), frames=frames)


def scene(image, seed=0, shift=12.0, rotation=0.02, zoom=0.01, **options):
  # The motion is no constant of the program: most tests share one.
  return dynamic(jax.random.key(seed), image, shift=shift, rotation=rotation,
                 zoom=zoom, **options)


def test_a_scene_blurs_and_leaves_the_sharp_picture(image):
  pair = scene(image, frames=9)
  np.testing.assert_array_equal(pair['sharp'], image)
  assert pair['blur'].shape == image.shape
  assert pair['blur'].min() >= 0 and pair['blur'].max() <= 1
  detail = lambda x: np.abs(np.diff(x, axis=1)).mean()
  assert detail(pair['blur']) < 0.8 * detail(image)


def test_an_exposure_of_one_moment_is_the_picture(image):
  pair = scene(image, frames=1)
  np.testing.assert_allclose(pair['blur'], pair['sharp'], atol=2e-6)


def test_a_constant_picture_stays_constant():
  pair = scene(np.full(SHAPE, 0.3, np.float32), frames=9)
  np.testing.assert_allclose(pair['blur'], pair['sharp'], atol=1e-5)


def test_only_the_object_moves_if_the_camera_does_not(image):
  pair = scene(
      image, seed=3, frames=9, shift=0.0, rotation=0.0, zoom=0.0)
  changed = np.abs(pair['blur'] - pair['sharp']).max(-1) > 1e-4
  assert 0.05 < changed.mean() < 0.8
  for corner in (changed[:4, :4], changed[:4, -4:], changed[-4:, :4]):
    assert not corner.any()


def test_the_object_hides_and_uncovers_its_background():
  """A red object before a green wall: the uncovered wall is green."""
  y, x = np.mgrid[:128, :128].astype(np.float32)
  blob_at = jax.jit(dynamic_scene._blob_at)
  blob = dynamic_scene.Blob(*map(jnp.float32, (64, 64, 0.4, 40, 34, 0.2)))
  matte = np.asarray(blob_at(blob, y, x)[0])
  red, green = np.eye(3, dtype=np.float32)[:2]
  scenery = np.where(matte[..., None] > 0, red, green)
  frame = np.asarray(jax.jit(dynamic_scene._frame)(
      scenery, blob, pose(), pose(x=20.0)))
  covered = np.roll(matte, 20, axis=1)      # it is 0 near the sides
  assert (np.abs(frame[covered == 1] - red) < 1e-5).all()
  free = (covered == 0) & (matte == 0)
  np.testing.assert_allclose(frame[free], scenery[free], atol=1e-5)
  # The centre of the object's old place: its soft edge is mirrored, too.
  inner = np.asarray(blob_at(
      blob._replace(long=blob.long - 9, short=blob.short - 9), y, x)[0]) > 0
  uncovered = (covered == 0) & inner
  assert uncovered.sum() > 50
  assert (np.abs(frame[uncovered] - green) < 1e-4).mean() > 0.9


def test_gradients_of_a_scene_are_finite(image):
  dark = image.at[:24].set(0.0)
  slope = jax.grad(lambda x: scene(x, frames=3)['blur'].sum())(dark)
  assert np.isfinite(slope).all() and float(jnp.abs(slope[24:]).max()) > 0


@pytest.mark.parametrize('options, message', [
    (dict(kind='dynamic'), "Unknown blur 'dynamic'.*mean 'dynamic_scene'"),
    (dict(kind='dynamic_scene', shifts=3), 'data.blur.shifts.*mean .shift.'),
    (dict(kind='dynamic_scene', frames=4), 'frames must be odd'),
    (dict(kind='dynamic_scene', gamma=0), 'gamma must be a number above 0'),
])
def test_mistakes_are_named(options, message):
  with pytest.raises(errors.UserError, match=message):
    jax.eval_shape(blur.build(**options), jax.random.key(0),
                   jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32))
