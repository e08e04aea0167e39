"""The page: what it gives, to whom, and what it looks like in a browser."""

import concurrent.futures
import http.client
import importlib.util
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.parse

import browser
import jax
import numpy as np
import pytest
import run_folders
from helpers import tiny
from PIL import Image

from deblur_jax import errors, inference, prior
from deblur_jax.app import fits, fitting, jobs, page
from deblur_jax.io import pictures

MAX_BYTES = 200_000
MAX_PIXELS = 20_000
# As small as a fit can be.
SMALL = {'channels': 4, 'levels': 1, 'chunk': 5}
SERVE = '''
import sys
from deblur_jax.app import page
page.serve([sys.argv[1]], port=0, runs=sys.argv[2], max_bytes=int(sys.argv[3]),
           max_pixels=int(sys.argv[4]), fit={
               'channels': 4, 'levels': 1, 'chunk': 5, 'steps': 100_000})
'''


def photo(seed, size):
  random = np.random.default_rng(seed)
  return Image.fromarray(random.integers(60, 200, (6, 8, 3), np.uint8)).resize(
      size, Image.Resampling.BICUBIC)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """A run of a network that changes little, `mine`, and a folder `study`."""
  folder = tmp_path_factory.mktemp('runs')
  net = dict(name='multiscale', scales=1, depth=4, features=8, residual=True,
             dtype='float32')
  run_folders.untrained(folder / 'mine', tiny(nets=dict(net=net)), scale=0.5)
  run_folders.train(folder / 'study' / 'other', run_folders.config(), steps=20)
  return folder


@pytest.fixture(scope='module')
def uploads(tmp_path_factory):
  """Two pictures of one tile's size, one too large, and what is none."""
  folder = tmp_path_factory.mktemp('uploads')
  exif = Image.Exif()
  exif[0x010F] = 'A maker'
  photo(0, (96, 64)).save(folder / 'one.jpg', exif=exif)
  photo(1, (90, 60)).save(folder / 'two.png')
  photo(2, (200, 160)).save(folder / 'many.png')
  (folder / 'text.jpg').write_text('This is no picture.')
  (folder / 'large.jpg').write_bytes(bytes(MAX_BYTES + 1))
  return folder


@pytest.fixture(scope='module')
def restorers(runs):
  return jobs.Restorers([runs / 'mine'])


@pytest.fixture(scope='module')
def expected(restorers, uploads, tmp_path_factory):
  """name of an upload -> what comes of it when nobody else is there."""
  folder = str(tmp_path_factory.mktemp('expected'))
  return {name: jobs.restore(str(uploads / name), 'mine', restorers,
                             folder=folder) for name in ('one.jpg', 'two.png')}


@pytest.fixture(scope='module')
def address(runs, tmp_path_factory):
  """Of a page that is served by a process of its own."""
  if importlib.util.find_spec('gradio') is None:
    pytest.skip('no gradio: pip install deblur-jax[page]')
  folder = tmp_path_factory.mktemp('page')
  root = pathlib.Path(page.__file__).parents[2]
  with open(folder / 'log', 'wb') as log:
    process = subprocess.Popen(
        [sys.executable, '-c', SERVE, str(runs / 'mine'), str(runs / 'study'),
         str(MAX_BYTES), str(MAX_PIXELS)], stderr=log, cwd=root,
        env=os.environ | {'TMPDIR': str(folder), 'JAX_PLATFORMS': 'cpu',
                          'JAX_NUM_CPU_DEVICES': '2'})    # as here
  read = (folder / 'log').read_text
  while not (found := re.search(r'http://\S+', read())):
    assert process.poll() is None, read()
    time.sleep(0.1)
  yield found[0]
  parts = urllib.parse.urlsplit(found[0])    # somebody still looks at it
  connection = http.client.HTTPConnection(parts.hostname, parts.port)
  connection.request('GET', '/gradio_api/heartbeat/x')
  assert connection.getresponse().status == 200
  process.send_signal(signal.SIGTERM)
  process.wait(timeout=120)
  assert 'Traceback' not in read()
  assert [path.name for path in folder.iterdir()] == ['log']


