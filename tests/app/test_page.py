"""The page: results, access control, and the page in a browser."""

import asyncio
import concurrent.futures
import contextlib
import http.client
import importlib.util
import io
import json
import os
import pathlib
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.parse

import browser
import jax
import numpy as np
import page_attacks
import pytest
import run_folders
from helpers import tiny
from PIL import Image

from deblur_jax import errors
from deblur_jax.app import (
  blending,
  pace,
  page,
  page_access,
  page_jobs,
  page_photo,
  page_restore,
  prior_fit,
)
from deblur_jax.inference import restoration
from deblur_jax.media import pictures
from deblur_jax.ops import bit_depth, process_locks
from deblur_jax.pretrained import zoo
from deblur_jax.priors import solve, tasks

MAX_BYTES = 200_000
MAX_PIXELS = 250_000
# The smallest fit.
SMALL = {'variant': 'debug', 'chunk': 5}
SERVE = '''
import sys, threading, time
from deblur_jax.app import page
# Like a fit that compiles: nothing interrupts it, and Python waits for it.
threading.Thread(target=time.sleep, args=(10_000,)).start()
page.serve([sys.argv[1]], port=0, runs=sys.argv[2], max_bytes=int(sys.argv[3]),
           max_pixels=int(sys.argv[4]), fit={
               'variant': 'debug', 'chunk': 5, 'steps': 100_000})
'''


def photo(seed, size):
  random = np.random.default_rng(seed)
  return Image.fromarray(random.integers(60, 200, (6, 8, 3), np.uint8)).resize(
      size, Image.Resampling.BICUBIC)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """The run `mine` of a network that changes little, and a folder `study`."""
  folder = tmp_path_factory.mktemp('runs')
  net = dict(name='multiscale', scales=1, depth=4, features=8, residual=True,
             dtype='float32')
  run_folders.untrained(folder / 'mine', tiny(nets=dict(net=net)), scale=0.5)
  run_folders.train(folder / 'study' / 'other', run_folders.config(), steps=20)
  return folder


@pytest.fixture(scope='module')
def uploads(tmp_path_factory):
  """Two pictures of one tile's size, one too large, and a file of text."""
  folder = tmp_path_factory.mktemp('uploads')
  exif = Image.Exif()
  exif[0x010F] = 'A maker'
  photo(0, (96, 64)).save(folder / 'one.jpg', exif=exif)
  photo(1, (90, 60)).save(folder / 'two.png')
  Image.new('RGB', (600, 500)).save(folder / 'many.png')
  (folder / 'text.jpg').write_text('This is no picture.')
  (folder / 'large.jpg').write_bytes(bytes(MAX_BYTES + 1))
  return folder


@pytest.fixture(scope='module')
def restorers(runs):
  return page_jobs.Restorers([runs / 'mine'])


@pytest.fixture(scope='module')
def expected(restorers, uploads, tmp_path_factory):
  """name of an upload -> its result without other requests."""
  folder = str(tmp_path_factory.mktemp('expected'))
  return {name: restore(uploads / name, restorers, folder)
          for name in ('one.jpg', 'two.png')}


def restore(upload, restorers, folder, *, strength=1.0, **options):
  """The result of an upload."""
  return page_jobs.restore(
      str(upload), 'mine', restorers, kept=str(folder), **options
  ).result(strength, folder=str(folder))


@pytest.fixture(scope='module')
def served(runs, tmp_path_factory):
  """(address, folder for temporary files) of a page in its own process."""
  if importlib.util.find_spec('gradio') is None:
    pytest.skip('no gradio: pip install deblur-jax[page]')
  folder = tmp_path_factory.mktemp('page')
  left = [folder / f'{page.PREFIX}{name}' for name in ('killed', 'other')]
  for one in left:
    (one / 'files').mkdir(parents=True)
    (one / page.LOCK).touch()
  root = pathlib.Path(page.__file__).parents[2]
  with open(folder / 'log', 'wb') as log:
    process = subprocess.Popen(
        [sys.executable, '-c', SERVE, str(runs / 'mine'), str(runs / 'study'),
         str(MAX_BYTES), str(MAX_PIXELS)], stderr=log, cwd=root,
        env=os.environ | {'TMPDIR': str(folder), 'JAX_PLATFORMS': 'cpu',
                          'JAX_NUM_CPU_DEVICES': '2'})    # as here
  read = (folder / 'log').read_text
  with process_locks.held(left[1] / page.LOCK, busy='The other page is gone.'):
    while not (found := re.search(r'http://\S+', read())):
      assert process.poll() is None, read()
      time.sleep(0.1)
  assert [one.exists() for one in left] == [False, True]
  shutil.rmtree(left[1])
  yield found[0], folder
  parts = urllib.parse.urlsplit(found[0])    # somebody still looks at it
  connection = http.client.HTTPConnection(parts.hostname, parts.port)
  connection.request('GET', '/gradio_api/heartbeat/x')
  assert connection.getresponse().status == 200
  process.send_signal(signal.SIGTERM)
  assert process.wait(timeout=120) == 128 + signal.SIGTERM
  assert 'Traceback' not in read()
  assert [path.name for path in folder.iterdir()] == ['log']


