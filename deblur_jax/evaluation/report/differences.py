"""Whether one setting is better than another: intervals and tests.

The settings of a study restored the same pictures, so each picture gives one
difference; with several seeds it is the difference of the means over seeds. The
interval is a percentile bootstrap of the mean of these differences (Efron and
Tibshirani 1993, chapter 13): it holds for other pictures of this kind. It does
not cover other seeds; their spread is given separately.

The frames of a video are not independent. Where the names of pictures have
folders, such as GOPR0384_11_00/000001, whole folders are drawn instead of
pictures (a cluster bootstrap), and the sign test takes the mean of each folder.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from deblur_jax import metrics
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.evaluation.report.runs import Run, Study

COMPARED = ('psnr_uint8', 'ssim_matlab3d')
CONFIDENCE = 0.95
RESAMPLES = 9999
FEW = 10           # units below which a bootstrap is rough
ALL_PAIRS = 4      # settings up to which all pairs are compared


class PairedTest(NamedTuple):
  """The statistics of paired differences.

  Attributes:
    mean: of all pictures.
    low: of the interval; None where there is none.
    high: of the interval.
    p: of the two-sided sign test.
    higher: number of units with a positive difference.
    lower: number of units with a negative one.
    units: number of pictures, or of folders of pictures.
    pictures: number of pictures.
    one_folder: whether all pictures are of one folder, as frames of a video.
  """

  mean: float
  low: float | None
  high: float | None
  p: float
  higher: int
  lower: int
  units: int
  pictures: int
  one_folder: bool = False


class Difference(NamedTuple):
  """A metric of one setting minus that of another.

  Attributes:
    first: label of the setting.
    second: label of the other one.
    metric: a row of `metrics.METRICS`.
    test: of the pictures.
    seeds: (smallest, largest) difference between the mean of a seed of the
      first and that of a seed of the second; None for one seed each.
  """

  first: str
  second: str
  metric: str
  test: PairedTest
  seeds: tuple[float, float] | None


def compare(study: Study) -> list[Difference]:
  """Compares all pairs of up to 4 settings, otherwise each with the best.

  The best has the highest mean of the first metric of COMPARED.

  Args:
    study: of `runs.read_study`.

  Returns:
    The differences, by metric and pair; [] if the settings were tested on
    different pictures, or fewer than two are finished.
  """
  groups = finished(study)
  if len(groups) < 2 or not same_pictures(groups):
    return []
  pairs = list(itertools.combinations(groups, 2))
  if len(groups) > ALL_PAIRS:
    best = max(groups, key=lambda label: _mean_of(groups[label], COMPARED[0]))
    pairs = [(best, label) for label in groups if label != best]
  return [_difference(groups, *pair, metric)
          for metric in COMPARED for pair in pairs if all(
              metric in row for label in pair for run in groups[label]
              for row in run.eval['rows'])]


def finished(study: Study) -> dict[str, list[Run]]:
  """The finished runs of each setting that has any.

  Args:
    study: of `runs.read_study`.

  Returns:
    Label of a setting -> its runs.
  """
  groups = {label: list(filter(runs_lib.is_finished, group))
            for label, group in runs_lib.group(study).items()}
  return {label: group for label, group in groups.items() if group}


def same_pictures(groups: Mapping[str, Sequence[Run]]) -> bool:
  """Whether all runs were tested on the same pictures of one test set.

  Args:
    groups: label of a setting -> finished runs.
  """
  return len(runs_lib.by_test(itertools.chain(*groups.values()))) <= 1


def paired_test(differences: Mapping[str, float]) -> PairedTest:
  """The mean difference, its bootstrap interval and a sign test.

  The draws are the same at each call.

  Args:
    differences: name of a picture -> difference. If the names have more than
      one folder, whole folders are drawn.

  Returns:
    The statistics. One unit, or a difference that is not finite, has no
    interval.
  """
  folders = {}
  for name, value in differences.items():
    folders.setdefault(name.rpartition('/')[0], []).append(value)
  units = list(folders.values())
  if len(folders) == 1:
    units = [[value] for value in differences.values()]
  sums = np.array([math.fsum(unit) for unit in units])
  counts = np.array([len(unit) for unit in units], float)
  mean = float(sums.sum() / counts.sum())
  low, high = _interval(sums, counts)
  higher, lower = int((sums > 0).sum()), int((sums < 0).sum())
  p = stats.binomtest(higher, higher + lower).pvalue if higher + lower else 1.0
  return PairedTest(
      mean, low, high, float(p), higher, lower, len(units),
      len(differences), one_folder=len(folders) == 1 and '' not in folders)


def sentence(difference: Difference) -> str:
  """What a difference shows, in words.

  A setting is better without reserve only if the interval excludes zero, the
  sign test has p < 0.05 in the same direction, each of its seeds is better than
  each of the other's, and not all pictures are of one folder. With fewer than
  six units no sign test has such a p, and a bootstrap of so few is too narrow.

  Args:
    difference: of `compare`.

  Returns:
    One sentence.
  """
  first, second, name, found, seeds = difference
  record = metrics.METRICS[name]
  better, worse = (first, second) if (
      (found.mean > 0) == record.higher_is_better) else (second, first)
  size = f'{abs(found.mean):.{record.digits}f}' + (
      ' dB' if 'psnr' in name else '')
  if found.low is None:
    return (f'{first} and {second} differ by {size} in {name}, without an '
            'interval: it needs two pictures, and finite values.')
  # What rounds to zero is none, however sure it is.
  shown = not found.low <= 0 <= found.high and float(size.split()[0]) > 0
  sign = -1 if shown and found.mean < 0 else 1
  span = lambda ends: ' to '.join(
      signed(end, name) for end in sorted(sign * end for end in ends))
  facts = (f'95 % interval {span((found.low, found.high))}, '
           f'p {p_value(found.p)}')
  facts += f', between seeds {span(seeds)}' if seeds else ', one seed each'
  if not shown:
    return (f'No difference between {first} and {second} can be shown in '
            f'{name} (mean {signed(found.mean, name)}, {facts}).')
  doubts = []
  if found.p >= 1 - CONFIDENCE or (
      (found.higher > found.lower) != (found.mean > 0)):
    doubts.append(f'the sign test over {count(found)} does not confirm it')
  if found.one_folder:
    doubts.append('all pictures are of one folder, perhaps of one video')
  if seeds and seeds[0] <= 0 <= seeds[1]:
    doubts.append('the order of single seeds varies')
  claim = f'{better} is {size} better than {worse} in {name}'
  return (f'{claim} on average ({facts}), but {", and ".join(doubts)}.'
          if doubts else f'{claim} ({facts}).')


def notes(study: Study, differences: Sequence[Difference]) -> list[str]:
  """How to read the differences.

  Args:
    study: of `runs.read_study`.
    differences: of `compare`.

  Returns:
    Sentences; [] without differences.
  """
  if not differences:
    return []
  groups = finished(study)
  found = differences[0].test
  rows = next(iter(groups.values()))[0].eval['rows']
  parts = [
      f'First minus second on the same {found.pictures} pictures: the mean, '
      f'the 95 % interval of a paired bootstrap ({RESAMPLES} draws, '
      'percentiles), and p of a two-sided sign test without ties; not '
      'corrected for the number of comparisons.']
  if found.units < found.pictures:
    parts.append(
        'Pictures of one folder, such as frames of a video, are not '
        'independent: whole folders are drawn, and the sign test counts the '
        f'{found.units} folders.')
  elif '/' in rows[0]['name']:
    parts.append(
        'All pictures are of one folder: if they are frames of one video, the '
        'intervals are too narrow.')
  if found.units < FEW:
    parts.append(f'Of only {count(found)}, the intervals are rough.')
  if not any(one.seeds for one in differences):
    parts.append('Of one seed each: other seeds may change the order.')
  else:
    parts.append(
        'A picture has its mean over the seeds: the interval is for other '
        'pictures, not for other seeds. "Seeds" has the smallest and the '
        'largest difference between one seed of each.')
  return parts


def count(found: PairedTest) -> str:
  """The units of a test: '48 pictures', or '11 folders of pictures'."""
  kind = 'picture' if found.units == found.pictures else 'folder'
  plural = '' if found.units == 1 else 's'
  return f'{found.units} {kind}{plural}' + (
      ' of pictures' if kind == 'folder' else '')


def signed(value: float, metric: str) -> str:
  """A difference with its sign, in the digits of the metric.

  Args:
    value: the difference.
    metric: a row of `metrics.METRICS`.
  """
  text = f'{value:+z.{metrics.METRICS[metric].digits}f}'
  return text.replace('-', '−').replace('inf', '∞')


def p_value(p: float) -> str:
  """'= 0.03', with two digits; '< 0.0001' if it is smaller."""
  return '< 0.0001' if p < 1e-4 else f'= {p:.2g}'


def _difference(groups, first, second, metric):
  means = [_by_picture(groups[label], metric) for label in (first, second)]
  found = paired_test({
      name: _minus(value, means[1][name]) for name, value in means[0].items()})
  between = [
      _minus(*(run.eval['mean'][metric] for run in pair))
      for pair in itertools.product(groups[first], groups[second])]
  seeds = (min(between), max(between)) if len(between) > 1 else None
  return Difference(first, second, metric, found, seeds)


def _by_picture(group, metric):
  """Name of a picture -> its mean over the seeds."""
  values = {}
  for run in group:
    for row in run.eval['rows']:
      values.setdefault(row['name'], []).append(row[metric])
  return {name: statistics.fmean(found) for name, found in values.items()}


def _minus(a, b):
  return 0.0 if a == b else a - b      # inf - inf of perfect pictures


def _mean_of(group, metric):
  return statistics.fmean(run.eval['mean'][metric] for run in group)


def _interval(sums, counts):
  """Of the mean of all pictures, drawn by units."""
  if len(sums) < 2 or not np.isfinite(sums).all():
    return None, None
  interval = stats.bootstrap(
      (sums, counts), lambda s, c, axis: s.sum(axis) / c.sum(axis),
      paired=True, vectorized=True, n_resamples=RESAMPLES, batch=1000,
      confidence_level=CONFIDENCE, method='percentile',
      rng=np.random.default_rng(0)).confidence_interval
  return float(interval.low), float(interval.high)
