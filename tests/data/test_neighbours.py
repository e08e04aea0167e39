"""Several frames of a video into one: data, network, and the command."""

import json

import films
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sample_pictures as pictures

import deblur_jax
from deblur_jax import data, errors, methods, models
from deblur_jax.app import cli
from deblur_jax.data import augment, device_transforms, neighbours, verify
from deblur_jax.evaluation import test_sets
from deblur_jax.inference import tiling
from deblur_jax.ops import frames
from deblur_jax.state import Method
from deblur_jax.training import checkpoint, loop, parallel, workdir

RNG = np.random.default_rng(0)
WINDOW = 3


def flat(value, size=(20, 24)):
  return np.full((*size, 3), value, np.uint8)


@pytest.fixture
def film(tmp_path):
  """GoPro's layout: frame i of a sequence is blurred i, sharp 100 + i."""
  for sequence, numbers in (('a', range(8, 13)), ('b', [50])):
    for i in numbers:
      folder = tmp_path / 'train' / sequence
      pictures.save(folder / 'blur' / f'{i}.png', flat(i))
      pictures.save(folder / 'sharp' / f'{i}.png', flat(100 + i))
  return dict(name='gopro', root=str(tmp_path), subset='blur')


def values(pair):
  """The values of the frames of a pair, and of its sharp picture."""
  return [int(x[0, 0, 0]) for x in neighbours.frames(pair)], int(
      pair['sharp'][0, 0, 0])


def test_frames_come_in_the_order_of_time(film):
  source = data.open_source(**film, window=5)
  assert source.options['window'] == 5
  found = {name: values(source.read(i)) for i, name in enumerate(source.names)}
  assert found == {     # by number, not by name: 8, 9, 10
      'a/8': ([8, 8, 8, 9, 10], 108), 'a/9': ([8, 8, 9, 10, 11], 109),
      'a/10': ([8, 9, 10, 11, 12], 110), 'a/11': ([9, 10, 11, 12, 12], 111),
      'a/12': ([10, 11, 12, 12, 12], 112), 'b/50': ([50] * 5, 150)}
  assert source.sizes(0) == dict.fromkeys(source.keys, (20, 24))
  assert set(source.read(0)) == {*source.keys}


def test_what_is_held_back_is_not_seen(film):
  train_set, test_set = (
      data.open_source(**film, window=3, part=part)
      for part in ((0, 0.5), (0.5, 1)))
  assert train_set.names == ['a/10', 'a/11', 'a/12']
  assert values(train_set.read(0))[0] == [10, 10, 11]
  assert values(test_set.read(0))[0] == [8, 8, 9]


@pytest.mark.parametrize('loader', data.LOADERS)
def test_batches_hold_them_along_the_last_axis(film, loader):
  source = data.open_source(**film, window=3)
  verify.pixels(source, crop=16)
  made = data.build(source, backend=loader, crop=16, batch_size=6)
  prepare = jax.jit(device_transforms.make_prepare(
      dict(augment={}, data={}), made.unpack))
  batch = prepare(jax.random.key(0), next(made.batches(0)) | made.constants())
  assert batch.keys() == {'blur', 'sharp'}
  assert batch['blur'].shape == (6, 16, 16, 9)
  found = np.rint(255 * np.asarray(batch['blur'][:, 0, 0, ::3])).astype(int)
  middle = np.rint(255 * np.asarray(batch['sharp'][:, 0, 0, 0])) - 100
  np.testing.assert_array_equal(found[:, 1], middle)
  assert sorted(map(tuple, found)) == [
      (8, 8, 9), (8, 9, 10), (9, 10, 11), (10, 11, 12), (11, 12, 12),
      (50, 50, 50)]


def test_augmentation_treats_all_frames_alike():
  sharp = jnp.asarray(RNG.random((4, 8, 8, 3), np.float32))
  batch = {'blur': frames.still(sharp, window=WINDOW), 'sharp': sharp}
  change = jax.jit(augment.build(
      transpose=0.5, permute_channels=1.0, saturate=1.0))
  out = change(jax.random.key(0), batch)
  assert not np.array_equal(out['sharp'], sharp)
  np.testing.assert_allclose(
      out['blur'], frames.still(out['sharp'], window=WINDOW), atol=1e-6)
  change = jax.jit(augment.build(noise=0.1))
  noisy = np.asarray(change(jax.random.key(0), batch)['blur'])
  assert np.ptp(noisy.reshape(4, 8, 8, WINDOW, 3), axis=3).min(axis=3).any()
  with pytest.raises(
      errors.UserError, match='identity needs the sharp picture'):
    augment.build(identity=0.1)(jax.random.key(0), batch)