@pytest.fixture
def address(served):
  return served[0]


def pixels(path):
  with Image.open(path) as image:
    return np.asarray(image).astype(int)


# ---- without a browser


def test_the_result_is_a_file_like_the_upload(expected, uploads):
  found = expected['one.jpg']
  assert os.path.basename(found.file) == 'one_deblurred.jpg'
  with Image.open(found.file) as image:
    assert (image.format, image.size) == ('JPEG', (96, 64))
    assert image.getexif()[0x010F] == 'A maker'
  before, after = map(pixels, found.shown)
  np.testing.assert_array_equal(before, pixels(uploads / 'one.jpg'))
  assert 0.5 < np.abs(after - before).mean() < 30
  assert found.notes == ()


def test_sixteen_bits_and_wrong_suffixes(restorers, tmp_path):
  deep = pictures.Picture(
      np.linspace(0, 1, 60 * 90 * 3, dtype=np.float32).reshape(60, 90, 3),
      bits=16, form='PNG')
  upload = tmp_path / 'deep.jpg'
  upload.write_bytes(pictures.encode(deep, deep.image))
  found = restore(upload, restorers, tmp_path)
  assert os.path.basename(found.file) == 'deep_deblurred.png'
  assert pictures.read(found.file).bits == 16
  assert 'it is a PNG; its name says otherwise' in found.notes


def test_two_at_once_are_not_mixed(restorers, uploads, expected, tmp_path):
  names = ['one.jpg', 'two.png'] * 3
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(
        lambda name: restore(uploads / name, restorers, tmp_path), names))
  for name, one in zip(names, found, strict=True):
    assert (pathlib.Path(one.file).read_bytes()
            == pathlib.Path(expected[name].file).read_bytes())
  assert len({one.file for one in found}) == len(names)


@pytest.mark.parametrize('name, model, words', [
    ('text.jpg', 'mine', '^text.jpg is no picture'),
    ('many.png', 'mine', '^many.png has 600x500 pixels'),
    ('one.jpg', '/etc', "^There is no model '/etc' on this page"),
])
def test_mistakes_are_one_line(restorers, uploads, name, model, words):
  with pytest.raises(errors.UserError, match=words) as error:
    page_jobs.restore(str(uploads / name), model, restorers, kept='',
                      max_pixels=MAX_PIXELS)
  assert '\n' not in page_jobs.line(error.value)


@pytest.mark.parametrize('name', ['one.jpg', 'two.png'])
def test_the_strength_needs_no_network(
    restorers, uploads, expected, tmp_path, monkeypatch, name):
  folder, kept = tmp_path / 'files', tmp_path / 'kept'
  for one in (folder, kept):
    one.mkdir()
  found = page_jobs.restore(
      str(uploads / name), 'mine', restorers, kept=str(kept))
  monkeypatch.setattr(page_jobs.Restorers, 'restore', None)
  before, after = map(pixels, expected[name].shown)
  for strength in (1.0, 0.5, 0.0, 1.0):
    result = found.result(strength, folder=str(folder))
    wanted = (1 - strength) * before + strength * after
    assert np.abs(pixels(result.shown[1]) - wanted).max() <= (
        1 if strength == 0.5 else 0)
    np.testing.assert_array_equal(pixels(result.shown[0]), before)
  assert (pathlib.Path(result.file).read_bytes()
          == pathlib.Path(expected[name].file).read_bytes())
  assert len(list(folder.iterdir())) == page_jobs.RECENT
  assert len(list(kept.iterdir())) == 1
  with pytest.raises(errors.UserError, match='strength must be 0 to 1'):
    found.result(1.5, folder=str(folder))
  found.forget()
  assert not list(kept.iterdir())
  with pytest.raises(errors.UserError, match='restore it again'):
    found.result(folder=str(folder))


