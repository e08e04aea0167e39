"""The pace of models: measured, stored, and used for estimates."""

import json
import time

import films
import helpers
import jax
import jax.numpy as jnp
import numpy as np
import odd_pictures
import pytest
import run_folders
from PIL import Image

import deblur_jax
from deblur_jax.app import blending, console, pace, pixel_count, restoring
from deblur_jax.inference import tiling
from deblur_jax.pretrained import zoo

KEY = pace.Key('some', zoo.AUTO, 'cpu', 2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('DEBLUR_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setattr(pace, '_waiting', {})
  return tmp_path / 'cache'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  run_folders.untrained(folder, helpers.tiny(**{'nets.net': dict(
      name='multiscale', scales=1, blocks=0, features=4, residual=True)}),
      scale=0.3)
  return str(folder)


# ---- the file


def test_a_measurement_is_found_again():
  assert pace.find(KEY, {}) is None
  pace.record(KEY, 6.0, 2.0)
  assert pace.find(KEY, {'seconds_720p': 99}) == (3.0, True)
  stated = {'seconds_720p': 9.216}
  for other in (KEY._replace(model='other'), KEY._replace(device='gpu'),
                KEY._replace(cores=4)):
    assert pace.find(other, {}) is None
    assert pace.find(other, stated) == (pytest.approx(10.0), False)
  # Cards are measured with AUTO.
  assert pace.find(KEY._replace(dtype='bfloat16'), stated) is None
  pace.record(KEY, 1.0, 1.0)    # the earlier call counts less
  assert pace.find(KEY, {}).seconds == pytest.approx(
      (pace.DECAY * 6 + 1) / (pace.DECAY * 2 + 1))


def test_short_measurements_are_collected(cache):
  for _ in range(3):
    pace.record(KEY, 0.3, 0.1)
    assert not cache.exists()
    assert pace.find(KEY, {}).seconds == pytest.approx(3.0)
  pace.record(KEY, 0.3, 0.1)
  assert pace.find(KEY, {}).seconds == pytest.approx(3.0) and cache.exists()


@pytest.mark.parametrize('text', [
    '', 'x', '[]', '{"some | float32 | cpu | 2": 3}', '\x00', '[' * 9999,
    *('{"some | float32 | cpu | 2": [' + entry + ']}' for entry in (
        '1', '1, 0', '-1, 2', 'NaN, 1', 'Infinity, 1', 'true, 1', '"1", 1'))])
def test_a_damaged_file_gives_no_estimate(text, cache):
  cache.mkdir()
  (cache / pace.FILE).write_text(text)
  assert pace.find(KEY, {}) is None
  pace.record(KEY, 2.0, 1.0)
  assert pace.find(KEY, {}).seconds == 2


def test_an_unusable_folder_gives_no_estimate(
    cache, monkeypatch, run):
  cache.write_text('a file')
  pace.record(KEY, 2.0, 1.0)
  assert pace.find(KEY, {}) is None
  assert deblur_jax.restore(
      np.zeros((8, 8, 3), np.uint8), model=run).shape == (8, 8, 3)
  assert cache.read_text() == 'a file'


@pytest.mark.parametrize('seconds, megapixels', [
    (0.0, 0.0), (-1.0, 1.0), (float('nan'), 1.0), (1.0, 0.0)])
def test_invalid_measurements_are_not_stored(seconds, megapixels, cache):
  pace.record(KEY, seconds, megapixels)
  assert not cache.exists()


def test_the_file_stays_small(cache):
  for number in range(pace.KEPT + 5):
    pace.record(KEY._replace(cores=number), 1.0, 1.0)
  found = json.loads((cache / pace.FILE).read_text())
  assert len(found) == pace.KEPT and 'some | auto | cpu | 0' not in found
  assert [path.name for path in cache.iterdir()] == [pace.FILE]


# ---- measurement


def slow(image, on_tile, *, tiles, compiled=0.0):
  """Like `tiling.build`: 0.02 s a tile, the first with a compilation."""
  for number in range(tiles):
    time.sleep(0.02 + (0.1 if compiled and not number else 0.0))
    if compiled and not number:
      jax.monitoring.record_event_duration_secs(
          f'{pace.COMPILING}backend_compile_duration', compiled)
    on_tile(number + 1, tiles)
  return tiling.Large(image, tiles, 0, 0, image.shape[:2])


@pytest.mark.parametrize('tiles', [1, 2, 5])
def test_compilation_does_not_count(tiles):
  meter, counts_seen = pace.Meter(), []
  image = np.zeros((400, 500, 3), np.float32)
  meter.timed(lambda *args: slow(*args, tiles=tiles, compiled=0.1))(
      image, lambda *counts: counts_seen.append(counts))
  assert counts_seen == [(number + 1, tiles) for number in range(tiles)]
  counted = max(1, tiles - 1)
  assert meter.megapixels == pytest.approx(0.2 * counted / tiles)
  assert 0.02 * counted <= meter.seconds + 1e-3
  assert meter.seconds < 0.02 * counted + 0.08


@pytest.mark.parametrize('size, again', [((400, 500), 1), ((100, 100), 0)])
def test_recomputed_tiles_and_small_pictures_do_not_count(size, again):
  meter = pace.Meter()
  meter.timed(lambda image, on_tile: tiling.Large(image, 1, again, 0, size))(
      np.zeros((*size, 3)))
  assert (meter.seconds, meter.megapixels) == (0, 0)


def test_nested_compilations_count_once():
  before, start = pace._compile_seconds(), time.perf_counter()
  jax.jit(lambda x: jax.jit(jnp.sin)(x) @ x + 1)(jnp.ones((7, 7)))
  spent = pace._compile_seconds() - before
  assert 0 < spent <= time.perf_counter() - start


def test_a_call_measures_for_the_next_one(run, tmp_path, monkeypatch):
  monkeypatch.setattr(pace, 'MIN_SECONDS', 0.0)
  network = restoring.Network(run)
  assert restoring.pace_of(network) is None
  monkeypatch.setattr(pace, 'LEAST_MEGAPIXELS', 0.0)
  image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
  deblur_jax.restore(image, model=run)
  first = restoring.pace_of(network)
  assert first.is_measured and 0 < first.seconds < 1000
  estimates = []
  for name in ('one.png', 'two.png'):
    Image.fromarray(image).save(tmp_path / name)
  (tmp_path / 'text.png').write_text('no picture')
  restoring.run([str(tmp_path)], network=network, written=restoring.Written(),
                on_estimate=estimates.append, out=str(tmp_path / 'out'))
  estimate, = estimates
  assert estimate.megapixels == pytest.approx(2 * 60 * 80 / 1e6)
  assert estimate.seconds == pytest.approx(
      first.seconds * estimate.megapixels)
  assert restoring.pace_of(network) != first


# ---- estimates


def test_estimates_are_proportional_to_pixels():
  one = pace.Pace(2.5, True)
  for megapixels in (0.1, 1.0, 7.5):
    found = pace.estimate(one, megapixels)
    assert found == pytest.approx((2.5 * megapixels, megapixels, True))
  assert pace.estimate(one, 0.0) is None and pace.estimate(None, 1.0) is None


def test_pixels_from_headers(tmp_path):
  Image.new('RGB', (400, 300)).save(
      tmp_path / 'x.jpg', exif=odd_pictures.exif(orientation=6))
  whole = (tmp_path / 'x.jpg').read_bytes()
  (tmp_path / 'x.jpg').write_bytes(whole[:len(whole) // 2])    # header only
  assert pixel_count.megapixels(tmp_path / 'x.jpg') == 0.12
  assert pixel_count.megapixels(tmp_path / 'x.jpg', max_pixels=99) is None
  assert pixel_count.megapixels(tmp_path / 'none.jpg') is None
  # Upright it is 300x400.
  region = blending.Region(250, 350, 50, 50)
  (_, _, width, height), = blending.crops([region], (400, 300))
  assert pixel_count.megapixels(tmp_path / 'x.jpg', regions=[region]) == (
      width * height / 1e6)
  pytest.importorskip('av', reason='the extra "video" is missing')
  films.film(tmp_path / 'film.mkv')
  assert pixel_count.megapixels(tmp_path / 'film.mkv') == pytest.approx(
      12 * 32 * 18 / 1e6)


def test_headers_are_read_fast(tmp_path):
  Image.new('RGB', (4000, 3000)).save(tmp_path / 'x.jpg')
  pixel_count.megapixels(tmp_path / 'x.jpg')
  start = time.perf_counter()
  for _ in range(10):
    pixel_count.megapixels(tmp_path / 'x.jpg')
  assert (time.perf_counter() - start) / 10 < 0.01


@pytest.mark.parametrize('seconds, wanted', [
    (0.2, 'less than 1 s'), (3.4, 'about 3 s'), (42, 'about 40 s'),
    (99, 'about 100 s'),
    (130, 'about 2 min'), (3000, 'about 50 min'),
    (7800, 'about 2 h 10 min'), (90000, 'about 25 h')])
def test_words(seconds, wanted):
  assert pace.words(seconds) == wanted


def test_the_remaining_time(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(pace.time, 'perf_counter', lambda: now[0])
  compiled = [7.0]
  monkeypatch.setattr(pace, '_compile_seconds', lambda: compiled[0])
  left = pace.Remaining(100.0)
  assert left(0, 4) == 100
  now[0] = 60.0    # with compilation
  assert left(1, 4) == pytest.approx(75)
  now[0] = 70.0
  assert left(2, 4) == pytest.approx(20)
  unknown = pace.Remaining()
  assert pace.Remaining()(1, 4) is None
  assert unknown(0, 4) is None
  now[0], compiled[0] = 110.0, 37.0    # 40 s with 30 s of compilation
  assert unknown(1, 4) == pytest.approx(30)
  now[0] = 121.0
  assert unknown(2, 4) == pytest.approx(22)
  assert unknown(4, 4) == 0


def test_the_line_of_an_estimate(capsys):
  with console.progress() as progress:
    for estimate in (None, pace.Estimate(0.5, 0.1, True),
                     pace.Estimate(42.0, 12.0, True),
                     pace.Estimate(42.0, 12.0, False)):
      progress.on_estimate(estimate)
    progress.on_part('x', 0, 2)
    progress.on_part('x', 1, 2)
  printed = capsys.readouterr()
  assert printed.err.splitlines() == [
      '12 megapixels take about 40 s.',
      '12 megapixels take about 40 s on the reference machine; this one was '
      'not measured yet.']
  assert not printed.out
