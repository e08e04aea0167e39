"""Requests that no browser sends to the page, and what it answers."""

import json
import socket

JSON = 'Content-Type: application/json'
FORM = 'Content-Type: multipart/form-data; boundary=x'
UPLOAD, JOIN = '/gradio_api/upload', '/gradio_api/queue/join'
HOST = 'Host: {host}'


def request(line, *headers, body=b'', host=HOST, length=None):
  """The bytes of a request, with {host} for that of the page."""
  lines = [f'{line} HTTP/1.1', *([host] if host else []), *headers]
  if body or length is not None:
    lines.append(f'Content-Length: {len(body) if length is None else length}')
  return '\r\n'.join([*lines, '', '']).encode() + body


def post(body, *headers, path=JOIN, **options):
  return request(f'POST {path}', JSON, *headers, body=body, **options)


def form(name, content=b'x'):
  """An upload of a file with this name."""
  return (b'--x\r\nContent-Disposition: form-data; name="files"; filename="'
          + name + b'"\r\n\r\n' + content + b'\r\n--x--\r\n')


# name -> (request, statuses that are right; 0 closes the connection).
ATTACKS = {
    'no HTTP': (b'\x16\x03\x01\x02\0\x01\0\r\n\r\n', {400}),
    'no host': (request('GET /', host=None), {400}),
    'two hosts': (request('GET /', 'Host: elsewhere.org'), {400, 403}),
    'a host that is no address': (request('GET /', host='Host: [::1'), {400}),
    'a host of another site': (
        request('GET /', host='Host: elsewhere.org'), {403}),
    'a host before a user': (
        request('GET /', host='Host: {host}@elsewhere.org'), {403}),
    'an origin that is no address': (post(b'{}', 'Origin: http://['), {400}),
    'an origin without a name': (post(b'{}', 'Origin: null'), {403}),
    'an origin of another port': (
        post(b'{}', 'Origin: http://127.0.0.1:1'), {403}),
    'headers without end': (
        request('GET /', *(f'X-{i}: {"x" * 999}' for i in range(200))),
        {400, 431}),
    'a length below 0': (post(b'{}', length=-1), {400}),
    'two lengths': (post(b'{}', 'Content-Length: 5'), {400}),
    'another method': (request('DELETE /'), {404}),
    'a proxy': (request('CONNECT elsewhere.org:80'), {400, 404}),
    'a web socket': (request(
        'GET /', 'Upgrade: websocket', 'Connection: Upgrade',
        'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: ' + 22 * 'A' + '=='),
                     {403}),
    'no JSON': (post(b'no JSON'), {400}),
    'no text': (post(b'\xff\xfe\0'), {400}),
    'JSON without end': (post(b'[' * 500_000), {400}),
    'JSON in JSON': (post(b'[' * 900 + b']' * 900), {400, 422}),
    'a long number': (post(b'9' * 100_000), {400}),
    'a name of no letters': (post(b'{"path": "\\ud800"}'), {400}),
    'a name with a zero': (post(b'{"path": "/x\\u0000"}'), {400}),
    'a list': (post(b'[]'), {400}),
    'no event': (post(b'{}'), {400}),
    'a function without arguments': (post(b'{"fn_index": 0}'), {200, 422}),
    'an unknown function': (post(json.dumps({
        'fn_index': 10**6, 'session_hash': 'x', 'data': []}).encode()),
                            {400}),
    'a large request': (post(bytes(2 << 20)), {413}),
    'an upload without a length': (
        request(f'POST {UPLOAD}', FORM, 'Transfer-Encoding: chunked')
        + b'1\r\nx\r\n0\r\n\r\n', {411}),
    'an upload that is too large': (
        request(f'POST {UPLOAD}', FORM, body=bytes(1_000_000)), {413}),
    'an upload without an end': (
        request(f'POST {UPLOAD}', FORM, body=b'--x\r\nContent'),
        {200}),    # with no file
    'an upload without a file': (
        request(f'POST {UPLOAD}', FORM, body=b'--x--\r\n'), {200}),
    'a file above the folder': (request(
        'GET /gradio_api/file=../../../etc/passwd'), {403}),
    'a file above the folder, in code': (request(
        'GET /gradio_api/file=%2e%2e%2f%2e%2e%2fetc%2fpasswd'), {403}),
    'a file with a zero': (request('GET /gradio_api/file=/x%00'), {403}),
    'an asset above its folder': (request(
        'GET /assets/..%2f..%2f..%2f..%2fetc%2fpasswd'), {403, 404}),
    'a static file above its folder': (request(
        'GET /static/../../../../../etc/passwd'), {403, 404}),
    'progress of no upload': (request(
        'GET /gradio_api/upload_progress?upload_id=none'), {200, 404}),
    'the text of a program': (request('GET /gradio_api/vibe-code/'), {404}),
}


def status(host, port, content, *, seconds=60):
  """Sends bytes; returns the status of the answer, 0 without one."""
  content = content.replace(b'{host}', f'{host}:{port}'.encode())
  with socket.create_connection((host, port), timeout=seconds) as connection:
    try:
      connection.sendall(content)
      first = connection.recv(4096)
    except (ConnectionResetError, BrokenPipeError):
      return 0
  return int(first.split()[1]) if first.startswith(b'HTTP/') else 0