def test_a_region_of_an_upload(restorers, uploads, expected, tmp_path):
  region = blending.Region(30, 0, 40, 60)
  found = restore(uploads / 'two.png', restorers, tmp_path, regions=[region])
  before, after = map(pixels, found.shown)
  where = np.zeros(before.shape[:2], bool)
  where[:, 30:70] = True
  np.testing.assert_array_equal(after[~where], before[~where])
  whole = pixels(expected['two.png'].shown[1])
  assert np.abs(after - whole)[:, 48:52].max() <= 1
  with pytest.raises(errors.UserError, match='crosses the border'):
    restore(uploads / 'two.png', restorers, tmp_path,
            regions=[region._replace(x=60)])


def test_a_preview_and_its_region(uploads, tmp_path):
  one = page_photo.load(str(uploads / 'many.png'), folder=str(tmp_path))
  assert one.size == (500, 600)
  np.testing.assert_array_equal(
      pixels(one.preview), pixels(uploads / 'many.png'))
  region = page_photo.between((150, 20), (50, 120))
  assert region == (50, 20, 101, 101)
  found = pixels(page_photo.drawn(one, region, folder=str(tmp_path)))
  changed = (found != pixels(one.preview)).any(-1)
  ys, xs = np.nonzero(changed)
  assert (xs.min(), ys.min(), xs.max(), ys.max()) == (50, 20, 150, 120)
  assert not changed[26:115, 56:145].any()
  assert page_photo.drawn(one, None, folder=str(tmp_path)) == one.preview
  for corner in ((0, 0), (599, 499)):
    page_photo.drawn(one, page_photo.between(corner, corner),
                     folder=str(tmp_path))


def test_a_preview_is_small_and_its_places_are_the_photos(tmp_path):
  photo(0, (1600, 1200)).save(tmp_path / 'large.jpg')
  one = page_photo.load(str(tmp_path / 'large.jpg'), folder=str(tmp_path))
  with Image.open(one.preview) as image:
    width, height = image.size
  assert 0.95 < width * height / page_photo.SHOWN < 1.05
  assert page_photo.pixel(one, (0, 0)) == (0, 0)
  assert page_photo.pixel(one, (width, height)) == (1599, 1199)
  x, y = page_photo.pixel(one, (width / 2, height / 4))
  assert abs(x - 800) <= 2 and abs(y - 300) <= 2


def test_the_package_has_two_small_photos_with_their_sources(tmp_path):
  found = page_photo.examples()
  sources = (page_photo.EXAMPLES / 'SOURCES.txt').read_text()
  assert len(found) == 2
  for name, path in found.items():
    assert path.stat().st_size < 60_000 and f'{path.name} ' in sources
    copy = page_photo.take_example(name, folder=str(tmp_path))
    assert pathlib.Path(copy).read_bytes() == path.read_bytes()
    page_photo.load(copy, folder=str(tmp_path))


