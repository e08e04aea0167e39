"""The rows of a table of runs: dicts of numbers, None for a missing one."""

import math
import statistics
from typing import Any

from deblur_jax.evaluation.report import papers
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.evaluation.report.runs import Run, Study

PSNR = 'psnr_uint8'
GAIN = f'{PSNR}_gain'


def build(study: Study) -> list[dict[str, Any]]:
  """A row for the input, then one for each setting in the order of the study.

  A setting without finished runs has a row too. Settings with several test sets
  have an input row for each of these.

  Args:
    study: of `runs.read_study`.

  Returns:
    Rows with these keys, in this order:
      setting: 'input', or a label such as 'scales=1'.
      the settings themselves, by their dotted keys; '' for the input.
      each metric, and METRIC_std: mean and sample standard deviation over the
        seeds.
      psnr_uint8_gain: dB above the untouched input.
      parameters, gmacs_256, train_seconds, step_ms, peak_memory_bytes.
      seconds: per image.
      seeds: how many runs the row has; seeds_planned: how many it should have.
      paper_NAME_*: the numbers of papers for this setting.
  """
  groups = runs_lib.group(study)
  metrics = _metrics(study.runs)
  rows = _input_rows(groups, study.keys, metrics)
  for label, runs in groups.items():
    settings = {key: runs_lib.value(runs[0], key) for key in study.keys}
    done = [run for run in runs if runs_lib.is_finished(run)]
    rows.append({'setting': label, **settings, **_scores(done, metrics),
                 **_costs(done), 'seeds': len(done),
                 'seeds_planned': runs_lib.planned(study, runs),
                 **papers.columns(study, runs)})
  return [{key: row.get(key) for key in rows[-1]} for row in rows]


def metric_names(row: dict[str, Any]) -> list[str]:
  """The metrics among the keys of a row.

  Args:
    row: of `build`.

  Returns:
    Their names, in the order of the row.
  """
  return [key.removesuffix('_std') for key in row if key.endswith('_std')]


def _metrics(runs: list[Run]) -> list[str]:
  names = {name: None for run in runs for name in run.eval.get('input', ())}
  return list(names) or [PSNR]


def _input_rows(groups, keys, metrics):
  """The untouched blurry pictures of each test set."""
  tests = runs_lib.by_test(run for runs in groups.values() for run in runs
                           if runs_lib.is_finished(run))
  rows = []
  for runs in tests or [[]]:
    label = next((label for label, group in groups.items()
                  if any(run is runs[0] for run in group)), '') if runs else ''
    row = {'setting': f'input of {label}' if len(tests) > 1 else 'input',
           **dict.fromkeys(keys, '')}
    for name in metrics:
      row[name] = _mean([run.eval['input'].get(name) for run in runs])
    row[GAIN] = 0.0 if runs else None
    rows.append(row)
  return rows


def _scores(runs, metrics):
  row = {}
  for name in metrics:
    values = [run.eval['mean'].get(name) for run in runs]
    row[name], row[f'{name}_std'] = _mean(values), _deviation(values)
  gains = [run.eval['mean'][PSNR] - run.eval['input'][PSNR] for run in runs]
  return row | {GAIN: _mean(gains)}


def _costs(runs):
  get = lambda key, scale=1: _mean(
      [_times(run.summary.get(key), scale) for run in runs])
  return {
      'parameters': _round(get('parameters')),
      'gmacs_256': get('macs_256', 1e-9),
      'train_seconds': get('train_seconds'),
      'step_ms': get('step_seconds', 1e3),
      'peak_memory_bytes': _round(get('peak_memory_bytes')),
      'seconds': _mean([run.eval['mean'].get('seconds') for run in runs])}


def _round(value):
  return None if value is None else round(value)


def _times(value, scale):
  return None if value is None else value * scale


def _mean(values):
  """The mean, which may be inf or NaN; None if any value is missing."""
  if not values or None in values:
    return None
  return sum(values) / len(values)


def _deviation(values):
  """The sample standard deviation; None for one value or a value not finite."""
  if len(values) < 2 or None in values or not _finite(values):
    return None
  return statistics.stdev(values)


def _finite(values):
  return all(map(math.isfinite, values))
