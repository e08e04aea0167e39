"""Checks of a set of pictures.

Training calls `headers` and then `pixels` before it starts. `full` decodes
everything; `python -m experiments.verify_data` prints its report. Beside plain
faults (missing, corrupt, unequal, too small) the pixels show three more:

  swapped    the 'blur' picture is the sharper one: by the energy of the
             Laplacian after a light smoothing, without the borders, which
             synthetic blur often leaves dark
  identical  blur and sharp are the same picture
  subset     linear averages keep a region's mean; averages at gamma 2.2,
             (mean s^2.2)^(1/2.2), raise it by (2.2 - 1) / 2 = 0.6 times the
             lost variance over the mean (second-order expansion)
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.data import parallel_map, prepared, sampler, sources
from deblur_jax.data.sources import Problem

PSNR = (15.0, 45.0)         # usual range of blurred pictures, dB
BLOCK = 32                  # side of a region for the subset, pixels
ENOUGH = 300                # regions that an estimate of the subset needs
SLOPES = {'blur': (-math.inf, 0.4), 'blur_gamma': (0.25, math.inf)}


class Measurement(NamedTuple):
  """The measurements of one pair.

  Attributes:
    problems: faults of the pair.
    psnr: of blur against sharp; None without both.
    lost: [regions], lost variance over mean, 0-255 scale.
    raised: [regions], increase of the mean, 0-255 scale.
  """

  problems: list[Problem]
  psnr: float | None
  lost: np.ndarray
  raised: np.ndarray


class Report(NamedTuple):
  """All faults of a source, and what was measured.

  Attributes:
    where: the source.
    pairs: number of pairs.
    problems: all faults.
    psnr: lowest, median, highest; None if none was measured.
    slope: 0 linear, 0.6 gamma 2.2; None with too few regions.
    regions: number of regions in the slope.
  """

  where: str
  pairs: int
  problems: list[Problem]
  psnr: tuple[float, float, float] | None
  slope: float | None
  regions: int


def full(
    source: sources.Source, *, problems: Iterable[Problem] = (),
    crop: int | None = None, workers: int | None = None,
    on_pair: Callable[[int], None] | None = None,
) -> Report:
  """Reads every picture of a source and lists all faults.

  Args:
    source: the source.
    problems: faults that were found when it was opened.
    crop: pictures with a smaller side are listed.
    workers: number of threads; None is one for each core.
    on_pair: called with the number of pairs read so far.
  """
  measured = []
  numbers = range(len(source.names))
  for one in parallel_map.ordered(
      lambda i: _measure(source, i, crop), numbers, workers=workers, ahead=8):
    measured.append(one)
    if on_pair:
      on_pair(len(measured))
  problems = [*problems, *(p for one in measured for p in one.problems)]
  slope, regions = _slope(measured)
  problems += _judge_subset(source, slope, regions)
  psnrs = sorted(one.psnr for one in measured if one.psnr is not None)
  return Report(
      source.where, len(source.names), problems,
      (psnrs[0], psnrs[len(psnrs) // 2], psnrs[-1]) if psnrs else None,
      slope, regions)


def headers(source: sources.Source, *, crop: int | None = None) -> None:
  """Reads the headers of all pictures and decodes none.

  Args:
    source: what to read; one without sizes in headers passes.
    crop: side of the training crops in pixels, if there are any.

  Raises:
    BadPairs: a header is damaged, the pictures of a pair differ in size or are
      smaller than the crop. The message has the command that lists everything.
  """
  problems = [p for i in range(len(source.names))
              for p in _check_headers(source, i, crop)]
  if problems:
    raise sources.BadPairs(problems, source, crop=crop)


def pixels(
    source: sources.Source, *, crop: int | None, pairs: int = 8) -> None:
  """Decodes a few pairs, evenly spaced.

  Args:
    source: what to read.
    crop: side of the training crops in pixels, if there are any.
    pairs: how many to decode.

  Raises:
    BadPairs: a picture is damaged, or most of the pairs are swapped or
      identical, or of another subset than declared. The message has the
      command that lists everything.
  """
  measured = [_measure(source, i, crop) for i in sampler.evenly_spaced(
      range(len(source.names)), pairs)]
  _refuse(source, measured, crop)


def checksums(source: sources.Source) -> None:
  """Compares the prepared sets of a source with their checksums.

  It reads all their bytes.

  Args:
    source: the source; without prepared sets nothing is read.

  Raises:
    UserError: bytes have changed since a set was prepared.
  """
  of_all = (source, *source.parts.values())
  for root in dict.fromkeys(root for one in of_all for root in one.prepared):
    if damaged := prepared.check(root):
      raise errors.UserError(
          f'The bytes of {len(damaged)} pairs in {root} have changed since '
          f'they were prepared, such as {", ".join(damaged[:3])}: delete the '
          'folder and prepare it again.')


def _refuse(source, measured, crop):
  problems = [p for one in measured for p in one.problems]
  plain = [p for p in problems if p.kind in ('corrupt', 'size', 'small')]
  if plain:
    raise sources.BadPairs(plain, source, crop=crop)
  for kind in ('swapped', 'identical'):
    these = [p for p in problems if p.kind == kind]
    if len(these) > len(measured) / 2:
      raise sources.BadPairs(these, source)
  subset = _judge_subset(source, *_slope(measured))
  if subset:
    raise sources.BadPairs(subset, source)


def _measure(source, i, crop) -> Measurement:
  """Reads pair i; an error becomes one of its problems."""
  nothing = np.zeros(0)
  pictures = {}
  problems = (_check_headers(source, i, crop)
              or _guarded(source, i, lambda: pictures.update(source.read(i))))
  if not problems and source.sizes is None:
    sizes = {key: p.shape[:2] for key, p in pictures.items()}
    problems = _check_sizes(source.names[i], sizes, crop)
  pictures = {key: pictures[key] for key in ('blur', 'sharp')
              if key in pictures}
  if problems or len(pictures) < 2:
    return Measurement(problems, None, nothing, nothing)
  psnr = _psnr(pictures)
  problems = _judge_pair(source.names[i], pictures, psnr)
  if any(p.kind != 'psnr' for p in problems):
    return Measurement(problems, psnr, nothing, nothing)
  return Measurement(problems, psnr, *_regions(**pictures))


def _check_headers(source, i, crop) -> list[Problem]:
  if source.sizes is None:
    return []
  return _guarded(source, i, lambda: _check_sizes(
      source.names[i], source.sizes(i), crop))


def _guarded(source, i, fn) -> list[Problem]:
  try:
    return fn() or []
  except errors.UserError as error:
    return [Problem('corrupt', source.names[i], str(error))]


def _check_sizes(name, sizes, crop) -> list[Problem]:
  if len(set(sizes.values())) > 1:
    each = ', '.join(f'{key} {w}x{h}' for key, (h, w) in sizes.items())
    return [Problem('size', name, f'the pictures differ in size: {each}')]
  height, width = next(iter(sizes.values()))
  if crop and min(height, width) < crop:
    return [Problem('small', name, f'{width}x{height} is below crop {crop}')]
  return []


def _judge_pair(name, pictures, psnr) -> list[Problem]:
  if math.isinf(psnr):
    return [Problem('identical', name, 'blur and sharp are the same picture')]
  problems = []
  if not PSNR[0] <= psnr <= PSNR[1]:
    problems.append(Problem(
        'psnr', name, f'blur has {psnr:.1f} dB against sharp, outside '
        f'{PSNR[0]:.0f}-{PSNR[1]:.0f}; are they one scene?'))
  ratio = _sharper(**pictures)
  if ratio > 1.1:
    problems.append(Problem(
        'swapped', name, f'looks swapped: blur has {ratio:.2f} times the '
        'detail of sharp'))
  return problems


def _psnr(pictures) -> float:
  difference = pictures['blur'].astype(np.float32) - pictures['sharp']
  error = float(np.mean(difference * difference))
  return 10 * math.log10(255 ** 2 / error) if error else math.inf


def _sharper(*, blur, sharp) -> float:
  """Ratio of the detail of blur and sharp; 0 where both are nearly flat."""
  trimmed = [_trim(_luma(picture)) for picture in (blur, sharp)]
  if max(picture.std() for picture in trimmed) < 4:  # noise would decide
    return 0.0
  top, bottom = (_detail(picture) for picture in trimmed)
  return top / max(bottom, 1e-6)


def _luma(picture):
  return picture.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])


def _trim(luma):
  height, width = luma.shape
  return luma[height // 16:height - height // 16,
              width // 16:width - width // 16]


def _detail(luma) -> float:
  """Mean square of the 4-neighbour Laplacian after a [1, 2, 1] / 4 filter."""
  for _ in range(2):
    luma = (luma[:-2] + 2 * luma[1:-1] + luma[2:]).T / 4
  laplacian = (4 * luma[1:-1, 1:-1] - luma[2:, 1:-1] - luma[:-2, 1:-1]
               - luma[1:-1, 2:] - luma[1:-1, :-2])
  return float(np.mean(laplacian * laplacian)) if laplacian.size else 0.0


def _regions(*, blur, sharp):
  """(lost, raised) of the regions that lost detail and are not clipped.

  Only of green: the expansion holds for one channel, not for a mixture.
  """
  blur, sharp = _blocks(blur[..., 1]), _blocks(sharp[..., 1])
  mean = sharp.mean(axis=1)
  lost = (sharp.var(axis=1) - blur.var(axis=1)) / np.maximum(mean, 1)
  good = (sharp.max(axis=1, initial=0) < 250) & (mean > 20) & (lost > 1)
  return lost[good], (blur.mean(axis=1) - mean)[good]


def _blocks(channel):
  rows, columns = channel.shape[0] // BLOCK, channel.shape[1] // BLOCK
  channel = channel[:rows * BLOCK, :columns * BLOCK].astype(np.float32)
  return channel.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(
      rows * columns, BLOCK * BLOCK)


def _slope(measured) -> tuple[float | None, int]:
  """(robust slope of raised over lost, number of regions)."""
  lost = np.concatenate([np.zeros(0), *(one.lost for one in measured)])
  raised = np.concatenate([np.zeros(0), *(one.raised for one in measured)])
  if lost.size < ENOUGH:
    return None, lost.size
  slopes = raised / lost
  rank = np.argsort(slopes)
  weight = np.cumsum(lost[rank])   # the median, weighted by the lost variance
  return float(slopes[rank][np.searchsorted(weight, weight[-1] / 2)]), lost.size


def _judge_subset(source, slope, regions) -> list[Problem]:
  declared = source.subset
  if slope is None or declared not in SLOPES:
    return []
  low, high = SLOPES[declared]
  if low <= slope <= high:
    return []
  other = next(name for name in SLOPES if name != declared)
  return [Problem(
      'subset', '', f'declared as {declared!r}, but it looks like {other!r}: '
      f'the slope of brightness over lost variance is {slope:.2f} in {regions} '
      'regions (0 for linear averages, 0.6 at gamma 2.2)')]