def test_models_are_listed_with_their_time(restorers, uploads, tmp_path,
                                           monkeypatch):
  monkeypatch.setenv('DEBLUR_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setattr(pace, '_waiting', {})
  one = page_photo.load(str(uploads / 'many.png'), folder=str(tmp_path))
  labels = lambda *of: [
      label for label, _ in page_restore._models(restorers, *of)]
  assert labels(None, ()) == restorers.names == ['mine', *zoo.names()]
  assert labels(one, ())[0] == 'mine: time not known yet'
  network = restorers._network('mine')
  pace.record(pace.key(network.model, network.dtype), 1e4, 1.0)
  assert labels(one, ())[0] == 'mine: about 50 min'    # 0.3 megapixels
  small = [blending.Region(0, 0, 10, 10)]
  assert labels(one, small)[0] == 'mine: about 55 s'
  monkeypatch.setattr(zoo, 'card', lambda name: {'seconds_720p': 92.16})
  assert labels(one, ())[1] == f'{zoo.names()[0]}: about 30 s*'


def test_a_bug_is_one_line_too(capsys):
  assert page_jobs.line(KeyError('x\ny')) == (
      'Something is wrong with the program (KeyError); its window says more.')
  assert 'KeyError' in capsys.readouterr().err


def test_models_have_the_names_of_their_last_folders(runs):
  found = page_jobs.Restorers([runs / 'mine', f'{runs}/../{runs.name}/mine'])
  assert all(name.endswith(f'{os.sep}mine') for name in found.names[:2])
  with pytest.raises(errors.UserError, match='config'):
    page_jobs.Restorers([runs / 'none'])


def test_a_fit_in_parts_is_a_fit(uploads, tmp_path):
  upload = str(uploads / 'two.png')
  found = list(page_jobs.fitted(upload, 'denoise', folder=str(tmp_path),
                                steps=19, pause=0, **SMALL))
  assert [result.notes[0] for result, _ in found] == [
      f'step {done} of 20' for done in (5, 10, 15, 20)]
  assert len(list(tmp_path.iterdir())) == page_jobs.RECENT
  result, losses = found[-1]
  assert losses.shape == (20,) and len(result.notes) == 1
  batch = {'observed': pictures.read(upload).image[None],
           'seed': np.zeros(1, np.int32)}
  method, begin, run_chunk, mesh = prior_fit.program(
      json.dumps(tasks.config('denoise', steps=19, **SMALL)))
  key = jax.random.key(0)
  whole = restoration.fit_images(
      method, batch, key, 20, mesh, chunk=5, run_chunk=run_chunk,
      state=begin(key, batch))
  np.testing.assert_allclose(whole.curve['loss'][:, 0], losses, rtol=1e-5)
  wanted = bit_depth.to_uint8(
      method.restore(whole.state, None)[0]).astype(int)
  assert np.abs(pixels(result.file) - wanted).max() <= 1


def test_a_quick_fit_shows_its_first_and_last_steps(uploads, tmp_path):
  found = page_jobs.fitted(
      str(uploads / 'two.png'), 'denoise', folder=str(tmp_path), steps=19,
      pause=60, **SMALL)
  assert [result.notes[0] for result, _ in found] == [
      'step 5 of 20', 'step 20 of 20']


def test_between_them_it_shows_one_in_a_pause(monkeypatch):
  # When each comes; for a and d also when they have been shown.
  clock = iter([0.0, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1.2])
  monkeypatch.setattr(page_jobs, 'time', types.SimpleNamespace(
      monotonic=lambda: next(clock)))
  assert list(page_jobs._paced('abcdef', 0.5)) == ['a', 'd', 'f']


def test_the_command_fits_what_the_page_fits(
    uploads, tmp_path, monkeypatch, capfdbinary):
  steps_seen, out = [], tmp_path / 'fitted.png'
  outcome = prior_fit.run(
      str(uploads / 'two.png'), task='denoise', out=str(out),
      on_steps=lambda *steps: steps_seen.append(steps), steps=19, **SMALL)
  assert steps_seen[-1] == (20, 20) and outcome.target == str(out)
  *_, (result, _) = page_jobs.fitted(
      str(uploads / 'two.png'), 'denoise', folder=str(tmp_path), steps=19,
      **SMALL)
  np.testing.assert_array_equal(pixels(out), pixels(result.file))
  assert os.path.basename(result.file) == 'two_denoised.png'
  with open(uploads / 'two.png') as stdin:
    monkeypatch.setattr(sys, 'stdin', stdin)
    outcome = prior_fit.run('-', task='denoise', steps=19, **SMALL)
  assert outcome.target == '-'
  assert capfdbinary.readouterr().out == out.read_bytes()
  with pytest.raises(errors.UserError, match='exists already'):
    prior_fit.run(str(uploads / 'two.png'), task='denoise', out=str(out))


def test_a_fit_is_compiled_once_for_all_seeds_and_numbers_of_steps():
  name = lambda task, **options: prior_fit.compiled_by(
      tasks.quick(task, **options))
  assert name('denoise') == name('denoise', seed=7, steps=300)
  assert name('denoise') != name('inpaint')
  assert name('blind') == name('blind', seed=7)
  assert name('blind') != name('blind', steps=300)    # its rate has a schedule


@pytest.mark.parametrize('task', tasks.QUICK)
def test_the_settings_of_all_tasks_are_accepted(task):
  random = np.random.default_rng(0)
  draw = lambda: pictures.Picture(
      random.random((40, 56, 3), dtype=np.float32))
  config = tasks.config(task, **SMALL | (
      {'factor': 2} if task == 'sr' else {}))
  factor = config['method'].get('factor', 1)
  one = prior_fit.problem(draw(), task, side=32, factor=factor,
                          mask=draw() if task == 'inpaint' else None)
  solve.check(config)
  solve.check_problems(config, [one])
  assert prior_fit.before(one, factor=factor).shape == (
      (22, 32, 3) if task == 'sr' else (23, 32, 3))


@pytest.mark.parametrize('make, words', [
    (lambda: tasks.config('sharpen'), 'Unknown task'),
    (lambda: tasks.quick('flash'), "Unknown task 'flash'.*denoise"),
    (lambda: tasks.config('blind', kernel_size=4), 'must be odd'),
    (lambda: tasks.config('sr', steps=0), 'at least 1 step'),
    (lambda: tasks.config('sr', seed=2**31), 'seed must be 0 to 2147483647'),
    (lambda: fill(None), 'needs a mask'),
    (lambda: fill(np.ones((8, 9, 3))), 'mask is 9x8, the picture 8x8'),
    (lambda: fill(np.ones((8, 8, 3))), 'white everywhere'),
    (lambda: fill(np.zeros((8, 8, 3))), 'black everywhere'),
    (lambda: fill(np.ones((8, 8, 3)), 'sr'), 'sr has no option mask;'),
])
def test_invalid_fits(make, words):
  with pytest.raises(errors.UserError, match=words):
    make()


def fill(mask, task='inpaint'):
  picture = pictures.Picture(np.zeros((8, 8, 3), np.float32))
  return prior_fit.problem(
      picture, task, mask=None if mask is None else pictures.Picture(mask))


def test_the_chart_of_the_loss():
  points = re.search('points="(.*?)"',
                     page_jobs.chart(np.exp(-np.arange(9.0))))[1]
  xs, ys = np.array([one.split(',') for one in points.split()], float).T
  np.testing.assert_allclose(xs, np.linspace(2, 298, 9))
  np.testing.assert_allclose(ys, np.linspace(2, 58, 9))
  assert not page_jobs.chart(np.array([np.nan, 1.0]))


def test_curves_of_runs_are_read_and_nothing_is_written(runs):
  before = sorted(runs.rglob('*'))
  text, png = page_jobs.curves(runs / 'study')
  assert '* other: unfinished, at step 20 of 40' in text
  assert Image.open(io.BytesIO(png)).format == 'PNG'
  assert sorted(runs.rglob('*')) == before


def test_old_files_are_deleted(tmp_path):
  for name in ('old', 'new'):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'x').touch()
  for path in (tmp_path / 'old' / 'x', tmp_path / 'old'):
    os.utime(path, (1, 1))
  page.sweep(tmp_path, age=60)
  assert not (tmp_path / 'old' / 'x').exists()
  os.utime(tmp_path / 'old', (1, 1))
  page.sweep(tmp_path, age=60)
  assert [path.name for path in tmp_path.iterdir()] == ['new']
  assert (tmp_path / 'new' / 'x').exists()


