"""Numbers that papers report, beside ours where the pictures are the same.

The plan of a grid has tables of papers (`experiments.published_results`). Our
numbers stand beside those of a paper only if a run was tested on the same
pictures: in its eval.json, or in any eval_NAME.json of its folder, such as
eval_kohler.json of `experiments.evaluate_folder --kohler`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deblur_jax import metrics
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.evaluation.report.runs import Run, Study

Paper = Mapping[str, Any]


class Row(NamedTuple):
  """A row of a paper's table.

  Attributes:
    label: of its setting, with the label of ours if several fit.
    ours: metric -> the mean of our runs; {} without a comparable run.
    theirs: column -> the paper's number.
  """

  label: str
  ours: dict[str, float]
  theirs: dict[str, float]


def read(study: Study) -> list[tuple[Paper, list[Row]]]:
  """The tables of papers in the plan of a study, with our numbers.

  Args:
    study: of `runs.read_study`.

  Returns:
    Each paper's table and its rows.
  """
  groups = runs_lib.group(study)
  return [(paper, rows(paper, groups))
          for paper in study.plan.get('papers', ())]


def rows(
    paper: Paper, groups: Mapping[str, Sequence[Run]] | None = None
) -> list[Row]:
  """The rows of a paper's table, with our numbers.

  Args:
    paper: see `experiments.published_results`.
    groups: label of a setting of ours -> its runs.

  Returns:
    The rows; several settings of ours that fit one of them have a row each.
  """
  return [found for row in paper['rows']
          for found in _rows(paper, row, groups or {})]


def columns(study: Study, group: list[Run]) -> dict[str, Any]:
  """The papers' numbers for a setting, for a file of numbers.

  Args:
    study: of `runs.read_study`.
    group: the runs of the setting.

  Returns:
    'paper_NAME_COLUMN' -> number, None for a setting that the paper lacks.
  """
  found = {}
  for paper in study.plan.get('papers', ()):
    same = [row for row in paper['rows'] if 'settings' in row and group
            and _has(group[0], row['settings'])]
    row = same[0] if same else {}
    found |= {f'paper_{paper["name"]}_{key}': row.get(key)
              for key in paper['columns']}
  return found


def _has(run: Run, settings: Mapping[str, Any]) -> bool:
  return all(any(
      json.dumps(runs_lib.value(run, name)) == json.dumps(wanted)
      for name in runs_lib.full_keys(run, key))
      for key, wanted in settings.items())


def _rows(paper, row, groups) -> list[Row]:
  """A row of the paper, for each setting of ours that is comparable."""
  theirs = {key: row[key] for key in paper['columns'] if key in row}
  name = row.get('label') or runs_lib.label(row['settings'], separator=', ')
  ours = {}
  for label, group in groups.items():
    done = list(filter(runs_lib.is_finished, group))
    if 'settings' in row and done and _has(done[0], row['settings']):
      ours[label] = _means(paper, done)
  ours = {label: means for label, means in ours.items() if means}
  if len(ours) < 2:
    return [Row(name, next(iter(ours.values()), {}), theirs)]
  return [Row(f'{name}: {label}', means, theirs)
          for label, means in ours.items()]


def _means(paper, runs) -> dict[str, float]:
  """Metric -> mean over the runs, by the first evaluation that fits in all."""
  names = ['eval', *dict.fromkeys(name for run in runs for name in run.evals)]
  for name in names:
    found = [run.eval if name == 'eval' else run.evals.get(name)
             for run in runs]
    if found and all(one and _fits(paper, one) for one in found):
      return {key: sum(one['mean'][key] for one in found) / len(found)
              for key in found[0]['mean'] if key == 'seconds' or (
                  key in metrics.METRICS and metrics.METRICS[key].in_report)}
  return {}


def _fits(paper, evaluation):
  """Whether an evaluation is of the paper's pictures, by its protocol."""
  test = evaluation.get('test', {})
  return (len(evaluation['rows']) == paper['pictures']
          and all(test.get(key) == value
                  for key, value in paper['match'].items())
          and all(name in evaluation['mean'] for name in paper['protocol']))
