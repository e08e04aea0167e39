"""Chooses the crops of batch i, a pure function of (seed, i).

Row r of batch i is sample p = i * batch_size + r. The samples of epoch p // N
are a permutation of the N pictures drawn from (seed, epoch). The corner of a
crop comes from two fractions drawn from (seed, p). So batches are the same for
every backend and number of processes, and a run resumes at any step from its
number alone.

Crops may grow while batches shrink (progressive learning: Zamir et al.,
Restormer, CVPR 2022, section 4). Each size is a stage with its own Plan, whose
samples continue those of the stage before.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors


class Plan(NamedTuple):
  """The numbers that define the batches of a run; see `make`.

  Attributes:
    size: number of pictures in the set.
    crop: side of the crops, pixels.
    batch_size: of all processes together.
    seed: of the order and the crops.
    process_index: number of this process.
    process_count: number of processes.
    begin: its first batch.
    end: the first batch of the next stage; None for no end.
    used: number of samples in the stages before.
  """

  size: int
  crop: int
  batch_size: int
  seed: int
  process_index: int
  process_count: int
  begin: int = 0
  end: int | None = None
  used: int = 0

  @property
  def rows(self) -> int:
    """Rows of a batch that this process reads."""
    return self.batch_size // self.process_count

  def position(self, count: int) -> int:
    """The sample number of this process's row `count`, from batch 0 on."""
    batch, row = divmod(count, self.rows)
    return (self.used + (batch - self.begin) * self.batch_size
            + self.process_index * self.rows + row)


def make(
    *, size: int, crop: int, batch_size: int, seed: int, process_index: int,
    process_count: int,
) -> Plan:
  """Checks the numbers of a run and makes its Plan.

  Args:
    size: number of pictures.
    crop: side of the crops, pixels.
    batch_size: of all processes together.
    seed: of all random choices.
    process_index: number of this process, from 0.
    process_count: number of processes, which share the rows.

  Raises:
    UserError: a crop or batch size below 1, or a batch size that the processes
      cannot share.
  """
  for name, value in (('crop', crop), ('batch_size', batch_size)):
    if not isinstance(value, int) or value < 1:
      raise errors.UserError(f'data.{name} must be 1 or more, not {value!r}.')
  _check_shares(batch_size, process_count)
  return Plan(size, crop, batch_size, seed, process_index, process_count)


class Stage(NamedTuple):
  """The crops from batch `begin` on: their side, and how many in a batch.

  Attributes:
    begin: its first batch.
    crop: side of a crop, pixels.
    batch_size: crops of a batch over all processes.
  """

  begin: int
  crop: int
  batch_size: int


def stages(
    crop: int, batch_size: int, progressive: Sequence[Sequence[int]]
) -> list[Stage]:
  """The stages of a run: the first sizes, then the rows of `progressive`.

  Args:
    crop: see `loaders.build`.
    batch_size: see `loaders.build`.
    progressive: see `loaders.build`.

  Raises:
    UserError: a row that is not three whole numbers, or not in order.
  """
  found = [Stage(0, crop, batch_size)]
  rows = progressive if isinstance(progressive, Sequence) else [progressive]
  for row in rows:
    if not (isinstance(row, Sequence) and len(row) == 3
            and all(type(n) is int and n > 0 for n in row)):
      raise errors.UserError(
          f'data.loader.progressive: {errors.shown(row)} is not a row of step, '
          'crop and batch size, three whole numbers from 1; one row is '
          '((90000, 320, 8),).')
    if row[0] <= found[-1].begin:
      raise errors.UserError(
          f'data.loader.progressive: step {row[0]} comes after step '
          f'{found[-1].begin}; put its rows in the order of their steps.')
    found.append(Stage(*row))
  return found


