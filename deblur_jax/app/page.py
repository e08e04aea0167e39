"""The web page: upload of a blurred picture, and a slider before and after.

  serve(['runs/mine'])    the bundled models and a run, on this machine only

The page is made with Gradio. Uploads and results are in a temporary folder,
which is deleted with the server. The names of results cannot be guessed, and
requests share no data. The page makes no connection to other machines.
"""

import asyncio
import contextlib
import errno
import functools
import json
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Any

from deblur_jax import errors
from deblur_jax.app import page_access, page_jobs, page_parts, page_restore
from deblur_jax.ops import process_locks
from deblur_jax.pretrained import zoo
from deblur_jax.priors import tasks

PORT = 7860
MAX_BYTES = 50_000_000
KEPT = 3600.0         # seconds after which files are deleted
STEPS = 1000
COMPILING = 'Compiling; the first steps take longer.'
WAITING = 16          # greatest number of waiting requests
GRACE = 4.0           # seconds from a signal to the end of the process
CONNECTIONS = 200     # more are answered with 503
PREFIX, LOCK = 'deblur-page-', 'lock'    # of the folder of a page
# Headings of tables are broken between words only.
CSS = ('#runs {overflow-x: auto} '
       '#runs th {word-break: normal; overflow-wrap: normal}')
# Variables that Gradio and its libraries read when they are imported.
QUIET = {
    'GRADIO_ANALYTICS_ENABLED': 'False', 'GRADIO_RUN_HISTORY': 'False',
    'HF_HUB_DISABLE_TELEMETRY': '1', 'HF_HUB_OFFLINE': '1'}


def build(
    restorers: page_jobs.Restorers, *, folder: str, kept: str,
    runs: str | os.PathLike | None = None,
    max_pixels: int = page_jobs.MAX_PIXELS,
    fit: Mapping[str, Any] | None = None):
  """Builds the page.

  Args:
    restorers: the models.
    folder: for files that the page shows.
    kept: for files that it does not show, see `page_jobs.Restored`.
    runs: see `serve`.
    max_pixels: see `serve`.
    fit: see `serve`.

  Returns:
    A `gradio.Blocks`.
  """
  import gradio as gr

  with gr.Blocks(title='deblur', analytics_enabled=False) as blocks:
    with gr.Tab('Restore'):
      gr.Markdown(
          'Makes a blurred photo sharp: choose a photo and a model, and press '
          'Restore.')
      page_restore.build(
          restorers, folder=folder, kept=kept, max_pixels=max_pixels)
    with gr.Tab('Fit a prior'):
      gr.Markdown('Fits a network to one picture, without a model; this takes '
                  'minutes. Stop when the result looks best.')
      _fit_tab(folder, max_pixels, fit or {})
    if runs is not None:
      with gr.Tab('Runs'):
        _runs_tab(runs)
    gr.Markdown('Pictures stay on this machine and are deleted after an hour.')
  blocks.queue(default_concurrency_limit=1, max_size=WAITING)
  return blocks


def _fit_tab(folder, max_pixels, options) -> None:
  import gradio as gr

  with gr.Row():
    with gr.Column(scale=1):
      upload = page_parts.upload('Picture', 'fit_upload')
      task = gr.Dropdown(
          [(tasks.TASKS[name].title, name) for name in tasks.QUICK],
          value='denoise', label='Task', elem_id='task')
      mask = page_parts.upload('Mask, white where the picture is good', 'mask',
                     visible=False)
      factor = gr.Slider(2, 4, value=2, step=1, label='Times larger',
                         visible=False, elem_id='factor')
      kernel = gr.Slider(3, 31, value=15, step=2, visible=False,
                         label='Kernel, pixels: rather too large',
                         elem_id='kernel')
      side = gr.Slider(64, 512, value=page_jobs.SIDE, step=32,
                       label='Longest side of the result')
      steps = gr.Slider(100, 5000, value=STEPS, step=100, label='Steps')
      seed = gr.Number(0, label='Seed', precision=0)
      start = gr.Button('Fit', variant='primary', elem_id='fit')
      stop = gr.Button('Stop', variant='stop', elem_id='stop')
    with gr.Column(scale=3):
      slider = page_parts.before_and_after('fit_')
      notes, download = page_parts.notes_and_download('fit_')
      curve = gr.HTML(elem_id='fit_curve', label='Loss, logarithmic',
                      show_label=True, container=True)

  task.change(
      lambda task: [gr.update(visible=name in tasks.TASKS[task].options())
                    for name in ('mask', 'factor', 'kernel_size')],
      task, [mask, factor, kernel], concurrency_id='form',
      show_progress='hidden', api_visibility='private')
  running = start.click(
      _on_fit(folder, max_pixels, options),
      [upload, task, mask, factor, kernel, side, steps, seed],
      [slider, download, notes, curve], concurrency_id='fit',
      show_progress='minimal', api_visibility='private')
  stop.click(
      None, notes, notes, js=f'text => text === {json.dumps(COMPILING)} ? '
      '"Stopped before the first step." : text', cancels=[running],
      show_progress='hidden', api_visibility='private')


