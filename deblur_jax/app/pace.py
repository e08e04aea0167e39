"""Measures the pace of a model on this machine, and estimates times.

The pace is in seconds per megapixel, one for each (model, dtype, device, number
of cores). It is measured while pictures are restored, without the time of
compilation, and stored in a file of the cache folder. If this file is damaged
or cannot be written, no time is estimated.
"""

import contextlib
import functools
import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.inference import cache_folder
from deblur_jax.ops import atomic_files
from deblur_jax.pretrained import zoo

FILE = 'pace.json'
KEPT = 100            # greatest number of paces in the file
DECAY = 0.8           # weight of old measurements relative to new ones
MIN_SECONDS = 1.0           # seconds of work after which the file is written
LEAST_MEGAPIXELS = 0.1    # of a picture that is measured
REFERENCE = 0.9216    # megapixels of 1280x720
TURNS = 8             # runs of the network in a self-ensemble
COMPILING = '/jax/core/compile/'


class Key(NamedTuple):
  """The conditions of a pace.

  Attributes:
    model: name or path of the model.
    dtype: of the computation.
    device: its kind, as jax names it.
    cores: number of CPU cores.
  """

  model: str
  dtype: str
  device: str
  cores: int


class Pace(NamedTuple):
  """A pace.

  Attributes:
    seconds: per megapixel.
    is_measured: whether it was measured on this machine; else it is of the
      reference machine of the model's card.
  """

  seconds: float
  is_measured: bool


class Estimate(NamedTuple):
  """The estimated time of some work.

  Attributes:
    seconds: without compilation.
    megapixels: input of the network.
    is_measured: see `Pace`.
  """

  seconds: float
  megapixels: float
  is_measured: bool


# Measured (seconds, megapixels) that are not in the file yet.
_waiting: dict[Key, tuple[float, float]] = {}


def key(model: str, dtype: str | None = None) -> Key:
  """Returns the key of a model on the first device of this process.

  Args:
    model: the name of a bundled model, or the folder of a run.
    dtype: of the computation; None is the model's own.
  """
  import jax

  name = os.path.realpath(model) if os.path.isdir(model) else model
  cores = (len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity')
           else os.cpu_count() or 1)
  return Key(name, dtype or 'own', jax.local_devices()[0].device_kind, cores)


def find(one: Key, card: Mapping[str, Any]) -> Pace | None:
  """Finds the pace of a model.

  Args:
    one: the key.
    card: of the model; its time is valid for the dtype `zoo.AUTO` only.

  Returns:
    The measured pace, else that of the card; None if both are missing.
  """
  entry = _entries().get(_word(one)) or _waiting.get(one)
  if entry:
    return Pace(entry[0] / entry[1], True)
  stated = card.get('seconds_720p') if one.dtype == zoo.AUTO else None
  return Pace(stated / REFERENCE, False) if stated else None


def estimate(pace: Pace | None, megapixels: float) -> Estimate | None:
  """Estimates the time of some work.

  Args:
    pace: of the model, or None.
    megapixels: input of the network.

  Returns:
    The estimate; None without a pace or pixels.
  """
  if pace is None or not megapixels:
    return None
  return Estimate(pace.seconds * megapixels, megapixels, pace.is_measured)


def record(one: Key, seconds: float, megapixels: float) -> None:
  """Stores a measurement; does nothing if the folder cannot be written.

  Measurements are collected in memory up to MIN_SECONDS seconds of work, so
  that the file is not written too often.

  Args:
    one: the key.
    seconds: of the work.
    megapixels: input of the network.
  """
  if not (_is_positive(seconds) and _is_positive(megapixels)):
    return
  before = _waiting.pop(one, (0.0, 0.0))
  seconds, megapixels = before[0] + seconds, before[1] + megapixels
  if seconds < MIN_SECONDS:
    _waiting[one] = seconds, megapixels
    return
  entries = _entries()
  earlier = entries.pop(_word(one), (0.0, 0.0))
  entries[_word(one)] = [
      DECAY * earlier[0] + seconds, DECAY * earlier[1] + megapixels]
  entries = dict(list(entries.items())[-KEPT:])
  folder = cache_folder.locate()
  if folder is None:
    return
  with contextlib.suppress(OSError, errors.UserError):
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic_files.write(folder / FILE, json.dumps(entries, indent=1))