def in_stages(plan: Plan, progressive: Sequence[Sequence[int]]) -> list[Plan]:
  """Splits a Plan into one for each stage.

  Args:
    plan: of the first stage.
    progressive: see `loaders.build`.

  Raises:
    UserError: as of `stages`.
  """
  plans, used = [], 0
  found = stages(plan.crop, plan.batch_size, progressive)
  for stage, after in zip(found, [*found[1:], None], strict=True):
    end = after.begin if after else None
    _check_shares(stage.batch_size, plan.process_count)
    plans.append(plan._replace(**stage._asdict(), end=end, used=used))
    used += ((end or 0) - stage.begin) * stage.batch_size
  return plans


def draw(plan: Plan, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Draws the samples start, start + 1, ...

  Args:
    plan: of the run.
    start: number of the first sample.
    count: number of samples.

  Returns:
    Numbers of pictures [count]; fractions [count, 2] in [0, 1) of the range of
    the crop's corner.
  """
  positions = np.arange(start, start + count)
  epochs, places = np.divmod(positions, plan.size)
  numbers = np.array([
      order(plan.seed, int(e), plan.size)[k]
      for e, k in zip(epochs, places, strict=True)])
  words = _words(plan.seed, 1, start, 4 * count).reshape(count, 4)[:, :2]
  return numbers, (words >> np.uint64(11)) * 2.0 ** -53


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, size: int) -> np.ndarray:
  """The permutation of `size` pictures in an epoch."""
  return np.argsort(_words(seed, 0, epoch << 64, size), kind='stable')


def corner(fractions, sizes, crop: int) -> np.ndarray:
  """The corner of a crop.

  Args:
    fractions: [..., 2] in [0, 1).
    sizes: [..., 2], (height, width) of the pictures.
    crop: side of the crop, pixels.

  Returns:
    int32 [..., 2], (top, left).
  """
  ways = np.asarray(sizes) - crop + 1
  return np.minimum(np.floor(fractions * ways), ways - 1).astype(np.int32)


def cut(
    pictures: Mapping[str, np.ndarray], fractions, crop: int, *, name: str,
) -> dict[str, np.ndarray]:
  """Cuts the same crop from each picture of a pair.

  Args:
    pictures: {key: [h, w, 3]}, all of one size.
    fractions: [2], see `corner`.
    crop: side of the crop, pixels.
    name: of the pair, for messages.

  Returns:
    {key: [crop, crop, 3]}, contiguous.

  Raises:
    UserError: the pictures are smaller than the crop.
  """
  size = next(iter(pictures.values())).shape[:2]
  check_crop(size, crop, name=name)
  top, left = corner(fractions, size, crop)
  return {key: np.ascontiguousarray(p[top:top + crop, left:left + crop])
          for key, p in pictures.items()}


def evenly_spaced(items: Sequence[Any], count: int) -> list[Any]:
  """At most `count` items of a sequence, evenly spaced from its first one on.

  Of two or more items the last one is the sequence's own last.
  """
  places = np.linspace(0, len(items) - 1, min(count, len(items)))
  return [items[place] for place in places.astype(int).tolist()]


def check_crop(size, crop: int, *, name: str):
  """Raises a UserError where a picture is smaller than a crop.

  Args:
    size: (height, width) of the picture.
    crop: side of the crop, pixels.
    name: of the picture, for the message.
  """
  if min(size) < crop:
    raise errors.UserError(
        f'{name} is {size[1]}x{size[0]}, smaller than data.crop={crop}; '
        'choose a smaller crop or remove it.')


def _check_shares(batch_size: int, process_count: int):
  if batch_size % process_count:
    raise errors.UserError(
        f'The batch size {batch_size} is not divisible by the {process_count} '
        'processes.')


def _words(seed: int, stream: int, counter: int, count: int) -> np.ndarray:
  # Raw Philox words: NumPy guarantees their values in all versions, unlike
  # those of Generator.permutation.
  key = (stream << 64) + seed % 2 ** 64
  bits = np.random.Philox(key=key, counter=counter)
  return bits.random_raw(count)