def pixels(path):
  with Image.open(path) as image:
    return np.asarray(image).astype(int)


# ---- without a browser


def test_the_result_is_a_file_as_the_upload(expected, uploads):
  found = expected['one.jpg']
  assert os.path.basename(found.file) == 'one_deblurred.jpg'
  with Image.open(found.file) as image:
    assert (image.format, image.size) == ('JPEG', (96, 64))
    assert image.getexif()[0x010F] == 'A maker'
  before, after = map(pixels, found.shown)
  np.testing.assert_array_equal(before, pixels(uploads / 'one.jpg'))
  assert 0.5 < np.abs(after - before).mean() < 30
  assert found.notes == ()


def test_sixteen_bits_and_names_that_lie(restorers, tmp_path):
  deep = pictures.Picture(
      np.linspace(0, 1, 60 * 90 * 3, dtype=np.float32).reshape(60, 90, 3),
      bits=16, form='PNG')
  upload = tmp_path / 'deep.jpg'
  upload.write_bytes(pictures.encode(deep, deep.image))
  found = jobs.restore(str(upload), 'mine', restorers, folder=str(tmp_path))
  assert os.path.basename(found.file) == 'deep_deblurred.png'
  assert pictures.read(found.file).bits == 16
  assert 'it is a PNG, whatever its name says' in found.notes


def test_two_at_once_are_not_mixed(restorers, uploads, expected, tmp_path):
  names = ['one.jpg', 'two.png'] * 3
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(
        lambda name: jobs.restore(str(uploads / name), 'mine', restorers,
                                  folder=str(tmp_path)), names))
  for name, one in zip(names, found, strict=True):
    assert (pathlib.Path(one.file).read_bytes()
            == pathlib.Path(expected[name].file).read_bytes())
  assert len({one.file for one in found}) == len(names)


@pytest.mark.parametrize('name, model, words', [
    ('text.jpg', 'mine', '^text.jpg is no picture'),
    ('many.png', 'mine', '^many.png has 200x160 pixels'),
    ('one.jpg', '/etc', "^There is no model '/etc' on this page"),
])
def test_mistakes_are_one_line(restorers, uploads, name, model, words):
  with pytest.raises(errors.UserError, match=words) as told:
    jobs.restore(str(uploads / name), model, restorers, folder='',
                 max_pixels=MAX_PIXELS)
  assert '\n' not in jobs.line(told.value)


def test_a_bug_is_one_line_too(capsys):
  assert jobs.line(KeyError('x\ny')) == (
      'Something is wrong with the program (KeyError); its window says more.')
  assert 'KeyError' in capsys.readouterr().err


def test_models_are_known_by_the_last_of_their_folders(runs):
  found = jobs.Restorers([runs / 'mine', f'{runs}/../{runs.name}/mine'])
  assert all(name.endswith(f'{os.sep}mine') for name in found.names[:2])
  with pytest.raises(errors.UserError, match='config'):
    jobs.Restorers([runs / 'none'])


def test_a_fit_in_parts_is_a_fit(uploads, tmp_path):
  upload = str(uploads / 'two.png')
  found = list(jobs.fitted(upload, 'denoise', folder=str(tmp_path), steps=19,
                           **SMALL))
  assert [result.notes[0] for result, _ in found] == [
      f'step {done} of 20' for done in (5, 10, 15, 20)]
  assert len(list(tmp_path.iterdir())) == jobs.RECENT
  result, losses = found[-1]
  assert losses.shape == (20,) and len(result.notes) == 1
  batch = {'blur': pictures.read(upload).image[None],
           'seed': np.zeros(1, np.int32)}
  method, begin, run_chunk, mesh = fits.program(
      json.dumps(fits.settings('denoise', steps=19, **SMALL)))
  key = jax.random.key(0)
  whole = inference.fit_images(
      method, batch, key, 20, mesh, chunk=5, run_chunk=run_chunk,
      state=begin(key, batch))
  np.testing.assert_allclose(whole.curve['loss'][:, 0], losses, rtol=1e-5)
  wanted = pictures.quantized(
      method.restore(whole.state, None)[0], bits=8).astype(int)
  assert np.abs(pixels(result.file) - wanted).max() <= 1


