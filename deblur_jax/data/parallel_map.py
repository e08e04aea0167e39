"""Work done ahead by threads, handed out in order."""

import collections
import os
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures


def cores() -> int:
  """Processors that this process may use."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not Linux
    return os.cpu_count() or 1


def ordered(
    fn: Callable, items: Iterable, *, workers: int | None, ahead: int,
) -> Iterator:
  """fn(item) for each item, in order, at most `ahead` of them begun early.

  An exception of fn comes out at its place. Closing or dropping the iterator
  cancels what has not begun and waits for what has.
  """
  threads = futures.ThreadPoolExecutor(workers or cores())
  pending = collections.deque()
  try:
    for item in items:
      pending.append(threads.submit(fn, item))
      if len(pending) > ahead:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()
  finally:
    threads.shutdown(wait=True, cancel_futures=True)


def closed_when_dropped(generator: Generator) -> Iterator:
  """The same items; `generator` is closed with it, and before Python exits.

  Threads that still work for a generator when Python takes its modules apart
  hang (TensorFlow's) or complain.
  """
  outer = (item for item in generator)
  weakref.finalize(outer, generator.close)
  return outer
