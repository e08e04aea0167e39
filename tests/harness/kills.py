"""A training, killed at random moments and resumed by the same call.

A case starts or resumes a small run in another process and kills it. A run that
has finished must be the unbroken one, bit for bit, and the next case begins
another, with the next backend of the loader: all give the same batches. (They
read with threads and not with processes, so none can lose a worker alone.)
"""

import itertools
import json
import os
import pathlib
import random
import shutil
import time
from collections.abc import Iterator

import jax
import numpy as np

from deblur_jax import data
from deblur_jax.training import workdir
from tests.harness import programs
from tests.harness.cases import Case


class Differs(Exception):
  """A resumed run that is not the unbroken one, or that ended by itself."""


def cases(folder, count: int, *, seed: int = 0) -> Iterator[Case]:
  """Cases of one kill each; the last one lets its run finish.

  Args:
    folder: an empty folder.
    count: of kills.
    seed: of the moments.
  """
  draw = random.Random(seed)
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(folder / 'programs'))
  whole, run = folder / 'whole', folder / 'run'
  backends = itertools.cycle(sorted(data.LOADERS, reverse=True))
  backend = next(backends)
  seconds = {}    # of an undisturbed run, by backend

  def undisturbed(backend):
    # The second call has its programs compiled, as those that are killed.
    for _ in range(2):
      shutil.rmtree(whole, ignore_errors=True)
      began = time.perf_counter()
      _end(_start(whole, backend))
    return time.perf_counter() - began

  def kill(last):
    nonlocal backend
    if backend not in seconds:
      seconds[backend] = undisturbed(backend)
    child = _start(run, backend)
    if last:
      _end(child)
    else:
      child.join(draw.uniform(0, seconds[backend]))
      child.kill()
      child.join()
    if (run / 'summary.json').exists():
      _compare(run, whole)
      shutil.rmtree(run)
      finished, backend = backend, next(backends)
      return f'{finished} finished'
    if child.exitcode not in (0, -9):
      raise Differs(f'exit code {child.exitcode}: {_said(run)}')
    lines = workdir.read_metrics(run)
    return f'{backend}: step {lines[-1]["step"] if lines else 0}'

  for number in range(count):
    yield Case(f'kill {number}', lambda number=number: kill(False),
               waited=programs.SECONDS)
  yield Case('the rest', lambda: kill(True), waited=programs.SECONDS)


def _start(folder, backend):
  child = programs.forking().Process(
      target=programs.train_small, args=(str(folder), backend))
  child.start()
  return child


def _end(child) -> None:
  child.join()
  if child.exitcode:
    raise Differs(f'exit code {child.exitcode}')


def _said(folder) -> str:
  """The last line that a run printed."""
  path = pathlib.Path(f'{folder}.txt')
  text = path.read_text(encoding='utf-8') if path.exists() else ''
  return (text.strip().splitlines() or ['nothing was printed'])[-1]


def _compare(run, whole) -> None:
  states = [programs.last_state(folder) for folder in (run, whole)]
  same = jax.tree.map(np.array_equal, *states)
  if not all(jax.tree.leaves(same)):
    raise Differs('another last state than that of the unbroken run')
  if _losses(run) != _losses(whole):
    raise Differs('other lines in metrics.jsonl than those of the unbroken run')


def _losses(folder) -> list[str]:
  return [json.dumps([line['step'], line['loss']])
          for line in workdir.read_metrics(folder)]
