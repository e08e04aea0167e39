"""What stands before the page: who may ask, for what, and for how much.

Gradio has more routes than the page needs: some fetch what lies behind a URL,
others edit the program. Only those pass that the page itself uses, and of files
only those of the page's own folder, whatever Gradio thinks of them.
"""

import functools
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib import parse

API = '/gradio_api'
UPLOAD = f'{API}/upload'
JOIN = f'{API}/queue/join'
FILE = f'{API}/file='
READ = {
    '/', '/config', '/favicon.ico', '/manifest.json', '/theme.css',
    f'{API}/info', f'{API}/queue/data', f'{API}/startup-events',
    f'{API}/theme.css', f'{API}/upload_progress'}
READ_BELOW = ('/assets/', '/static/', f'{API}/heartbeat/', FILE)
WRITE = {UPLOAD, JOIN, f'{API}/cancel', f'{API}/reset'}
HOME = ('127.0.0.1', '::1', 'localhost')
MAX_JSON = 1 << 20    # bytes of a request that is no upload
FRAME = 1 << 16       # bytes of an upload beside its file
HEADERS = {
    # Nothing of the page comes from elsewhere, and no other page holds it.
    'content-security-policy':
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        "frame-ancestors 'none'; form-action 'self'; base-uri 'self'",
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff'}


class Refused(Exception):
  """A request that is answered with a status and one line."""

  def __init__(self, status: int, line: str):
    super().__init__(line)
    self.status = status


class Guard:
  """An ASGI application before another.

  Args:
    app: the page.
    folder: of uploads and results; no other file is given away.
    max_bytes: of an uploaded file.
    hosts: names that the page may be asked by, so that no other site's name
      can be made to point here; None takes any.
  """

  def __init__(self, app, *, folder: str, max_bytes: int, hosts=HOME):
    self._app = app
    self._folder = os.path.realpath(folder)
    self._max_bytes = max_bytes
    self._hosts = hosts

  async def __call__(self, scope, receive, send) -> None:
    if scope['type'] == 'lifespan':
      await self._app(scope, receive, send)
      return
    if scope['type'] != 'http':
      return
    try:
      self._check(scope)
      receive = await self._checked(scope, receive)
    except Refused as error:
      await _answer(send, error)
      return
    await self._app(scope, receive, functools.partial(_send, send))

  def _check(self, scope) -> None:
    headers, path = _headers(scope), scope['path']
    host = parse.urlsplit(f'//{headers.get("host", "")}')
    if self._hosts is not None and host.hostname not in self._hosts:
      raise Refused(403, 'This page has another name.')
    if scope['method'] == 'POST':
      origin = headers.get('origin')
      if origin and parse.urlsplit(origin).netloc != host.netloc:
        raise Refused(403, 'Another page may not ask here.')
      known = path.rstrip('/') in WRITE
    else:
      known = scope['method'] in ('GET', 'HEAD') and (
          path in READ or path.startswith(READ_BELOW))
    if not known:
      raise Refused(404, 'There is nothing here.')
    if path.startswith(FILE) and not self._is_own(path.removeprefix(FILE)):
      raise Refused(403, 'This file is not the page\'s.')

  async def _checked(self, scope, receive):
    """A `receive` of a body that is not too large and names no other files."""
    if scope['method'] != 'POST':
      return receive
    if scope['path'].rstrip('/') == UPLOAD:
      return await self._limited(scope, receive)
    body = await _read(receive)
    try:
      told = json.loads(body or b'{}')
    except ValueError:
      raise Refused(400, 'This is not JSON.') from None
    if not all(map(self._is_own, _paths(told))):
      raise Refused(400, 'Only uploaded files are taken.')
    return _replay(body)

  async def _limited(self, scope, receive):
    length = _headers(scope).get('content-length', '')
    most = self._max_bytes + FRAME
    line = f'The file has more than {self._max_bytes:,} bytes.'
    if not length.isdecimal():
      raise Refused(411, 'An upload must tell its length.')
    if int(length) > most:
      # Read to its end, or the answer is lost with the connection.
      if int(length) < 20 * most:
        while (await receive()).get('more_body'):
          pass
      raise Refused(413, line)
    return receive

  def _is_own(self, path: Any) -> bool:
    """Whether a path, with its links followed, lies in the folder."""
    if not isinstance(path, str) or '\0' in path:
      return False
    real = os.path.realpath(path)
    return os.path.isabs(path) and real.startswith(self._folder + os.sep)


def _headers(scope) -> dict[str, str]:
  return {name.decode('latin-1').lower(): value.decode('latin-1')
          for name, value in scope['headers']}


async def _read(receive) -> bytes:
  body = b''
  while True:
    message = await receive()
    body += message.get('body', b'')
    if len(body) > MAX_JSON:
      raise Refused(413, f'The request has more than {MAX_JSON:,} bytes.')
    if not message.get('more_body'):
      return body


def _replay(body):
  """A `receive` that gives a body which was read already."""
  waiting = [{'type': 'http.request', 'body': body, 'more_body': False}]

  async def receive():
    return waiting.pop() if waiting else {'type': 'http.disconnect'}

  return receive


def _paths(told: Any) -> Iterator[Any]:
  """All values of keys 'path'."""
  if isinstance(told, dict):
    for key, value in told.items():
      if key == 'path' and value is not None:
        yield value
      else:
        yield from _paths(value)
  elif isinstance(told, list):
    for value in told:
      yield from _paths(value)


async def _send(send, message) -> None:
  if message['type'] == 'http.response.start':
    own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    message = message | {'headers': [*message.get('headers', ()), *own]}
  await send(message)


async def _answer(send, error: Refused) -> None:
  await _send(send, {
      'type': 'http.response.start', 'status': error.status,
      'headers': [(b'content-type', b'text/plain; charset=utf-8')]})
  await send({'type': 'http.response.body', 'body': str(error).encode()})
