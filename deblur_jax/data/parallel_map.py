"""A map that runs ahead in threads and yields its results in order."""

import collections
import os
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures


def cores() -> int:
  """The number of processors that this process may use."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not Linux
    return os.cpu_count() or 1


def ordered(
    fn: Callable, items: Iterable, *, workers: int | None, ahead: int,
) -> Iterator:
  """Yields fn(item) for each item, in order.

  An exception of fn is raised in its place. When the iterator is closed or
  dropped, work that has not begun is cancelled, and running work is waited for.

  Args:
    fn: the function; it runs in threads.
    items: the items.
    workers: number of threads; None is one for each core.
    ahead: number of items that are submitted ahead of the one that is yielded.
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
  """Yields the same items; closes `generator` when dropped and at exit.

  Threads that still work for a generator while Python removes its modules hang
  (TensorFlow's) or report errors.

  Args:
    generator: the items.
  """
  outer = (item for item in generator)
  weakref.finalize(outer, generator.close)
  return outer