def _on_fit(folder, max_pixels, options):
  """The handler of the button that fits, an asynchronous generator."""
  # Stop is answered while a fit compiles. What compiles ends on its own, and
  # the next fit, which waits for it, uses it.
  thread = futures.ThreadPoolExecutor(1)

  async def on_fit(path, task, mask, factor, kernel, side, steps, seed):
    shown = None, page_parts.no_file()
    if path is None:
      yield *shown, 'Choose a picture first.', ''
      return
    yield *shown, COMPILING, ''
    try:
      # The hidden fields are of other tasks. An empty field is None.
      own = {'mask': mask, 'factor': int(factor), 'kernel_size': int(kernel)}
      own = {name: value for name, value in own.items()
             if name in tasks.TASKS[task].options()}
      ask = {'steps': int(steps), 'seed': int(seed or 0)} | own | dict(options)
      fits = page_jobs.fitted(
          path, task, folder=folder, side=int(side), max_pixels=max_pixels,
          **ask)
      while found := await asyncio.get_running_loop().run_in_executor(
          thread, next, fits, None):
        result, losses = found
        yield *page_parts.outputs(result), page_jobs.chart(losses)
    except Exception as error:
      yield *shown, page_jobs.line(error), ''

  return on_fit


def _runs_tab(folder) -> None:
  import gradio as gr

  table = gr.Markdown(elem_id='runs')
  picture = gr.HTML(elem_id='curves')
  again = gr.Button('Look again')

  def on_look():
    import base64

    try:
      text, png = page_jobs.curves(folder)
    except Exception as error:
      return page_jobs.line(error), ''
    data = base64.b64encode(png).decode() if png else ''
    return text, data and (
        f'<img alt="curves" src="data:image/png;base64,{data}">')

  gr.on([again.click], on_look, None, [table, picture],
        concurrency_id='report', api_visibility='private')
  gr.context.Context.root_block.load(
      on_look, None, [table, picture], concurrency_id='report',
      api_visibility='private')


# ---- the server


def serve(
    models: Sequence[str | os.PathLike] = (), *, host: str = '127.0.0.1',
    port: int = PORT, runs: str | os.PathLike | None = None,
    max_bytes: int = MAX_BYTES, max_pixels: int = page_jobs.MAX_PIXELS,
    dtype: str | None = zoo.AUTO, tile: int | None = None,
    fit: Mapping[str, Any] | None = None) -> None:
  """Serves the page until Ctrl-C; prints its address on stderr.

  Ctrl-C and SIGTERM end the process within five seconds.

  Args:
    models: names, or folders of runs, in addition to the bundled models; the
      first one is selected.
    host: the address to listen at. With an address of the network everybody in
      the network can use the page.
    port: 0 is any free port.
    runs: a folder of runs whose curves a third tab shows.
    max_bytes: greatest size of an upload.
    max_pixels: greatest number of pixels of an upload.
    dtype: see `page_jobs.Restorers`.
    tile: see `page_jobs.Restorers`.
    fit: options of `tasks.config` that the page does not show.

  Raises:
    UserError: Gradio is missing, there is no such model or folder of runs, or
      the port is in use.
  """
  if runs is not None and not os.path.isdir(runs):
    raise errors.UserError(f'No folder {runs} of runs.')
  with _listening(host, port) as listener, _folder() as whole:
    # Requests can read files in `folder` only, not in `kept`.
    folder, kept = (os.path.join(whole, name) for name in ('files', 'kept'))
    _need_gradio()
    restorers = page_jobs.Restorers(models, dtype=dtype, tile=tile)
    blocks = build(restorers, folder=folder, kept=kept, runs=runs,
                   max_pixels=max_pixels, fit=fit)
    app = application(blocks, folder=folder, max_bytes=max_bytes,
                      hosts=(page_access.HOME if host in page_access.HOME
                             else None))
    shown = f'[{host}]' if ':' in host else host
    print(f'The page is at http://{shown}:{listener.getsockname()[1]}/ '
          '(Ctrl-C ends it).', file=sys.stderr, flush=True)
    if host not in page_access.HOME:
      print('Everybody in its network can use it.', file=sys.stderr,
            flush=True)
    _run(app, listener, whole)