def test_a_network_of_frames_holds_the_one_of_pictures():
  """Each frame by a third of the kernel; nothing else takes frames."""
  one, several = (models.build(
      name='mimo_unet', features=4, blocks=0, window=window)
                  for window in (1, WINDOW))
  params = jax.tree.map(
      lambda x: RNG.normal(0, 0.1, x.shape).astype(np.float32),
      models.shapes(one))

  def spread(kernel, like):
    if kernel.shape == like.shape:
      return kernel
    colours, rest = kernel[..., :3, :], kernel[..., 3:, :]
    return np.concatenate([colours / WINDOW] * WINDOW + [rest], axis=2)

  restore = jax.jit(
      lambda params, blur: several.apply({'params': params}, blur))
  blur = RNG.random((1, 13, 18, 3), np.float32)
  expected = jax.jit(one.apply)({'params': params}, blur)
  found = restore(jax.tree.map(spread, params, models.shapes(several)),
                  frames.still(blur, window=WINDOW))
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  # What it adds, it adds to the frame in the middle.
  zeros = jax.tree.map(
      lambda x: np.zeros(x.shape, np.float32), models.shapes(several))
  blur = RNG.random((1, 13, 18, 9), np.float32)
  np.testing.assert_array_equal(restore(zeros, blur)[0], blur[..., 3:6])


def test_tiles_of_frames():
  method = Method(
      init=None, step=None, restore=lambda state, blur: frames.middle(blur)
      - 0.01 * blur[..., :3], window=WINDOW)
  restore = tiling.build(
      method, {}, parallel.data_mesh(jax.devices()[:1]), tile=64, overlap=16)
  blur = RNG.random((70, 66, 9), np.float32)
  found = restore(blur)
  assert found.tiles == 4 and found.rejected == 0
  np.testing.assert_allclose(
      found.image, np.clip(blur[..., 3:6] - 0.01 * blur[..., :3], 0, 1),
      atol=1e-6)
  # A picture is a film that stands still.
  np.testing.assert_allclose(
      restore(blur[..., :3]).image, 0.99 * blur[..., :3], atol=1e-6)
  with pytest.raises(
      errors.UserError, match=r'takes 3 frames, .* or a picture'):
    restore(blur[..., :6])


@pytest.mark.parametrize('options, message', [
    (dict(window=2), 'must be odd and at least 1, got 2'),
    (dict(window='3'), "must be odd and at least 1, got '3'"),
    (dict(window=3, halves=True), 'has no pairs of frames'),
    (dict(window=3, part=(0.8, 1.0)), "sequence, .* first is 'b/50'"),
    (dict(name='mixture', sources=dict(a=dict(window=3))), 'put it beside')])
def test_sources_that_have_none(film, options, message):
  with pytest.raises(errors.UserError, match=message) as error:
    data.open_source(**options if 'name' in options else film | options)
  assert '\n' not in str(error.value)


def test_window_is_one_value_of_the_config():
  config = helpers.get_config('video', None)
  with config.unlocked():
    config.nets.net.window = 1
  assert config.data.train.window == config.data.test.window == 1


def test_network_source_and_method_must_fit(film):
  config = helpers.get_config('video').to_dict()
  source = data.open_source(**film)
  fit = lambda source, **more: device_transforms.check_pairing(
      source, dict(config, data=more), unpaired=False, window=3)
  with pytest.raises(
      errors.UserError, match='takes 3 frames, but data.train.win'
                     'dow is 1: set data.train.window=3'):
    fit(source)
  with pytest.raises(errors.UserError, match='data.blur blurs single pictures'):
    fit(data.open_source(**film, window=3), blur=dict(kind='line'))
  with pytest.raises(errors.UserError, match='set nets.net.window=1, or take'):
    methods.build(config | dict(
        method=dict(name='quantize', init_from=dict(path=None))))


