"""Regions and strength: changed pixels, the feather, and unchanged pixels."""

import films
import helpers
import numpy as np
import odd_pictures
import pytest
import run_folders
from PIL import Image

import deblur_jax
from deblur_jax import errors
from deblur_jax.app import blending, cli, restoring
from deblur_jax.inference import tiling
from deblur_jax.media import pictures

REGION = blending.Region(20, 10, 40, 30)
CONFIG = helpers.tiny(**{'nets.net': dict(
    name='multiscale', scales=1, blocks=0, features=4, residual=True)})


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a run whose network changes pictures slightly."""
  folder = tmp_path_factory.mktemp('run')
  run_folders.untrained(folder, CONFIG, scale=0.3)
  return str(folder)


def photo(dtype, channels, *, size=(54, 72), seed=0):
  random = np.random.default_rng(seed)
  small = random.integers(60, 200, (6, 8, channels or 1), np.uint8)
  image = np.stack([np.asarray(Image.fromarray(one).resize(
      size[::-1], Image.Resampling.BICUBIC)) for one in np.moveaxis(
          small, -1, 0)], axis=-1)
  image = image if channels else image[..., 0]
  if dtype.startswith('float'):
    return (image / 255 + random.uniform(0, 1e-3, image.shape)).astype(dtype)
  noise = random.integers(0, 256, image.shape)
  return (image.astype(np.uint16) * 257 + noise).astype(dtype) if (
      dtype == 'uint16') else image


def deblur(*argv):
  """Runs a command and returns its exit code."""
  with pytest.raises(SystemExit) as end:
    cli.main(list(map(str, argv)))
  return end.value.code or 0


def inside(size, *regions):
  found = np.zeros(size, bool)
  for x, y, width, height in regions:
    found[y:y + height, x:x + width] = True
  return found


# ---- the feather


@pytest.mark.parametrize('side', [1, 2, 3, 7, 16, 33, 34, 80])
@pytest.mark.parametrize('first, last', [(0, 0), (5, 0), (0, 5), (5, 5)])
def test_the_feather_rises_from_borders_inside_of_the_picture(
    side, first, last):
  region = blending.Region(first, 3, side, 90)
  feather = blending.weights(region, (200, first + side + last))
  assert feather.shape == (90, side, 1) and feather.dtype == np.float32
  assert 0 < feather.min() and feather.max() == 1
  row = feather[45, :, 0]
  top = np.argmax(row)
  assert (np.diff(row[:top + 1]) >= 0).all()
  assert (np.diff(row[row.size - 1 - np.argmax(row[::-1]):]) <= 0).all()
  assert row[0] == 1 or first
  assert row[-1] == 1 or last
  if side > 2 * blending.FEATHER:
    assert (row[blending.FEATHER:-blending.FEATHER] == 1).all()
  if first and last:
    np.testing.assert_array_equal(row, row[::-1])


@pytest.mark.parametrize('weight', [0, 1, 0.0, 1.0])
def test_a_mixture_is_exact_at_its_ends(weight):
  random = np.random.default_rng(0)
  image, restored = random.random((2, 5, 6, 3), dtype=np.float32)
  for form in (weight, np.full((5, 6, 1), weight, np.float32)):
    found = blending.mix(image, restored, form)
    np.testing.assert_array_equal(found, restored if weight else image)
    assert found.dtype == np.float32


def test_the_mask_is_where_pixels_change():
  random = np.random.default_rng(0)
  image = random.random((54, 72, 3), dtype=np.float32)
  regions = REGION, blending.Region(50, 30, 22, 24)
  for blend in (blending.Blend(), blending.Blend(regions),
                blending.Blend(regions, 0.0), blending.Blend((), 0.0)):
    large = blending.restore_in(
        lambda one, on_tile: tiling.Large(1 - one, 1, 0, 0, one.shape[:2]),
        image, blend.regions)
    changed = blending.mix(image, large.image, blend.strength) != image
    np.testing.assert_array_equal(
        changed.any(-1), blending.mask(blend, image.shape[:2]))


# ---- the input of the network


def test_crops_begin_where_tiles_do_and_have_a_margin():
  random = np.random.default_rng(0)
  size = 700, 900
  for _ in range(50):
    x, y = random.integers(0, 800), random.integers(0, 600)
    region = blending.Region(int(x), int(y), int(random.integers(1, 901 - x)),
                             int(random.integers(1, 701 - y)))
    (left, top, width, height), = blending.crops([region], size)
    assert left % tiling.ALIGNMENT == top % tiling.ALIGNMENT == 0
    margins = (region.x - left, region.y - top,
               left + width - region.x - region.width,
               top + height - region.y - region.height)
    rooms = (region.x, region.y, size[1] - region.x - region.width,
             size[0] - region.y - region.height)
    for margin, room in zip(margins, rooms, strict=True):
      assert min(room, blending.MARGIN) <= margin <= (
          blending.MARGIN + blending.ALIGNMENT)


def test_a_region_equals_that_of_the_whole_picture(run):
  image = photo('float32', 3, size=(300, 400))
  whole = deblur_jax.restore(image, model=run, tile=0)
  region = blending.Region(130, 120, 100, 90)
  found = deblur_jax.restore(image, model=run, region=region)
  core = np.s_[140:190, 150:210]
  np.testing.assert_allclose(found[core], whole[core], atol=1e-5)
  assert np.abs(found[core] - image[core]).max() > 1e-3
  np.testing.assert_array_equal(
      deblur_jax.restore(image, model=run, region=(0, 0, 400, 300)),
      deblur_jax.restore(image, model=run))


def test_progress_goes_over_all_regions(run):
  counts_seen = []
  restoring.restored(
      photo('float32', 3), restoring.Network(run),
      lambda *counts: counts_seen.append(counts),
      blend=blending.build(['0,0,9,9', REGION]))
  assert counts_seen == [(1, 2), (2, 2)]


# ---- unchanged pixels


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32', 'float64'])
@pytest.mark.parametrize('channels', [0, 1, 3, 4])
def test_arrays_do_not_change_outside_of_regions(run, dtype, channels):
  image = photo(dtype, channels)
  other = blending.Region(0, 44, 10, 10)
  found = deblur_jax.restore(image, model=run, region=[REGION, '0,44,10,10'])
  where = inside((54, 72), REGION, other)
  np.testing.assert_array_equal(found[~where], image[~where])
  for region in (REGION, other):
    assert (found != image)[inside((54, 72), region)].any()


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float64'])
def test_strengths(run, dtype):
  image = photo(dtype, 3)
  whole = deblur_jax.restore(image, model=run)
  for strength in (0, 0.0, 0.25, 1):
    found = deblur_jax.restore(image, model=run, strength=strength)
    wanted = (1 - strength) * image + strength * whole.astype(float)
    np.testing.assert_allclose(
        found, wanted, rtol=0, atol=0 if strength in (0, 1) else
        1e-6 if dtype == 'float64' else 1)
  part = deblur_jax.restore(image, model=run, strength=0.5, region=REGION)
  where = inside((54, 72), REGION)
  np.testing.assert_array_equal(part[~where], image[~where])
  assert (part != image)[where].any()


@pytest.mark.parametrize('name, dtype, channels', [
    ('deep.png', 'uint16', 3), ('deep.tif', 'uint16', 3),
    ('gray.png', 'uint16', 1), ('gray.tiff', 'uint8', 1),
    ('alpha.png', 'uint8', 4), ('plain.webp', 'uint8', 3),
    ('plain.bmp', 'uint8', 3)])
def test_lossless_files_do_not_change_outside_of_regions(
    run, tmp_path, name, dtype, channels):
  picture = pictures.from_array(photo(dtype, channels))
  path = tmp_path / name
  form = pictures.form_of(path)
  if form == 'WEBP':
    Image.fromarray(photo(dtype, channels)).save(path, lossless=True)
  else:
    path.write_bytes(pictures.encode(picture, picture.image, form=form))
  x, y, width, height = REGION
  assert deblur(path, '-m', run, f'--region={x},{y},{width},{height}') == 0
  before, after = map(pictures.read, (
      path, path.with_stem(f'{path.stem}_deblurred')))
  where = inside((54, 72), REGION)
  assert before.bits == after.bits == (16 if dtype == 'uint16' else 8)
  np.testing.assert_array_equal(after.image[~where], before.image[~where])
  assert (after.image != before.image)[where].any()
  if channels == 4:
    np.testing.assert_array_equal(after.alpha, before.alpha)


def test_regions_are_of_the_upright_picture(run, tmp_path):
  image = photo('uint8', 3)
  Image.fromarray(image).save(
      tmp_path / 'turned.png', exif=odd_pictures.exif(orientation=6))
  assert deblur(tmp_path / 'turned.png', '-m', run, '--region=0,60,54,12') == 0
  found = np.asarray(Image.open(tmp_path / 'turned_deblurred.png'))
  upright = np.rot90(image, -1)
  assert found.shape == upright.shape == (72, 54, 3)
  np.testing.assert_array_equal(found[:60], upright[:60])
  assert (found[60:] != upright[60:]).any()


def test_every_frame_of_a_video_has_the_region(run, tmp_path, monkeypatch):
  pytest.importorskip('av', reason='the extra "video" is missing')
  films.film(tmp_path / 'film.mkv')
  seen = []

  def restore(source, target, fn, **options):
    for seed in range(3):
      frame = photo('float32', 3, seed=seed)
      seen.append((frame, fn(frame[None])[0]))
    return restoring.videos.Done(3, 0, ())

  monkeypatch.setattr(restoring.videos, 'restore', restore)
  assert deblur(tmp_path / 'film.mkv', '-m', run, '--region=20,10,40,30',
                '--strength=0.5') == 0
  where = inside((54, 72), REGION)
  for before, after in seen:
    np.testing.assert_array_equal(after[~where], before[~where])
    assert (after != before)[where].any()


def test_frames_of_another_region_are_of_another_model(run):
  network = restoring.Network(run)
  identities = {restoring._made_by(network, blend) for blend in (
      blending.Blend(), blending.Blend((REGION,)), blending.Blend((), 0.5))}
  assert len(identities) == 3


def test_a_region_is_restored_however_sharp_the_picture_is(run):
  image = photo('float32', 3)
  found = deblur_jax.restore(
      image, model=run, region=(0, 0, 4, 4), blur_threshold=1.0)
  assert (found != image).any()


# ---- mistakes


@pytest.mark.parametrize('region, message', [
    ('1,2,3', 'four whole numbers x,y,w,h in pixels, not \'1,2,3\''),
    ('1,2,3,4.5', 'four whole numbers'), ('a,b,c,d', 'four whole numbers'),
    ('', 'four whole numbers'), ((1, 2, 3, 4.0), 'four whole numbers'),
    (7, 'four whole numbers'), ([[1, 2], [3, 4]], 'four whole numbers'),
    ('0,0,0,5', 'is empty'), ((0, 0, 5, -1), 'is empty')])
def test_invalid_regions(region, message):
  with pytest.raises(errors.UserError, match=message) as error:
    blending.build(region)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('region, message', [
    ('72,0,5,5', 'The region 72,0,5,5 is outside of the picture, which is '
     '72x54'),
    ('-9,0,9,9', 'is outside of the picture'),
    ('0,54,1,1', 'is outside of the picture'),
    ('70,0,5,5', 'crosses the border of the picture, which is 72x54'),
    ('-1,0,5,5', 'crosses the border'),
    ('0,0,72,55', 'crosses the border')])
def test_regions_that_are_not_inside(run, region, message, tmp_path, capsys):
  with pytest.raises(errors.UserError, match=message):
    deblur_jax.restore(photo('uint8', 3), model=run, region=region)
  with pytest.raises(errors.UserError, match=message):
    deblur_jax.restore(photo('uint8', 3), model=run, region=region, strength=0)
  Image.fromarray(photo('uint8', 3)).save(tmp_path / 'x.png')
  assert deblur(tmp_path / 'x.png', '-m', run, f'--region={region}') == 1
  [line] = [line for line in capsys.readouterr().err.splitlines()
            if not line.endswith('computes in float32.')]
  assert message in line


@pytest.mark.parametrize('strength', [-0.1, 1.1, float('nan'), 'half', None])
def test_invalid_strengths(strength):
  with pytest.raises(errors.UserError, match='strength must be 0 to 1, got'):
    blending.build(None, strength)


@pytest.mark.parametrize('option', [
    '--strength=1.5', '--strength=nan', '--region=1,2', '--region=0,0,0,1'])
def test_options_are_checked_before_any_file(option, capsys):
  assert deblur('restore', '.', '-m', 'runs/never_looked_at', option) == 2
  assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.parametrize('option, message', [
    (dict(model=3), 'model must be a name or a path, got 3'),
    (dict(tile='512'),
     "tile must be a whole number, or None, which chooses it, got '512'"),
    (dict(overlap=1.5), 'overlap must be a whole number, got 1.5'),
    (dict(ensemble=2), 'ensemble must be True or False, got 2'),
    (dict(dtype=np.float32), 'dtype must be a name or None, got <class'),
    (dict(local=None), 'local must be a whole number, got None'),
    (dict(blur_threshold=True), 'blur_threshold must be a number or None')])
def test_an_option_of_another_type_is_one_line(option, message):
  with pytest.raises(errors.UserError, match=message):
    deblur_jax.restore(np.zeros((4, 4, 3), np.uint8), **option)