def application(blocks, *, folder: str, max_bytes: int, hosts=page_access.HOME):
  """Makes the ASGI application of a page, with its guard.

  Args:
    blocks: the result of `build`.
    folder: of uploads and results.
    max_bytes: greatest size of an upload.
    hosts: allowed host names, see `page_access.Guard`.

  Returns:
    The application.
  """
  import fastapi
  import gradio as gr

  app = gr.mount_gradio_app(
      fastapi.FastAPI(openapi_url=None), blocks, path='/', allowed_paths=[],
      max_file_size=max_bytes, footer_links=[], show_error=False,
      ssr_mode=False, mcp_server=False, enable_monitoring=False, pwa=False,
      css=CSS, theme=gr.themes.Default(
          font=['system-ui', 'sans-serif'],
          font_mono=['ui-monospace', 'monospace']))
  # Without these a mounted page does not check whether a file was uploaded.
  blocks.has_launched = blocks.is_running = True
  return page_access.Guard(
      app, folder=folder, max_bytes=max_bytes, hosts=hosts,
      functions=frozenset(blocks.fns))


def sweep(folder: str | os.PathLike, *, age: float = KEPT) -> None:
  """Deletes old files and empty folders.

  Args:
    folder: the folder, which is kept.
    age: seconds since the last change.
  """
  before = time.time() - age
  for parent, folders, names in os.walk(folder, topdown=False):
    for name in names:
      path = os.path.join(parent, name)
      with contextlib.suppress(OSError):
        if os.stat(path).st_mtime < before:
          os.unlink(path)
    for name in folders:
      path = os.path.join(parent, name)
      with contextlib.suppress(OSError):
        if os.stat(path).st_mtime < before:
          os.rmdir(path)  # fails if it is not empty


def _need_gradio() -> None:
  os.environ.update(QUIET)
  with errors.needs_extra('Gradio', extra='page', what='The page'):
    import gradio  # noqa: F401


@contextlib.contextmanager
def _folder():
  """Yields a temporary folder for the page; old files in it are deleted.

  Folders of pages that were killed are deleted, too.
  """
  _delete_left()
  with contextlib.ExitStack() as stack:
    folder = os.path.realpath(stack.enter_context(tempfile.TemporaryDirectory(
        prefix=PREFIX, ignore_cleanup_errors=True)))
    stack.enter_context(process_locks.held(
        os.path.join(folder, LOCK), busy=f'{folder} is of another page.'))
    for name in ('files', 'kept'):
      os.mkdir(os.path.join(folder, name))
    os.environ['GRADIO_TEMP_DIR'] = os.path.join(folder, 'files')
    over = threading.Event()
    sweeper = threading.Thread(
        target=functools.partial(_sweep_often, folder, over), daemon=True)
    sweeper.start()
    try:
      yield folder
    finally:
      over.set()


def _delete_left() -> None:
  """Deletes the folders that killed pages left."""
  for folder in pathlib.Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
    lock = folder / LOCK    # the folder of a page that just begins has none
    if lock.is_file() and not folder.is_symlink() and (
        process_locks.is_free(lock)):
      shutil.rmtree(folder, ignore_errors=True)


def _sweep_often(folder, over) -> None:
  while not over.wait(60):
    for name in ('files', 'kept'):    # these folders are kept
      sweep(os.path.join(folder, name))


@contextlib.contextmanager
def _listening(host, port):
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  try:
    listener = socket.create_server((host, port), family=family)
  except (OSError, OverflowError, TypeError) as error:    # a host of 'ä' * 64
    # Python adds the address in brackets.
    reason = (getattr(error, 'strerror', None) or str(error)).partition(' (')[0]
    is_port = isinstance(error, OverflowError) or (
        getattr(error, 'errno', None) in (errno.EADDRINUSE, errno.EACCES))
    raise errors.UserError(
        f'Cannot listen at {host}:{port}: {reason.rstrip(".")}; choose another '
        f'{"--port" if is_port else "--host"}.') from None
  with listener:
    yield listener


def _run(app, listener, folder) -> None:
  """Runs the server until Ctrl-C or SIGTERM; `folder` is deleted then."""
  import uvicorn

  def end(*_):
    raise SystemExit(128 + signal.SIGTERM)

  # The server passes signals on after its end. At the usual log level it prints
  # a traceback for each page that is still open. Errors in the page's functions
  # get their message from `page_jobs.line`.
  server = uvicorn.Server(uvicorn.Config(
      app, log_level='critical', timeout_graceful_shutdown=2,
      limit_concurrency=CONNECTIONS, lifespan='on'))
  handle_exit = server.handle_exit

  def on_signal(number, frame):
    threading.Thread(target=_end_in_time, args=(number, folder),
                     daemon=True).start()
    handle_exit(number, frame)

  server.handle_exit = on_signal
  before = signal.signal(signal.SIGTERM, end)
  try:
    server.run(sockets=[listener])
  except KeyboardInterrupt:
    print(file=sys.stderr)
  finally:
    signal.signal(signal.SIGTERM, before)


def _end_in_time(number, folder) -> None:
  """Ends the process, also if a fit compiles, which nothing interrupts."""
  time.sleep(GRACE)
  shutil.rmtree(folder, ignore_errors=True)
  os._exit(128 + number)