def test_mistakes_of_the_server(address, tmp_path):
  port = urllib.parse.urlsplit(address).port
  with pytest.raises(
      errors.UserError, match=f'Cannot listen .*{port}.* another --port'):
    page.serve(port=port)
  for host in ('203.0.113.1', '300.1.1.1', 'ä' * 64):
    with pytest.raises(
        errors.UserError,
        match=f'^Cannot listen at {host}:0: [^(]*; choose another --host'):
      page.serve(host=host, port=0)
  with pytest.raises(errors.UserError, match='No folder'):
    page.serve(runs=tmp_path / 'none')


def ask(address, method, path, body=None, **headers):
  """(status, text, headers) of a request."""
  parts = urllib.parse.urlsplit(address)
  connection = http.client.HTTPConnection(parts.hostname, parts.port)
  connection.request(method, path, body, headers)
  answer = connection.getresponse()
  text = answer.read().decode(errors='replace')
  connection.close()
  return answer.status, text, answer.headers


@pytest.mark.parametrize('status, method, path, headers', [
    (200, 'GET', '/', {}),
    (403, 'GET', '/', {'Host': 'elsewhere.org'}),
    (403, 'GET', '/gradio_api/file=/etc/passwd', {}),
    (403, 'GET', '/gradio_api/file=../../../etc/passwd', {}),
    (403, 'GET', '/gradio_api/file=http://127.0.0.1/', {}),
    (404, 'GET', '/gradio_api/proxy=http://127.0.0.1/', {}),
    (404, 'GET', '/gradio_api/vibe-code/', {}),
    (404, 'GET', '/monitoring', {}),
    (404, 'GET', '/docs', {}),
    (404, 'PUT', '/', {}),
    (403, 'POST', '/gradio_api/upload', {'Origin': 'http://elsewhere.org'}),
    (404, 'POST', '/gradio_api/vibe-edit/', {}),
])
def test_only_what_the_page_needs_is_answered(
    address, status, method, path, headers):
  found, _, headers_found = ask(address, method, path, **headers)
  assert found == status
  assert "default-src 'self'" in headers_found['Content-Security-Policy']


