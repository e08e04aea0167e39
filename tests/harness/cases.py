"""Runs cases and counts what became of them."""

import collections
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from deblur_jax import errors
from deblur_jax.ops import process_memory

MAX_MEMORY = 2 * 2**30
MAX_SECONDS = 10.0
MAX_LINE = 2000    # characters of a message


class Case(NamedTuple):
  """One damaged input.

  name: what was damaged, and how.
  run: reads it; what it returns is counted under `made` if it is true.
  seconds: of the processor, in which it is refused.
  waited: seconds in which it ends, however busy the machine is.
  """

  name: str
  run: Callable[[], Any]
  seconds: float = MAX_SECONDS
  waited: float = 10 * MAX_SECONDS


class Counts(NamedTuple):
  """What became of cases.

  tried: their number.
  made: those that succeeded.
  refused: those that a UserError of one line ended.
  lost: (name, reason) of all others.
  slowest: seconds and name.
  memory: the peak of the process beyond that at the start, bytes.
  """

  tried: int
  made: int
  refused: int
  lost: list[tuple[str, str]]
  slowest: tuple[float, str]
  memory: int


def count(
    cases: Iterable[Case], *,
    on_case: Callable[[str, str], None] = lambda name, outcome: None
) -> Counts:
  """Runs cases one after another.

  Args:
    cases: the cases; each is made just before it runs.
    on_case: called with the name of each case and its outcome.
  """
  outcomes, lost, slowest = collections.Counter(), [], (0.0, '')
  first = process_memory.reset_peak()
  for case in cases:
    before, start, began = (
        process_memory.reset_peak(), time.process_time(), time.perf_counter())
    outcome, reason = _run(case)
    # Of this process alone, whatever else the machine computes.
    seconds, waited = time.process_time() - start, time.perf_counter() - began
    grown = process_memory.peak() - before
    if grown > MAX_MEMORY:
      outcome, reason = 'lost', f'{grown / 2**30:.1f} GiB of memory'
    limit = case.seconds if outcome == 'refused' else MAX_SECONDS
    if seconds > limit or waited > case.waited:
      outcome, reason = 'lost', f'{seconds:.1f} s; {outcome}: {reason}'
    if outcome == 'lost':
      lost.append((case.name, reason))
    outcomes[outcome] += 1
    slowest = max(slowest, (seconds, case.name))
    first = max(first, process_memory.peak())
    on_case(case.name, f'{outcome} {seconds:.2f} s {reason}')
  return Counts(
      outcomes.total(), outcomes['made'], outcomes['refused'], lost, slowest,
      first)


def _run(case: Case) -> tuple[str, str]:
  """Returns the outcome and what is to be said of it."""
  try:
    return 'made', str(case.run() or '')
  except errors.UserError as error:
    text = str(error)
    if '\n' in text.strip() or len(text) > MAX_LINE:
      return 'lost', f'a message of several lines or too long: {text[:200]!r}'
    return 'refused', text
  except Exception as error:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return 'lost', (f'{type(error).__name__}: {errors.first_line(error)[:200]} '
                    f'({place.filename.rpartition("/")[2]}:{place.lineno})')
