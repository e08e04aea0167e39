"""Access control of the page: allowed hosts, routes, files and sizes.

Gradio has more routes than the page needs: some download a URL, others edit the
program. The guard passes only the routes that the page uses, and only files in
the page's folder.
"""

import asyncio
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
FRAME = 1 << 16       # bytes of an upload in addition to its file
PATIENCE = 60.0       # seconds to wait for the next part of a body
HEADERS = {
    # The page loads nothing from other sites, and no site may embed it.
    'content-security-policy':
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        "frame-ancestors 'none'; form-action 'self'; base-uri 'self'",
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff'}


class Refused(Exception):
  """A refused request: its answer is a status and one line."""

  def __init__(self, status: int, line: str):
    super().__init__(line)
    self.status = status


class Guard:
  """An ASGI application that checks requests before it passes them on.

  Args:
    app: the ASGI application of the page.
    folder: of uploads and results; other files are not served.
    max_bytes: greatest size of an uploaded file.
    hosts: allowed host names, against DNS rebinding; None allows any.
    functions: the numbers of the page's functions; None allows any.
    patience: seconds to wait for the next part of a body.
  """

  def __init__(self, app, *, folder: str, max_bytes: int, hosts=HOME,
               functions=None, patience: float = PATIENCE):
    self._app = app
    self._folder = os.path.realpath(folder)
    self._max_bytes = max_bytes
    self._hosts = hosts
    self._functions, self._patience = functions, patience

  async def __call__(self, scope, receive, send) -> None:
    """Answers a request, or passes it on; see the ASGI specification."""
    if scope['type'] == 'lifespan':
      await self._app(scope, receive, send)
      return
    if scope['type'] != 'http':
      await send({'type': 'websocket.close', 'code': 1008})
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
    host = _url(f'//{headers.get("host", "")}', 'Host')
    if self._hosts is not None and host.hostname not in self._hosts:
      raise Refused(403, 'This page has another host name.')
    if scope['method'] == 'POST':
      origin = headers.get('origin')
      if origin and _url(origin, 'Origin').netloc != host.netloc:
        raise Refused(403, 'Requests from other pages are not allowed.')
      known = path.rstrip('/') in WRITE
    else:
      known = scope['method'] in ('GET', 'HEAD') and (
          path in READ or path.startswith(READ_BELOW))
    if not known:
      raise Refused(404, 'There is nothing here.')
    if path.startswith(FILE) and not self._is_own(path.removeprefix(FILE)):
      raise Refused(403, 'This file is not the page\'s.')

  async def _checked(self, scope, receive):
    """A `receive` for a body of allowed size and with allowed files only."""
    if scope['method'] != 'POST':
      return receive
    receive = _in_time(receive, self._patience)
    if scope['path'].rstrip('/') == UPLOAD:
      return await self._limited(scope, receive)
    body = await _read(receive)
    try:
      content = json.loads(body or b'{}')
      are_own = all(map(self._is_own, _paths(content)))
    except ValueError:
      raise Refused(400, 'This is not JSON.') from None
    except RecursionError:
      raise Refused(400, 'This is nested too deeply.') from None
    if not are_own:
      raise Refused(400, 'Only uploaded files are allowed.')
    if scope['path'].rstrip('/') == JOIN and not self._is_known(content):
      raise Refused(400, 'The page has no such function.')
    return _replay(body)

  async def _limited(self, scope, receive):
    length = _headers(scope).get('content-length', '')
    most = self._max_bytes + FRAME
    line = f'The file has more than {self._max_bytes:,} bytes.'
    if not length.isdecimal():
      raise Refused(411, 'An upload needs the header Content-Length.')
    if int(length) > most:
      # Without reading it to its end the browser does not see the answer.
      if int(length) < 20 * most:
        while (await receive()).get('more_body'):
          pass
      raise Refused(413, line)
    return receive

  def _is_known(self, event: Any) -> bool:
    """Whether an event is of a function of the page."""
    if self._functions is None:
      return True
    number = event.get('fn_index') if isinstance(event, dict) else None
    return isinstance(number, int) and number in self._functions

  def _is_own(self, path: Any) -> bool:
    """Whether a path is in the folder, after links are resolved."""
    if not isinstance(path, str) or '\0' in path:
      return False
    try:
      real = os.path.realpath(path)
    except ValueError:    # letters that no name has
      return False
    return os.path.isabs(path) and real.startswith(self._folder + os.sep)


def _url(text, name):
  """The parts of a URL in a header."""
  try:
    return parse.urlsplit(text)
  except ValueError:
    raise Refused(400, f'The header {name} is malformed.') from None


def _headers(scope) -> dict[str, str]:
  return {name.decode('latin-1').lower(): value.decode('latin-1')
          for name, value in scope['headers']}


def _in_time(receive, patience):
  """A `receive` for which a client that is slow with its body is gone."""
  is_whole = False

  async def within():
    nonlocal is_whole
    if is_whole:
      return await receive()
    try:
      message = await asyncio.wait_for(receive(), patience)
    except TimeoutError:
      return {'type': 'http.disconnect'}
    is_whole = not message.get('more_body')
    return message

  return within


async def _read(receive) -> bytes:
  body = b''
  while True:
    message = await receive()
    if message['type'] == 'http.disconnect':
      raise Refused(408, 'The rest of the request did not come.')
    body += message.get('body', b'')
    if len(body) > MAX_JSON:
      raise Refused(413, f'The request has more than {MAX_JSON:,} bytes.')
    if not message.get('more_body'):
      return body


def _replay(body):
  """A `receive` that returns a body that was already read."""
  waiting = [{'type': 'http.request', 'body': body, 'more_body': False}]

  async def receive():
    return waiting.pop() if waiting else {'type': 'http.disconnect'}

  return receive


def _paths(content: Any) -> Iterator[Any]:
  """All values of keys 'path' in JSON."""
  if isinstance(content, dict):
    for key, value in content.items():
      if key == 'path' and value is not None:
        yield value
      else:
        yield from _paths(value)
  elif isinstance(content, list):
    for value in content:
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
