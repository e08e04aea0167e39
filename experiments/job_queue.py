"""Runs the jobs of an ablation: one after another, or several at a time."""

import concurrent.futures
import contextlib
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from deblur_jax import errors
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.training import workdir
from experiments import device_shares
from experiments.device_shares import Share
from experiments.run_kinds import LOG, Job, Kind


class Stop:
  """Passes SIGINT and SIGTERM on to the runs.

  Both become SIGTERM, after which a run saves and ends. A second Ctrl-C kills
  the runs.
  """

  def __init__(self):
    self.signal = 0
    self._children = set()
    self._lock = threading.RLock()   # the handler may interrupt its holder
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, self._take)

  def start(self, command: Sequence[str], **options) -> subprocess.Popen | None:
    """Starts a child that gets no other signals; None after a signal."""
    with self._lock:
      if self.signal:
        return None
      child = subprocess.Popen(command, start_new_session=True, **options)
      self._children.add(child)
    return child

  def ended(self, child: subprocess.Popen) -> None:
    """Forgets a child."""
    with self._lock:
      self._children.discard(child)

  def _take(self, number, _):
    with self._lock:
      at_once = self.signal and number == signal.SIGINT
      self.signal = number
      for child in self._children:
        if at_once and hasattr(os, 'killpg'):   # with what it started
          with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        elif at_once:      # Windows
          child.kill()
        elif hasattr(os, 'killpg'):
          child.send_signal(signal.SIGTERM)
        # The console of Windows sends Ctrl-C to the runs itself; SIGTERM would
        # kill them there.


def execute(
    jobs: Sequence[Job], stop: Stop, *, kind: Kind,
    shares: Sequence[Share] = (Share(),)
) -> list[Job]:
  """Does all runs that are not finished.

  There are as many runs at a time as shares of the machine. When a run ends,
  the next one begins with its devices. The output of a run goes to log.txt in
  its folder, and to stdout if there is one share.

  Args:
    jobs: the runs, in the order in which they begin.
    stop: passes signals on; after a signal no run starts.
    kind: of the runs.
    shares: of `device_shares.of_this_machine`.

  Returns:
    The jobs that failed.
  """
  free = queue.SimpleQueue()
  for share in shares:
    free.put(share)

  def do(job):
    share = free.get()
    try:
      return _execute_one(job, stop, kind, share, loud=len(shares) == 1)
    finally:
      free.put(share)

  with concurrent.futures.ThreadPoolExecutor(len(shares)) as pool:
    return [job for job, fine in zip(jobs, pool.map(do, jobs), strict=True)
            if not fine]


def _execute_one(job, stop, kind, share, *, loud):
  if stop.signal:
    return True
  if kind.is_finished(job):
    print(f'{job.name}: finished before, skipped', flush=True)
    return True
  kind.prepare(job)
  errors.make_folder(job.folder)
  failed = job.folder / runs_lib.FAILED
  failed.unlink(missing_ok=True)
  began = time.monotonic()
  print(f'{job.name}: begins', flush=True)
  code, last = _run(job.command, job.folder / LOG, stop, share, loud=loud)
  if stop.signal:
    return True
  if code:
    reason = f'{job.command[2]} ended with code {code}: {last}'
    workdir.write_json(failed, {'reason': reason, 'command': job.command})
    print(f'{job.name}: failed: {reason}', flush=True)
    return False
  print(f'{job.name}: done in {time.monotonic() - began:.0f} s', flush=True)
  return True


def _run(command, log, stop, share, *, loud):
  """Runs a command; returns its exit code and the last line of its output."""
  variables = [f'{name}={value}' for name, value in share.environment.items()]
  with log.open('ab') as file:
    file.write(f'$ {shlex.join([*variables, *command])}\n'.encode())
    file.flush()
    child = stop.start(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | share.environment)
    if child is None:
      return 0, ''
    device_shares.bind(child.pid, share)
    tail = b''
    # Not by lines: a progress bar is one long line.
    while chunk := child.stdout.read1():
      tail = (tail + chunk)[-2000:]
      file.write(chunk)
      file.flush()
      if loud:
        sys.stdout.write(chunk.decode(errors='replace'))
        sys.stdout.flush()
    code = child.wait()
  stop.ended(child)
  lines = tail.decode(errors='replace').replace('\r', '\n').split('\n')
  return code, next((line for line in reversed(lines) if line.strip()), '')
