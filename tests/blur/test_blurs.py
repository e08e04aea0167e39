"""The contract of all blurs of sharp pictures in the training step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from deblur_jax import blur, errors
from deblur_jax.blur import camera_motion, exposure, operators, shake, uniform
from deblur_jax.data import augment
from deblur_jax.training import parallel

SMALL = {name: dict(size=11) for name in uniform.KERNELS} | {
    'line': dict(size=11, length=(2.0, 9.0)),
    'disk': dict(size=11, radius=(1.0, 4.0)),
    'gaussian': dict(size=11, sigma=(0.5, 3.0)),
    'mixed': dict(size=11, length=(2.0, 6.0)),
    'dynamic_scene': dict(frames=5, shift=4.0, object_shift=4.0),
    'camera_shake': dict(frames=5)}
SMALL['mixture'] = dict(parts=[
    dict(kind=kind, **SMALL[kind]) for kind in ('line', 'gaussian')])


@functools.cache
def pictures(count=2, height=32, width=40):
  noise = np.random.default_rng(0).random((count, height, width, 3))
  smooth = scipy.ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0))
  low, high = smooth.min(), smooth.max()
  scaled = jnp.asarray((smooth - low) / (high - low), jnp.float32)
  return scaled.at[:, :3, :8].set(0.0)


# Kernels blur alike, so that one of them is enough; and mixtures and scenes.
DIFFERENTIATED = ['line', *sorted(blur.BLURS.keys() - uniform.KERNELS.keys())]


@functools.cache
def differentiated(kind):
  """(pairs, gradient of the energy of their blur), compiled once."""
  make = blur.build(kind=kind, **SMALL.get(kind, {}))

  @functools.partial(jax.grad, has_aux=True)
  def energy(sharp):
    batch = make(jax.random.key(1), sharp)
    return (batch['blur'] ** 2).sum(), batch

  gradient, batch = jax.jit(energy)(pictures())
  return batch, gradient


@functools.cache
def blurred(kind):
  if kind in DIFFERENTIATED:
    return differentiated(kind)[0]
  make = blur.build(kind=kind, **SMALL.get(kind, {}))
  return jax.jit(make)(jax.random.key(1), pictures())


@pytest.mark.parametrize('kind', blur.BLURS)
def test_every_blur(kind):
  batch, sharp = blurred(kind), pictures()
  np.testing.assert_array_equal(batch['sharp'], sharp)
  assert batch['blur'].shape == sharp.shape
  assert batch['blur'].dtype == jnp.float32
  assert 0 <= float(batch['blur'].min()) and float(batch['blur'].max()) <= 1
  # Smoother, about as bright, and different for each picture.
  rough = lambda images: float(np.abs(np.diff(images, axis=1)).mean())
  assert rough(batch['blur']) < rough(sharp)
  assert abs(float(batch['blur'].mean() - sharp.mean())) < 0.02
  if 'kernel' in batch:
    assert batch['kernel'].shape == (2, 11, 11)
    assert batch['blur_type'].shape == (2,)
    assert np.abs(batch['kernel'][0] - batch['kernel'][1]).max() > 1e-3


# A property of `build`: tested for a scene and for a mixture of kernels.
@pytest.mark.parametrize('kind', ['dynamic_scene', 'mixture'])
def test_a_blur_does_not_depend_on_the_batch_or_the_devices(kind):
  make = jax.jit(blur.build(kind=kind, **SMALL.get(kind, {})))
  mesh = parallel.data_mesh()
  other = pictures().at[1].set(0.25)
  two = make(parallel.put_key(jax.random.key(1), mesh),
             parallel.put(np.asarray(other), parallel.split_batch(mesh)))
  assert len(two['blur'].sharding.device_set) == 2
  for name, value in two.items():
    np.testing.assert_allclose(value[:1], blurred(kind)[name][:1], atol=1e-5)


@pytest.mark.parametrize('kind', DIFFERENTIATED)
def test_gradients_are_finite(kind):
  _, gradient = differentiated(kind)
  # Also for black, where a response curve is steepest.
  assert float(pictures()[:, :3, :8].max()) == 0
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.parametrize('kind', uniform.KERNELS)
def test_the_kernel_is_that_of_the_blur(kind):
  batch = blurred(kind)
  np.testing.assert_allclose(
      batch['blur'], exposed(batch['kernel'], batch['sharp']), atol=2e-5)


exposed = jax.jit(lambda kernel, sharp: exposure.to_stored(
    operators.uniform(kernel).forward(exposure.to_light(sharp))))


def test_a_mixture_draws_one_of_its_parts_for_each_picture():
  sharp = jnp.repeat(pictures(1), 64, axis=0)
  level = dict(kind='line', size=9, length=(9.0, 9.0), angle=(0.0, 0.0))
  upright = level | dict(angle=(np.pi / 2, np.pi / 2))
  make = blur.build(kind='mixture', parts=[level, upright], weights=[3, 1])
  mixed = jax.jit(make)(jax.random.key(3), sharp)
  assert mixed.keys() == {'blur', 'sharp', 'kernel', 'blur_type'}
  makes = [blur.build(**part) for part in (level, upright)]
  alone = jax.jit(lambda key, sharp: [make(key, sharp)['blur']
                                      for make in makes])(
      jax.random.key(0), sharp[:1])
  is_one = [np.abs(mixed['blur'] - one).max(axis=(1, 2, 3)) < 1e-5
            for one in alone]
  assert (is_one[0] ^ is_one[1]).all()
  in_row = mixed['kernel'][:, 4].sum(axis=-1) > 0.9
  np.testing.assert_array_equal(in_row, is_one[0])
  assert 0.6 < is_one[0].mean() < 0.9


@pytest.mark.parametrize('kind', ['line', 'camera_shake', 'dynamic_scene'])
def test_a_margin_is_cropped(kind):
  make = blur.build(kind=kind, margin=5, **SMALL[kind])
  inner, whole = jax.jit(make)(jax.random.key(1), pictures()), blurred(kind)
  assert inner.keys() == whole.keys()
  for name in whole:
    kept = (whole[name][:, 5:-5, 5:-5] if name in ('blur', 'sharp')
            else whole[name])
    np.testing.assert_allclose(inner[name], kept, atol=1e-6)


@pytest.mark.parametrize('other', ['dynamic_scene', 'disk'])
def test_a_mixture_has_a_margin(other):
  make = blur.build(kind='mixture', margin=8, parts=[
      dict(kind=kind, **SMALL[kind]) for kind in ('dynamic_scene', other)])
  batch = jax.eval_shape(make, jax.random.key(0), pictures())
  assert batch['blur'].shape == batch['sharp'].shape == (2, 16, 24, 3)


def test_the_camera_has_the_gamma_of_the_blur():
  """Half the light is more than half the stored value under a curve."""
  linear, curved = (jax.jit(blur.build(
      kind='line', gamma=gamma, camera=dict(gain=(0.5, 0.5)), **SMALL['line']))(
          jax.random.key(1), pictures()) for gamma in (1.0, 2.2))
  np.testing.assert_allclose(linear['sharp'], pictures() / 2, atol=1e-6)
  np.testing.assert_allclose(
      curved['sharp'], pictures() * 0.5 ** (1 / 2.2), atol=1e-4)
  blur.build(kind='line', gamma=1, camera=dict(gamma=1.0))


def test_kernels_are_augmented_with_their_pictures():
  """The augmented sharp picture, blurred by its kernel, is the blurry one."""
  make = blur.build(
      kind='gaussian_process', size=11, gamma=1.0, border='circular')
  change = augment.build(
      identity=0.3, horizontal_flip=0.5, vertical_flip=0.5, transpose=0.5,
      rotate=1.0)
  sharp = pictures(8, 24, 24)
  batch = jax.jit(lambda sharp: change(
      jax.random.key(3), make(jax.random.key(4), sharp)))(sharp)
  again = operators.uniform(
      batch['kernel'], border='circular').forward(batch['sharp'])
  np.testing.assert_allclose(again, batch['blur'], atol=1e-5)
  assert np.abs(batch['sharp'] - sharp).max() > 0.1


EFFECTS = [
    dict(read=(0.05, 0.05)), dict(shot=(0.02, 0.02)), dict(gain=(2.0, 2.0)),
    dict(quality=(20, 20)), dict(bits=3)]


@functools.cache
def with_effects():
  """A blur by a camera with each of the effects, compiled together."""
  makes = [blur.build(kind='line', camera=options, **SMALL['line'])
           for options in EFFECTS]
  return jax.jit(lambda key, sharp: [make(key, sharp) for make in makes])(
      jax.random.key(1), pictures())


@pytest.mark.parametrize('effect, options', list(enumerate(EFFECTS)))
def test_the_effects_of_the_camera(effect, options):
  plain, taken = blurred('line'), with_effects()[effect]
  np.testing.assert_array_equal(taken['kernel'], plain['kernel'])
  assert np.abs(taken['blur'] - plain['blur']).max() > 0.01
  same = np.abs(taken['sharp'] - plain['sharp']).max() < 1e-6
  assert same == ('gain' not in options)
  assert 0 <= taken['blur'].min() and taken['blur'].max() <= 1


still = dict.fromkeys(shake.Shake._fields, 0.0)
draw_shake = jax.jit(
    shake.random_shake, static_argnames='frames')
warp = jax.jit(shake.warp, static_argnames='focal')


@jax.jit
def warp_in_the_plane(image, pose):
  height, width, _ = image.shape
  return camera_motion.sample(image, *camera_motion.still_points(
      pose, height=height, width=width))


def moved(**change):
  image = pictures()[0]
  pose = shake.Shake(**{
      name: jnp.float32(value) for name, value in (still | change).items()})
  return np.asarray(warp(image, pose, focal=1.0))


def test_a_still_camera_changes_nothing():
  np.testing.assert_allclose(moved(), pictures()[0], atol=1e-5)


@pytest.mark.parametrize('change, pose', [
    (dict(x=0.05), dict(x=2.0)), (dict(y=-0.1), dict(y=-4.0)),
    (dict(roll=0.1), dict(angle=0.1)), (dict(z=0.25), dict(zoom=0.8))])
def test_shakes_in_the_plane_are_plane_motions(change, pose):
  """At a focal length of 40 pixels; a step back makes the scene smaller."""
  expected = warp_in_the_plane(pictures()[0], camera_motion.Pose(**{
      name: jnp.float32(value) for name, value in (
          dict(x=0.0, y=0.0, angle=0.0, zoom=1.0) | pose).items()}))
  np.testing.assert_allclose(moved(**change), expected, atol=1e-4)


def test_a_pan_moves_the_edges_more_than_the_middle():
  shift = lambda column: float(
      (matrix @ [column, 0, 1])[0] / (matrix @ [column, 0, 1])[2] - column)
  matrix = np.asarray(shake.homography(
      shake.Shake(**(still | dict(pan=0.1))), length=40.0))
  assert shift(0) == pytest.approx(40 * np.tan(0.1), rel=1e-4)
  assert shift(20) == pytest.approx(
      40 * np.tan(np.arctan(20 / 40) + 0.1) - 20, rel=1e-4)


def test_a_shake_is_within_its_bounds():
  path = draw_shake(jax.random.key(0), frames=9, rotation=0.02, roll=0.03,
                    translation=0.01)
  for axis in path:
    assert axis.shape == (9,) and float(axis[4]) == 0
  assert np.hypot(np.diff(path.pan), np.diff(path.tilt)).sum() <= 0.0201
  assert np.abs(np.diff(path.roll)).sum() <= 0.0301


@pytest.mark.parametrize('options, message', [
    (dict(kind='lines'), "Unknown blur 'lines'.*Did you mean 'line'"),
    (dict(kind='line', lenght=3), "Unknown key data.blur.lenght; .*'length'"),
    (dict(kind='line', camera=dict(shoot=1)), 'data.blur.camera.shoot'),
    (dict(kind='line', camera=dict(gain=(2, 1))), r'camera.gain=\(2.0, 1.0\)'),
    (dict(kind='line', camera=dict(quality=(0, 50))), 'camera.quality'),
    (dict(kind='line', camera=dict(gain=2.0)), 'camera.gain must be a list'),
    (dict(kind='line', camera=dict(bits=0.5)), 'bits must be an integer'),
    (dict(kind='line', gamma=0.0, camera=dict(bits=8)),
     'gamma must be a number above'),
    (dict(kind='line', gamma=1, camera=dict(gamma=2.2)),
     r'data.blur.camera.gamma=2.2 is not .* 1.0: .*leave it out'),
    (dict(kind='mixture', camera=dict(bits=8), parts=(
        dict(kind='disk', gamma=1.0), dict(kind='line'))),
     'data.blur.camera needs one response curve.*gamma=1.0 and 2.2'),
    (dict(kind='line', camera=8), 'data.blur.camera must be a dict'),
    (dict(kind='line', margin=-1), 'data.blur.margin must be 0 or more'),
    (dict(kind='line', margin=1.5), 'data.blur.margin must be an integer'),
])
def test_mistakes_in_the_config_are_named(options, message):
  with pytest.raises(errors.UserError, match=message):
    blur.build(**options)


@pytest.mark.parametrize('options, message', [
    (dict(kind='line', border='valid'), 'smaller than sharp ones'),
    (dict(kind='line', border='mirror'), "Unknown border 'mirror'"),
    (dict(kind='line', size=26), 'must be odd'),
    (dict(kind='line', gamma=0.0), 'gamma must be a number above 0'),
    (dict(kind='disk', size=63), 'larger than the picture'),
    (dict(kind='disk', margin=16), 'margin=16 must leave something.*32x40'),
    (dict(kind='camera_shake', focal=0.0), 'focal must be above 0'),
    (dict(kind='camera_shake', frames=4), 'frames must be odd'),
    (dict(kind='line', angle=(1.0, 0.5)), r'angle=\(1.0, 0.5\) must be'),
    (dict(kind='line', length=3.0), r'length must be a list of 2'),
    (dict(kind='trajectory', length=32.0), 'up to the size 31'),
    (dict(kind='trajectory', length=0.0), 'above 0 and up to'),
    (dict(kind='trajectory', impulse=()), r'impulse=\(\) must be one'),
    (dict(kind='trajectory', fractions=()), r'fractions=\(\) must'),
    (dict(kind='gaussian_process', spread=3.0), 'spread above 0 and up to 0.5'),
    (dict(kind='mixture', parts=[]), 'each of 0 parts'),
    (dict(kind='mixture', weights=[1]), r'weights=\(1.0,\) .* each of 2 parts'),
    (dict(kind='mixture', parts=[dict(kind='mixture')]),
     r"Unknown data.blur.parts\[0\] 'mixture'"),
    (dict(kind='mixture', parts=[dict(kind='disk', radios=1)]),
     r"parts\[0\].radios; .*'radius'"),
])
def test_mistakes_at_the_first_call_are_named(options, message):
  with pytest.raises(errors.UserError, match=message):
    jax.eval_shape(blur.build(**options), jax.random.key(0), pictures())
