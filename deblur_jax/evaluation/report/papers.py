"""Numbers that papers report, beside ours where the pictures are the same.

The plan of a grid has tables of papers (`experiments.published_results`). Our
numbers stand beside those of a paper only if a run was tested on the same
pictures: in its eval.json, or in any eval_NAME.json of its folder, such as
eval_kohler.json of `experiments.evaluate_folder --kohler`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deblur_jax import metrics
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.evaluation.report.runs import Run, Study
from deblur_jax.training import workdir

Paper = Mapping[str, Any]
ROLE = 'restorer.'      # any network of a config that has the option


class Row(NamedTuple):
  """A row of a paper's table.

  Attributes:
    label: of its setting.
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
  return [(paper, rows(paper, study.runs))
          for paper in study.plan.get('papers', ())]


def rows(paper: Paper, runs: Sequence[Run] = ()) -> list[Row]:
  """The rows of a paper's table, with our numbers.

  Args:
    paper: see `experiments.published_results`.
    runs: ours.

  Returns:
    The rows.
  """
  return [_row(paper, row, runs) for row in paper['rows']]


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
  """Whether a run has these settings; 'restorer.x' is x of any network."""
  for key, wanted in settings.items():
    names = [key]
    if key.startswith(ROLE):
      option = re.escape(key.removeprefix(ROLE))
      names = [name for name in (*workdir.flatten(run.config), *run.settings)
               if re.fullmatch(rf'nets\.[^.]+\.{option}', name)]
    if not any(json.dumps(runs_lib.value(run, name)) == json.dumps(wanted)
               for name in names):
      return False
  return True


def _row(paper, row, runs) -> Row:
  settings = row.get('settings')
  done = [run for run in runs if settings is not None
          and runs_lib.is_finished(run) and _has(run, settings)]
  return Row(
      row.get('label') or runs_lib.label(settings, separator=', '),
      _means(paper, done),
      {key: row[key] for key in paper['columns'] if key in row})


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