def test_input_is_the_middle_frame(film):
  source = data.open_source(**film, window=3)
  method = Method(
      init=None, step=None, restore=lambda state, blur: blur[..., :3], window=3)
  mesh = parallel.data_mesh()
  error = {'error': lambda image, sharp: 255 * (sharp - image).mean((1, 2, 3))}
  (_, shown, row), = test_sets.evaluate_source(
      method, {}, source, [1], mesh, fns=error)
  np.testing.assert_allclose(row['input']['error'], 100, atol=0.01)
  np.testing.assert_allclose(row['error'], 101, atol=0.01)   # that before it
  assert {x.shape for x in shown.values()} == {(20, 24, 3)}
  validate = test_sets.make_validate(
      method, data.open_source(**film, window=3), mesh, pictures=2, crop=16)
  _, draw = validate({})
  np.testing.assert_array_equal(
      draw()[0, ::16, 0], [10, 9, 110])       # blur, restored, sharp
  with pytest.raises(errors.UserError, match='set data.test.window=3'):
    test_sets.check_test_set(data.open_source(**film), window=3)


# Layer -> (channel that it reads, that it makes, weight): through the network
# at full size goes a share of the blue of the first frame, to all colours.
WAY = {'head': (2, 0, 0.1), 'fuse_0_0': (0, 0, 1), 'fuse_0_1': (0, 0, 1),
       'join_0': (4, 0, 1), 'tail': (0, slice(None), 1)}


def only_the_way(path, like):
  """Zeros, or the weight of a layer of the way in the middle of its kernel."""
  x = np.zeros(like.shape, like.dtype)
  *_, layer, name = ['', ''] + [getattr(key, 'key', '') for key in path]
  if name == 'kernel' and layer in WAY:
    reads, makes, weight = WAY[layer]
    x[x.shape[0] // 2, x.shape[1] // 2, reads, makes] = weight
  return x


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a run of configs/video.py with such weights."""
  folder = tmp_path_factory.mktemp('video')
  config = helpers.get_config('video').to_dict()
  mesh = parallel.data_mesh()
  state = jax.tree.map_with_path(
      only_the_way, loop.abstract_state(methods.build(config), 32, mesh))
  checkpoints = checkpoint.Checkpoints(folder / workdir.CHECKPOINTS)
  checkpoints.save(2, parallel.put(state, parallel.replicated(mesh)), None)
  checkpoints.close()
  workdir.write_config(folder, config)
  return str(folder)


def test_deblur_of_a_film_sees_the_frames_around(run, tmp_path, capsys):
  av = pytest.importorskip('av', reason='the extra "video" is missing')
  films.film(tmp_path / 'film.mkv', codec='ffv1', pixels='bgr0')
  with pytest.raises(SystemExit) as end:
    cli.main([str(tmp_path / 'film.mkv'), '-m', run, '--crf=0'])
  assert end.value.code == 0, capsys.readouterr().err

  def shots(path):
    with av.open(str(path)) as film:
      return np.stack([shot.to_ndarray(format='rgb24')
                       for shot in film.decode(video=0)])

  blurs, found = (shots(tmp_path / f'film{x}.mkv') for x in ('', '_deblurred'))
  added = (found.astype(float) - blurs).mean((1, 2))[:, 1]
  before = blurs[[0, *range(11)], 0, 0, 2]
  # But for what the encoder makes of the colours of all frames.
  np.testing.assert_allclose(added - added[0], 0.1 * before, atol=0.7)


def test_deblur_of_a_photo_takes_it_as_a_film_that_stands_still(run):
  photo = RNG.uniform(0.1, 0.8, (18, 32, 3)).astype(np.float32)
  np.testing.assert_allclose(
      deblur_jax.restore(photo, model=run), photo + 0.1 * photo[..., 2:],
      atol=1e-6)


def test_it_goes_out_as_a_file(run, tmp_path, capsys):
  with pytest.raises(SystemExit) as end:
    cli.main(['export', '-m', run, '-o', str(tmp_path / 'out'),
              '--kind=stablehlo', '--size=24x16', '--json'])
  assert end.value.code == 0
  row, = json.loads(capsys.readouterr().out)
  assert row['errors']['24x16'] < 1e-5