def test_the_command_fits_what_the_page_fits(
    uploads, tmp_path, monkeypatch, capfdbinary):
  told, out = [], tmp_path / 'fitted.png'
  outcome = fitting.run(
      str(uploads / 'two.png'), task='denoise', out=str(out),
      on_steps=lambda *steps: told.append(steps),
      settings=dict(steps=19, **SMALL))
  assert told[-1] == (20, 20) and outcome.target == str(out)
  *_, (result, _) = jobs.fitted(
      str(uploads / 'two.png'), 'denoise', folder=str(tmp_path), steps=19,
      **SMALL)
  np.testing.assert_array_equal(pixels(out), pixels(result.file))
  assert os.path.basename(result.file) == 'two_denoised.png'
  with open(uploads / 'two.png') as stdin:
    monkeypatch.setattr(sys, 'stdin', stdin)
    outcome = fitting.run('-', task='denoise', settings=dict(steps=19, **SMALL))
  assert outcome.target == '-'
  assert capfdbinary.readouterr().out == out.read_bytes()
  with pytest.raises(errors.UserError, match='exists already'):
    fitting.run(str(uploads / 'two.png'), task='denoise', out=str(out),
                settings={})


@pytest.mark.parametrize('task', fits.TASKS)
def test_the_settings_of_all_tasks_are_taken(task):
  random = np.random.default_rng(0)
  draw = lambda: pictures.Picture(
      random.random((40, 56, 3), dtype=np.float32))
  one = fits.problem(draw(), task, side=32, factor=2, mask=draw())
  config = fits.settings(task, kernel_size=5, **SMALL)
  prior.check(config)
  prior.check_problems(config, [one])
  assert fits.observed(one, task).shape == (
      (22, 32, 3) if task == 'sr' else (23, 32, 3))


@pytest.mark.parametrize('make, words', [
    (lambda: fits.settings('sharpen'), 'Unknown task'),
    (lambda: fits.settings('blind', kernel_size=4), 'must be odd'),
    (lambda: fits.settings('sr', steps=0), 'at least 1 step'),
    (lambda: fits.settings('sr', seed=2**31), 'seed must be 0 to 2147483647'),
    (lambda: fill(None), 'needs a mask'),
    (lambda: fill(np.ones((8, 9, 3))), 'mask is 9x8, the picture 8x8'),
    (lambda: fill(np.ones((8, 8, 3))), 'of one colour'),
])
def test_fits_that_cannot_be(make, words):
  with pytest.raises(errors.UserError, match=words):
    make()


def fill(mask):
  picture = pictures.Picture(np.zeros((8, 8, 3), np.float32))
  return fits.problem(picture, 'inpaint',
                      mask=None if mask is None else pictures.Picture(mask))


def test_the_chart_falls_with_the_loss():
  points = re.search('points="(.*?)"', jobs.chart(np.exp(-np.arange(9.0))))[1]
  xs, ys = np.array([one.split(',') for one in points.split()], float).T
  np.testing.assert_allclose(xs, np.linspace(2, 298, 9))
  np.testing.assert_allclose(ys, np.linspace(2, 58, 9))
  assert not jobs.chart(np.array([np.nan, 1.0]))


