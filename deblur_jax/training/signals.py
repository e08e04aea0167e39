"""Signals that end a run: SIGTERM of a scheduler, Ctrl-C of a person.

The running step is finished and saved. Before the first step has ended there is
nothing to save, and compiling may take minutes: then the process ends GRACE
seconds after the signal. A second Ctrl-C interrupts at once.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax

GRACE = 5.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stopping(
    on_stop: Callable[[], None], *, has_progress: Callable[[], bool]
) -> Iterator[None]:
  """Handles the signals within the block.

  Several processes must stop after the same step: there jax catches SIGTERM and
  `Checkpoints.preempted` reports it. Outside of the main thread, as in a
  notebook, signals keep their handlers.

  Args:
    on_stop: called at the first signal, between two instructions of Python.
    has_progress: whether a step has ended; called in another thread.
  """
  if (jax.process_count() > 1
      or not hasattr(os, 'set_blocking')      # Windows before Python 3.12
      or threading.current_thread() is not threading.main_thread()):
    yield
    return
  received = []

  def handle(number, _):
    received.append(number)
    on_stop()
    if len(received) > 1 and number == signal.SIGINT:
      raise KeyboardInterrupt

  # Handlers wait until a call into compiled code returns; this pipe does not.
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  previous = {number: signal.signal(number, handle) for number in SIGNALS}
  woken = signal.set_wakeup_fd(writer)
  ended = threading.Event()
  watcher = threading.Thread(
      target=_watch, args=(reader, ended, has_progress), daemon=True)
  watcher.start()
  try:
    yield
  finally:
    ended.set()
    signal.set_wakeup_fd(woken)
    os.write(writer, b'\0')
    watcher.join()
    for number, handler in previous.items():
      signal.signal(number, handler)
    os.close(reader)
    os.close(writer)


def _watch(reader, ended, has_progress):
  """Ends the process after a signal that comes before there is progress."""
  while not ended.is_set():
    number = os.read(reader, 1)[0]
    if number in SIGNALS and not ended.wait(GRACE) and not has_progress():
      logging.warning('Stopped before the first step ended; the same command '
                      'starts there again.')
      os._exit(128 + number)