@pytest.mark.parametrize('path', [
    '/etc/passwd', 'pyproject.toml', 'http://127.0.0.1/picture.jpg', ['x']])
def test_requests_name_uploads_only(address, path):
  event = {'fn_index': 0, 'session_hash': 'x', 'data': [
      {'path': path, 'meta': {'_type': 'gradio.FileData'}}, 'mine']}
  kind = {'Content-Type': 'application/json'}
  status, text, _ = ask(
      address, 'POST', '/gradio_api/queue/join', json.dumps(event), **kind)
  assert (status, text) == (400, 'Only uploaded files are allowed.')


def test_kept_files_are_not_served(served):
  address, folder = served
  root, = folder.glob('deblur-page-*')
  (root / 'kept' / 'x.npy').write_bytes(b'x')
  for path in ('kept/x.npy', 'files/../kept/x.npy'):
    status, text, _ = ask(
        address, 'GET', f'/gradio_api/file={root}/{path}')
    assert (status, text) == (403, "This file is not the page's.")
  (root / 'kept' / 'x.npy').unlink()


def test_too_large_a_body_is_refused(address, uploads):
  limit = 'more than 200,000 bytes'
  data = (uploads / 'large.jpg').read_bytes()
  frame = '--x\r\nContent-Disposition: form-data; name="files"; filename="a"'
  kind = {'Content-Type': 'multipart/form-data; boundary=x'}
  for body, words in ((data, 'maximum allowed size'), (2 * data, limit)):
    whole = f'{frame}\r\n\r\n'.encode() + body + b'\r\n--x--\r\n'
    status, text, _ = ask(address, 'POST', '/gradio_api/upload', whole, **kind)
    assert status == 413 and words in text
  status, _, _ = ask(address, 'POST', '/gradio_api/queue/join', bytes(2 << 20))
  assert status == 413


@pytest.mark.parametrize('name', page_attacks.ATTACKS)
def test_attacks(address, name):
  parts = urllib.parse.urlsplit(address)
  content, right = page_attacks.ATTACKS[name]
  assert page_attacks.status(parts.hostname, parts.port, content) in right


@pytest.mark.parametrize('name', [
    b'../../x.png', b'/etc/x.png', b'..', b'', b'a\\..\\x.png', b'x' * 3000])
def test_an_upload_stays_in_its_folder(served, name):
  address, folder = served
  kind = page_attacks.FORM.partition(': ')[::2]
  status, text, _ = ask(address, 'POST', page_attacks.UPLOAD,
                        page_attacks.form(name), **dict([kind]))
  assert status < 500
  root, = folder.glob('deblur-page-*')
  for path in json.loads(text) if status == 200 else ():
    assert pathlib.Path(path).resolve().is_relative_to(root / 'files')
  assert not [*folder.glob('x*'), *root.glob('x*')]


def test_weights_are_no_picture(restorers, tmp_path):
  (tmp_path / 'a.png').write_bytes(pickle.dumps({'a': np.zeros(3)}))
  with pytest.raises(errors.UserError, match=r'^a\.png is no picture'):
    restore(tmp_path / 'a.png', restorers, tmp_path)