def test_curves_of_runs_are_read_and_nothing_is_written(runs):
  before = sorted(runs.rglob('*'))
  text, png = jobs.curves(runs / 'study')
  assert '* other: unfinished, at step 20 of 40' in text
  assert Image.open(io.BytesIO(png)).format == 'PNG'
  assert sorted(runs.rglob('*')) == before


def test_old_files_go(tmp_path):
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
  with pytest.raises(errors.UserError, match=f'Cannot listen .*{port}'):
    page.serve(port=port)
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
  found, _, told = ask(address, method, path, **headers)
  assert found == status
  assert "default-src 'self'" in told['Content-Security-Policy']


@pytest.mark.parametrize('path', [
    '/etc/passwd', 'pyproject.toml', 'http://127.0.0.1/picture.jpg', ['x']])
def test_requests_name_uploads_only(address, path):
  event = {'fn_index': 0, 'session_hash': 'x', 'data': [
      {'path': path, 'meta': {'_type': 'gradio.FileData'}}, 'mine']}
  kind = {'Content-Type': 'application/json'}
  status, text, _ = ask(
      address, 'POST', '/gradio_api/queue/join', json.dumps(event), **kind)
  assert (status, text) == (400, 'Only uploaded files are taken.')


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


# ---- in a browser


def choose(tab, name, path):
  """Uploads another file."""
  clear = f'#{name} button[aria-label="Clear"]'
  if tab.js(f'document.querySelector({clear!r}) !== null'):
    tab.click(clear)
  tab.upload(f'#{name} input[type=file]', path)


def shown(tab, name='slider'):
  """The pictures before and after, once they are there, and their URLs."""
  urls = tab.wait(
      f'(() => {{const all = [...document.querySelectorAll("#{name} img")]; '
      'return all.length == 2 && all.every(x => x.naturalWidth) && '
      'all.map(x => x.src)})()')
  return [np.asarray(Image.open(io.BytesIO(tab.fetch(url)))).astype(int)
          for url in urls], urls


def notes(tab, name, words):
  """What the notes say, once they have these words."""
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
    for name, tab in both.items():    # two at once
      for found, wanted in zip(
          shown(tab)[0], expected[name].shown, strict=True):
        np.testing.assert_array_equal(found, pixels(wanted))
    check_slider(first)
    check_download(first, expected['one.jpg'])
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


def check_mistakes(tab, uploads):
  choose(tab, 'upload', uploads / 'text.jpg')
  assert '\n' not in notes(tab, 'notes', 'text.jpg is no picture')
  choose(tab, 'upload', uploads / 'many.png')
  assert '\n' not in notes(tab, 'notes', 'many.png has 200x160 pixels')
  choose(tab, 'upload', uploads / 'large.jpg')
  tab.wait('document.body.innerText.includes("maximum allowed size")')


def check_fit(tab, uploads):
  tab.js('document.querySelectorAll("[role=tab]")[1].click()')
  for task, name in (('inpaint', 'mask'), ('sr', 'factor'),
                     ('blind', 'kernel'), ('denoise', '')):
    tab.pick('task', fits.TASKS[task])
    tab.wait('["mask", "factor", "kernel"].filter(x => document.querySelector('
             f'`#${{x}}`)?.getClientRects().length).join() === "{name}"')
  choose(tab, 'fit_upload', uploads / 'two.png')
  tab.wait('document.querySelector("#fit_upload").innerText.includes("two")')
  tab.click('#fit')
  notes(tab, 'fit_notes', ' of 100000')
  (before, after), _ = shown(tab, 'fit_slider')
  assert before.shape == after.shape == (60, 90, 3)
  tab.see('#fit_curve polyline')
  tab.click('#stop')
  told = 'document.querySelector("#fit_notes textarea").value'
  tab.wait(f'(async () => {{const before = {told}; '
           'await new Promise(x => setTimeout(x, 1500)); '
           f'return before === {told}}})()')
  assert 'of 100000' in tab.js(told)
  assert not tab.js(told).startswith('step 100000')
