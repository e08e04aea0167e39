"""How long a model takes on this machine: measured, kept, and told before.

The pace is in seconds per megapixel, one for each (model, dtype, device, number
of cores). It is measured over pictures as they are restored, without the time
of compilation, and kept in a file of the cache folder. Of that file nothing
else depends: where it is damaged or cannot be written there is no estimate.
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
KEPT = 100            # paces in the file; the oldest go first
DECAY = 0.8           # weight of what the file has beside what is new
LEAST = 1.0           # seconds of work after which the file is written
LEAST_MEGAPIXELS = 0.1    # of a picture that is measured
REFERENCE = 0.9216    # megapixels of 1280x720
TURNS = 8             # of a self-ensemble
COMPILING = '/jax/core/compile/'


class Key(NamedTuple):
  """What a pace depends on."""

  model: str
  dtype: str
  device: str
  cores: int


class Pace(NamedTuple):
  """Seconds per megapixel.

  is_measured: on this machine; else on the reference machine of the card.
  """

  seconds: float
  is_measured: bool


class Estimate(NamedTuple):
  """How long some work takes.

  seconds: without compilation.
  megapixels: that go through the network.
  is_measured: see `Pace`.
  """

  seconds: float
  megapixels: float
  is_measured: bool


# Seconds and megapixels that are not in the file yet.
_waiting: dict[Key, tuple[float, float]] = {}


def key(model: str, dtype: str | None = None) -> Key:
  """The `Key` of a model on the first device of this process.

  Args:
    model: a name of the zoo, or the folder of a run.
    dtype: None is what the model was made in.
  """
  import jax

  name = os.path.realpath(model) if os.path.isdir(model) else model
  cores = (len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity')
           else os.cpu_count() or 1)
  return Key(name, dtype or 'own', jax.local_devices()[0].device_kind, cores)


def find(one: Key, card: Mapping[str, Any]) -> Pace | None:
  """The measured pace; else that of the model's card; None without either.

  Cards are measured with `zoo.AUTO`, and tell nothing of others.
  """
  entry = _entries().get(_word(one)) or _waiting.get(one)
  if entry:
    return Pace(entry[0] / entry[1], True)
  stated = card.get('seconds_720p') if one.dtype == zoo.AUTO else None
  return Pace(stated / REFERENCE, False) if stated else None


def estimate(pace: Pace | None, megapixels: float) -> Estimate | None:
  """Proportional to the pixels; None without a pace, or without any pixels."""
  if pace is None or not megapixels:
    return None
  return Estimate(pace.seconds * megapixels, megapixels, pace.is_measured)


def record(one: Key, seconds: float, megapixels: float) -> None:
  """Keeps what a call has measured; an unwritable folder changes nothing.

  Less than LEAST seconds wait for more: writing would cost as much as it tells.
  """
  if not (_is_positive(seconds) and _is_positive(megapixels)):
    return
  before = _waiting.pop(one, (0.0, 0.0))
  seconds, megapixels = before[0] + seconds, before[1] + megapixels
  if seconds < LEAST:
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
  """'about 40 s', 'about 2 h 10 min': as exact as an estimate is."""
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


# ---- measuring


class Meter:
  """Seconds and megapixels of what went through a network.

  Of a picture with several tiles the first ones do not count: a program that is
  made or read for them would. Of a single one the time of compilation is taken
  off.
  """

  def __init__(self):
    self.seconds = self.megapixels = 0.0

  def timed(self, restore: Callable[..., Any]) -> Callable[..., Any]:
    """What `tiling.build` gives, measured."""
    def measured(image, on_tile=lambda done, total: None):
      told = []

      def on_timed_tile(done, total):
        if told and done <= told[-1][1]:
          told.clear()    # memory ran out, and smaller tiles begin
        told.append((time.perf_counter(), done))
        on_tile(done, total)

      start, compiled = time.perf_counter(), _compile_seconds()
      large = restore(image, on_timed_tile)
      end, share = time.perf_counter(), 1.0
      if len(told) > 1:
        start, compiled = told[0][0], _compile_seconds()
        share = 1 - told[0][1] / large.tiles
      # Tiles that are done again take longer than what the model takes, and
      # of small pictures what surrounds the network takes most.
      if not large.recomputed and _megapixels(image) >= LEAST_MEGAPIXELS:
        self.seconds += end - start - (_compile_seconds() - compiled)
        self.megapixels += share * _megapixels(image)
      return large

    return measured


class Remaining:
  """The seconds that are left, from what was known and what is seen.

  Args:
    seconds: of all the work, where it is known.
  """

  def __init__(self, seconds: float | None = None):
    self._seconds = seconds
    self._begun: float | None = None
    self._first: tuple[float, float] | None = None

  def __call__(self, done: float, total: float) -> float | None:
    """After `done` of `total`; None where nothing tells it yet.

    It is called with 0 when the work begins.
    """
    now = time.perf_counter()
    if not done:
      self._begun = now - _compile_seconds()
      return self._seconds
    if self._first is None:
      # What is compiled for the first tiles is not for the others.
      self._first = now, done
    start, first = self._first
    if done > first:
      return (now - start) / (done - first) * (total - done)
    if self._seconds is not None:
      return self._seconds * (1 - done / total)
    return self._begun and (now - _compile_seconds() - self._begun) / done * (
        total - done)


def _entries() -> dict[str, list[float]]:
  """What the file has; entries that are damaged are left out."""
  folder = cache_folder.locate()
  if folder is None:
    return {}
  try:
    found = json.loads((folder / FILE).read_text())
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
  """From 20 on to the nearest 5."""
  return round(number) if number < 20 else 5 * round(number / 5)


def _megapixels(image: np.ndarray) -> float:
  return image.shape[0] * image.shape[1] / 1e6


# ---- the time of compilation


class _Spans(threading.local):
  """Of this thread: (start, end) of compilations, none inside of another."""

  def __init__(self):
    self.found: list[tuple[float, float]] = []


_spans = _Spans()


@functools.cache
def _listen() -> None:
  import jax

  def on_event(event, seconds, **_):
    if event.startswith(COMPILING):
      end = time.perf_counter()
      # Tracing of a function tells of the functions that it calls first.
      while _spans.found and _spans.found[-1][0] >= end - seconds:
        _spans.found.pop()
      _spans.found.append((end - seconds, end))

  jax.monitoring.register_event_duration_secs_listener(on_event)


def _compile_seconds() -> float:
  """Of all compilations of this thread since the first call."""
  _listen()
  return sum(end - start for start, end in _spans.found)