def test_many_that_say_nothing_keep_nobody_out(address):
  parts = urllib.parse.urlsplit(address)
  place = parts.hostname, parts.port
  with contextlib.ExitStack() as stack:
    for i in range(page.CONNECTIONS // 2):
      one = stack.enter_context(socket.create_connection(place))
      if i % 2:    # a body that does not come
        one.sendall(page_attacks.post(b'{', length=100).replace(
            b'{host}', f'{place[0]}:{place[1]}'.encode()))
    assert ask(address, 'GET', '/config')[0] == 200


def test_a_body_that_does_not_come_is_given_up(tmp_path):
  sent = []

  async def send(message):
    sent.append(message)

  guard = page_access.Guard(
      None, folder=str(tmp_path), max_bytes=10, patience=0.01)
  asyncio.run(guard(
      {'type': 'http', 'method': 'POST', 'path': page_access.JOIN,
       'headers': [(b'host', b'localhost')]}, asyncio.Event().wait, send))
  assert sent[0]['status'] == 408


# ---- in a browser


def choose(tab, name, path):
  """Uploads another file."""
  clear = f'#{name} button[aria-label="Clear"]'
  if tab.js(f'document.querySelector({clear!r}) !== null'):
    tab.click(clear)
  tab.upload(f'#{name} input[type=file]', path)


def shown(tab, name='slider'):
  """Waits for the pictures before and after; returns them and their URLs."""
  for _ in range(20):
    urls = tab.wait(
        f'(() => {{const all = [...document.querySelectorAll("#{name} img")]; '
        'return all.length == 2 && all.every(x => x.naturalWidth) && '
        'all.map(x => x.src)})()')
    files = [tab.fetch(url) for url in urls]
    if None not in files:    # a fit removes old pictures
      return [np.asarray(Image.open(io.BytesIO(one))).astype(int)
              for one in files], urls
  pytest.fail(f'The pictures of {name} are not there.')


def notes(tab, name, words):
  """Waits until the notes have these words; returns the notes."""
  value = f'document.querySelector("#{name} textarea").value'
  return tab.wait(f'{value}.includes({json.dumps(words)}) && {value}')


def test_in_a_browser(address, uploads, expected, tmp_path):
  with browser.tabs(2, tmp_path) as (first, second):
    both = {'one.jpg': first, 'two.png': second}
    for tab in both.values():
      tab.open(address)
    for tab in both.values():
      tab.see('#upload input[type=file]')
    for name, tab in both.items():
      tab.upload('#upload input[type=file]', uploads / name)
      tab.see('#preview img')
    for tab in both.values():
      tab.click('#restore')
    for name, tab in both.items():    # two at once
      for found, wanted in zip(
          shown(tab)[0], expected[name].shown, strict=True):
        np.testing.assert_array_equal(found, pixels(wanted))
    check_slider(first)
    check_download(first, expected['one.jpg'])
    check_strength(first, expected['one.jpg'])
    check_region(first, expected['one.jpg'])
    check_example(first)
    check_mistakes(first, uploads)
    check_fit(second, uploads)
    second.js('document.querySelectorAll("[role=tab]")[2].click()')
    second.wait('document.body.innerText.includes("other: unfinished")')
    second.see('#curves img')
    hosts = {urllib.parse.urlsplit(url).netloc
             for tab in both.values() for url in tab.requests
             if url.startswith(('http', 'ws'))}
    assert hosts == {urllib.parse.urlsplit(address).netloc}
    for tab in both.values():
      assert 'Traceback' not in tab.js('document.body.innerText')


def check_slider(tab):
  clip = ('getComputedStyle(document.querySelectorAll("#slider img")[1])'
          '.clipPath')
  before, seen = tab.js(clip), tab.screenshot()
  tab.drag('#slider [data-testid=slider]', 150)
  tab.wait(f'{clip} !== {json.dumps(before)}')
  assert (tab.screenshot() != seen).mean() > 0.01


def check_download(tab, wanted):
  tab.js('HTMLAnchorElement.prototype.click = function() '
         '{window.taken = [this.href, this.download]}')
  tab.click('#download')
  url, name = tab.wait('window.taken')
  assert name == 'one_deblurred.jpg'
  assert tab.fetch(url) == pathlib.Path(wanted.file).read_bytes()


def after(tab, fits):
  """Waits until the picture after fits; returns it."""
  for _ in range(200):
    found = shown(tab)[0][1]
    if fits(found):
      return found
    time.sleep(0.1)
  pytest.fail('No such picture came.')


def enter(tab, selector, value):
  """Types into a field."""
  tab.js('(() => {const one = document.querySelector('
         f'{json.dumps(selector)}); one.value = {json.dumps(value)}; '
         'one.dispatchEvent(new Event("input", {bubbles: true})); '
         'one.dispatchEvent(new Event("change", {bubbles: true}))})()')


def check_strength(tab, wanted):
  before, sharp = map(pixels, wanted.shown)
  costs = tab.js('document.querySelector("#model").innerText')
  assert 'mine: ' in costs and all(name in costs for name in zoo.names())
  for strength in (0.5, 0, 1):
    enter(tab, '#strength input[type=range]', str(strength))
    after(tab, lambda found, strength=strength: np.abs(
        found - (1 - strength) * before - strength * sharp).max() <= 1)


def check_region(tab, wanted):
  """By two clicks, then by text."""
  before, sharp = map(pixels, wanted.shown)
  field = 'document.querySelector("#region textarea, #region input").value'
  image = 'document.querySelector("#preview img")'
  box = tab.js(f'[{image}.width, {image}.height]')
  # A small picture is in the middle of its element, not enlarged.
  place = lambda share: [0.5 + (share - 0.5) * side / of
                         for side, of in zip((96, 64), box, strict=True)]
  source = tab.js(f'{image}.src')
  tab.click('#preview img', *place(0.25))
  tab.wait(f'{image}.src !== {json.dumps(source)} && {image}.complete')
  assert not tab.js(field)
  tab.click('#preview img', *place(0.75))
  words = tab.wait(field)
  x, y, width, height = map(int, words.split(','))
  np.testing.assert_allclose(
      (x, y, width, height), (24, 16, 48, 32), atol=2)
  tab.click('#restore')
  stays = np.ones(before.shape[:2], bool)
  stays[y:y + height, x:x + width] = False
  fits_region = lambda found: np.array_equal(found[stays], before[stays])
  found = after(tab, fits_region)
  assert np.abs(found - sharp)[30:34, 46:50].max() <= 1
  enter(tab, '#region textarea, #region input', '90,0,30,30')
  notes(tab, 'notes', 'crosses the border of the picture, which is 96x64')
  enter(tab, '#region textarea, #region input', '')
  tab.wait('!document.querySelector("#notes textarea").value')


def check_example(tab):
  tab.click('#example_coffee')
  tab.wait('document.querySelector("#upload").innerText.includes("coffee")')
  tab.wait('!document.querySelector("#slider img")')
  tab.wait('document.querySelector("#preview img")?.naturalWidth == 600')


def check_mistakes(tab, uploads):
  choose(tab, 'upload', uploads / 'text.jpg')
  assert '\n' not in notes(tab, 'notes', 'text.jpg is no picture')
  choose(tab, 'upload', uploads / 'many.png')
  assert '\n' not in notes(tab, 'notes', 'many.png has 600x500 pixels')
  choose(tab, 'upload', uploads / 'large.jpg')
  tab.wait('document.body.innerText.includes("maximum allowed size")')


def check_fit(tab, uploads):
  tab.js('document.querySelectorAll("[role=tab]")[1].click()')
  for task, name in (('inpaint', 'mask'), ('sr', 'factor'),
                     ('blind', 'kernel'), ('denoise', '')):
    tab.pick('task', tasks.TASKS[task].title)
    tab.wait('["mask", "factor", "kernel"].filter(x => document.querySelector('
             f'`#${{x}}`)?.getClientRects().length).join() === "{name}"')
  # No other test fits a picture of this size: the program is not kept yet.
  choose(tab, 'fit_upload', uploads / 'one.jpg')
  tab.wait('document.querySelector("#fit_upload").innerText.includes("one")')
  text = 'document.querySelector("#fit_notes textarea").value'
  # While the fit compiles; another one can begin at once.
  tab.click('#fit')
  notes(tab, 'fit_notes', page.COMPILING)
  tab.click('#stop')
  stays = (f'(async () => {{const before = {text}; '
           'await new Promise(x => setTimeout(x, 1500)); '
           f'return before === {text}}})()')
  tab.wait(stays)
  assert tab.js(text) == 'Stopped before the first step.'
  tab.click('#fit')
  notes(tab, 'fit_notes', ' of 100000')
  (before, after), _ = shown(tab, 'fit_slider')
  assert before.shape == after.shape == (64, 96, 3)
  tab.see('#fit_curve polyline')
  tab.click('#stop')
  tab.wait(stays)
  assert 'of 100000' in tab.js(text)
  assert not tab.js(text).startswith('step 100000')