def words(seconds: float) -> str:
  """Formats seconds with the precision of an estimate: 'about 2 h 10 min'."""
  if seconds < 1:
    return 'less than 1 s'
  if seconds < 100:
    return f'about {_rounded(seconds)} s'
  minutes = seconds / 60
  if minutes < 100:
    return f'about {_rounded(minutes)} min'
  hours, rest = divmod(round(minutes), 60)
  return (f'about {hours} h {rest} min' if hours < 10 else
          f'about {round(minutes / 60)} h')


# ---- measurement


class Meter:
  """Measures the seconds and megapixels of a network.

  For a picture with several tiles the first batch of them does not count,
  because the program is compiled or loaded then. For one tile the time of
  compilation is subtracted.
  """

  def __init__(self):
    self.seconds = self.megapixels = 0.0

  def timed(self, restore: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps the result of `tiling.build` by a measurement.

    Args:
      restore: the result of `tiling.build`.

    Returns:
      A function with the same arguments and result.
    """
    def measured(image, on_tile=lambda done, total: None):
      finished = []    # (time, number of finished tiles)

      def on_timed_tile(done, total):
        if finished and done <= finished[-1][1]:
          finished.clear()    # restarted with smaller tiles: memory ran out
        finished.append((time.perf_counter(), done))
        on_tile(done, total)

      start, compiled = time.perf_counter(), _compile_seconds()
      large = restore(image, on_timed_tile)
      end, share = time.perf_counter(), 1.0
      if len(finished) > 1:
        start, compiled = finished[0][0], _compile_seconds()
        share = 1 - finished[0][1] / large.tiles
      # Recomputed tiles need more time than the model, and small pictures need
      # most of their time outside of the network.
      if not large.recomputed and _megapixels(image) >= LEAST_MEGAPIXELS:
        self.seconds += end - start - (_compile_seconds() - compiled)
        self.megapixels += share * _megapixels(image)
      return large

    return measured


class Remaining:
  """Estimates the remaining seconds from an estimate and the progress.

  Args:
    seconds: estimate for all the work, or None.
  """

  def __init__(self, seconds: float | None = None):
    self._seconds = seconds
    self._begun: float | None = None
    self._first: tuple[float, float] | None = None

  def __call__(self, done: float, total: float) -> float | None:
    """Estimates the remaining time after `done` of `total`.

    Args:
      done: finished work; 0 at the beginning.
      total: all work.

    Returns:
      Seconds; None if nothing is known yet.
    """
    now = time.perf_counter()
    if not done:
      self._begun = now - _compile_seconds()
      return self._seconds
    if self._first is None:
      # The time of compilation is part of the first tiles only.
      self._first = now, done
    start, first = self._first
    if done > first:
      return (now - start) / (done - first) * (total - done)
    if self._seconds is not None:
      return self._seconds * (1 - done / total)
    return self._begun and (now - _compile_seconds() - self._begun) / done * (
        total - done)


def _entries() -> dict[str, list[float]]:
  """The entries of the file without damaged ones."""
  folder = cache_folder.locate()
  if folder is None:
    return {}
  try:
    found = json.loads((folder / FILE).read_text(encoding='utf-8'))
  except (OSError, ValueError, RecursionError):
    return {}
  if not isinstance(found, dict):
    return {}
  return {name: entry for name, entry in found.items()
          if isinstance(entry, list) and len(entry) == 2
          and all(map(_is_positive, entry))}


def _is_positive(number) -> bool:
  return type(number) in (int, float) and 0 < number < math.inf


def _word(one: Key) -> str:
  return ' | '.join(map(str, one))


def _rounded(number: float) -> int:
  """Rounds to a whole number, from 20 on to the nearest 5."""
  return round(number) if number < 20 else 5 * round(number / 5)


def _megapixels(image: np.ndarray) -> float:
  return image.shape[0] * image.shape[1] / 1e6


# ---- the time of compilation


class _Spans(threading.local):
  """(start, end) of this thread's compilations, without nested ones."""

  def __init__(self):
    self.found: list[tuple[float, float]] = []


_spans = _Spans()


@functools.cache
def _listen() -> None:
  import jax

  def on_event(event, seconds, **_):
    if event.startswith(COMPILING):
      end = time.perf_counter()
      # Nested functions report before the function that calls them.
      while _spans.found and _spans.found[-1][0] >= end - seconds:
        _spans.found.pop()
      _spans.found.append((end - seconds, end))

  jax.monitoring.register_event_duration_secs_listener(on_event)


def _compile_seconds() -> float:
  """The seconds of this thread's compilations since the first call."""
  _listen()
  return sum(end - start for start, end in _spans.found)
