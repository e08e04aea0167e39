"""A real headless Chromium, driven through its DevTools.

Taken is the first of these that is there: what CHROMIUM names, a chromium or
Google Chrome on the PATH, Qt's own (pip install PySide6_WebEngine).
"""

import base64
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome',
         'headless_shell')
FLAGS = ('--no-sandbox', '--disable-gpu', '--disable-background-networking',
         '--no-first-run')
QT = '''
import os, sys
from PySide6 import QtCore, QtWidgets, QtWebEngineWidgets
app = QtWidgets.QApplication(sys.argv)
views = [QtWebEngineWidgets.QWebEngineView() for _ in range(int(sys.argv[1]))]
for view in views:
  view.resize(1200, 900)
  view.setUrl(QtCore.QUrl('about:blank'))
  view.show()
parent, timer = os.getppid(), QtCore.QTimer()    # a test that is killed
timer.timeout.connect(lambda: os.getppid() == parent or app.quit())
timer.start(1000)
app.exec()
'''


class Tab:
  """A page in the browser; `requests` has what it has asked for."""

  def __init__(self, connection):
    self._socket = connection
    self._count = 0
    self.requests = []
    for name in ('Page', 'DOM', 'Network', 'Runtime'):
      self.call(f'{name}.enable')
    self.call('Emulation.setFocusEmulationEnabled', enabled=True)

  def call(self, method, **params):
    """The result of a command; it records the requests of the page."""
    self._count += 1
    self._socket.send(json.dumps(
        {'id': self._count, 'method': method, 'params': params}))
    while True:
      answer = json.loads(self._socket.recv(timeout=150))
      if answer.get('method') == 'Network.requestWillBeSent':
        self.requests.append(answer['params']['request']['url'])
      if answer.get('id') == self._count:
        assert 'error' not in answer, answer
        return answer['result']

  def open(self, url):
    self.call('Page.navigate', url=url)

  def js(self, expression):
    """The value of an expression."""
    answer = self.call('Runtime.evaluate', expression=expression,
                       returnByValue=True, awaitPromise=True)
    assert 'exceptionDetails' not in answer, answer
    return answer['result'].get('value')

  def wait(self, expression, *, seconds=150):
    """The first value of the expression that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      try:
        value = self.js(expression)
      except AssertionError:    # the page is not that far yet
        value = None
      if value:
        return value
      time.sleep(0.1)
    pytest.fail(f'The page never came to {expression}; it says: '
                f'{self.js("document.body.innerText")[:2000]}')

  def see(self, selector):
    """Waits for an element."""
    self.wait(f'document.querySelector({json.dumps(selector)}) !== null')

  def upload(self, selector, path):
    """Chooses a file for an input."""
    self.see(selector)
    root = self.call('DOM.getDocument')['root']['nodeId']
    node = self.call('DOM.querySelector', nodeId=root, selector=selector)
    self.call('DOM.setFileInputFiles', files=[str(path)],
              nodeId=node['nodeId'])

  def click(self, selector, across=0.5, down=0.5):
    """With the mouse, until the element has it: the page may still move.

    At shares of its width and height.
    """
    self.js('window.clicked = false; document.querySelector('
            f'{json.dumps(selector)}).addEventListener('
            '"click", () => {window.clicked = true}, true)')
    for _ in range(50):
      self._drag([self.place(selector, across, down)])
      if self.js('window.clicked'):
        return
      time.sleep(0.1)
    pytest.fail(f'Nothing takes a click at {selector}.')

  def pick(self, name, text):
    """Takes an option of the list in an element of this id."""
    box = f'document.querySelector("#{name} input")'
    self.js(f'{box}.focus(); {box}.click()')
    self.wait(
        '(() => {const one = [...document.querySelectorAll("[role=option]")]'
        f'.find(x => x.innerText.includes({json.dumps(text)})); '
        'one?.dispatchEvent(new MouseEvent("mousedown", {bubbles: true})); '
        'return !!one})()')

  def drag(self, selector, by):
    """Pulls an element to the right by so many pixels."""
    x, y = self.place(selector)
    self._drag([(x, y), (x + by / 2, y), (x + by, y)])

  def place(self, selector, across=0.5, down=0.5):
    return self.js(
        '(() => {const one = document.querySelector('
        f'{json.dumps(selector)}); one.scrollIntoView({{block: "center"}}); '
        'const box = one.getBoundingClientRect(); '
        f'return [box.x + box.width * {across}, '
        f'box.y + box.height * {down}]}})()')

  def screenshot(self):
    """uint8 [h, w, 3]."""
    data = self.call('Page.captureScreenshot')['data']
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
      return np.asarray(image.convert('RGB'))

  def fetch(self, url):
    """The bytes at a URL, as the page gets them; None if nothing is there."""
    found = self.js(
        f'fetch({json.dumps(url)}).then(x => x.ok ? x.bytes() : null).then('
        'x => x && btoa(Array.from(x, y => String.fromCharCode(y)).join(""))'
        ').catch(() => null)')
    return None if found is None else base64.b64decode(found)

  def _drag(self, places):
    kinds = ['mousePressed'] + ['mouseMoved'] * (len(places) - 1)
    for kind, (x, y) in zip(
        [*kinds, 'mouseReleased'], [*places, places[-1]], strict=True):
      self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left',
                buttons=int(kind != 'mouseReleased'), clickCount=1)


@contextlib.contextmanager
def tabs(count, folder):
  """So many empty tabs; skips the test where there is no Chromium."""
  program = _program()
  if program is None and not _has_qt():
    pytest.skip('no Chromium: set CHROMIUM to one, or pip install '
                'PySide6_WebEngine')
  client = pytest.importorskip('websockets.sync.client')
  port = _free_port()
  start = _chromium if program else _qt
  log = pathlib.Path(folder, 'browser.log')
  with open(log, 'wb') as file:
    process = start(program, port, count, folder, file)
  try:
    with contextlib.ExitStack() as stack:
      yield [Tab(stack.enter_context(client.connect(
          url, max_size=None, compression=None, proxy=None,
          ping_interval=None)))    # a browser may be busy for long
             for url in _targets(process, port, count, log)]
  finally:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _program():
  given = os.environ.get('CHROMIUM')
  return given or next(filter(None, map(shutil.which, NAMES)), None)


def _has_qt():
  return bool(importlib.util.find_spec('PySide6') and importlib.util.find_spec(
      'PySide6.QtWebEngineWidgets'))


def _chromium(program, port, count, folder, log):
  return subprocess.Popen(
      [program, '--headless=new', *FLAGS, f'--remote-debugging-port={port}',
       f'--user-data-dir={folder}/profile', '--window-size=1200,900',
       *['about:blank'] * count],
      stdout=log, stderr=log, start_new_session=True)


def _qt(program, port, count, folder, log):
  del program, folder
  env = os.environ | {
      'QT_QPA_PLATFORM': 'offscreen', 'QTWEBENGINE_DISABLE_SANDBOX': '1',
      'QTWEBENGINE_REMOTE_DEBUGGING': f'127.0.0.1:{port}',
      'QTWEBENGINE_CHROMIUM_FLAGS': ' '.join(FLAGS)}
  return subprocess.Popen(
      [sys.executable, '-c', QT, str(count)], env=env,
      stdout=log, stderr=log, start_new_session=True)


def _targets(process, port, count, log):
  """The addresses of the tabs."""
  # Not through a proxy of the environment.
  ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
  for _ in range(300):
    if process.poll() is not None:
      break
    with contextlib.suppress(OSError):
      targets = json.load(ask.open(f'http://127.0.0.1:{port}/json/list'))
      pages = [one['webSocketDebuggerUrl'] for one in targets
               if one['type'] == 'page']
      if len(pages) >= count:
        return pages[:count]
    time.sleep(0.1)
  words = log.read_text(errors='replace').strip().splitlines()
  pytest.skip(f'Chromium does not start: {" ".join(words[-2:])}')


def _free_port():
  with socket.create_server(('127.0.0.1', 0)) as one:
    return one.getsockname()[1]
