"""The part of a report for photos without sharp originals."""

import json
import os

from deblur_jax.evaluation.report import document, render, runs
from deblur_jax.evaluation.report.runs import Run, Study


def blocks(study: Study) -> list[document.Block]:
  """A table for each folder of photos, and the sheets of pictures.

  The untouched photos are the first row. Runs that differ in their seeds alone
  have one row each, without a mean, because the pictures below are of one run.

  Args:
    study: the runs, see `runs.read_study`.

  Returns:
    The blocks; [] if no run has a no_reference.json.
  """
  groups = {}
  for label, members in runs.group(study).items():
    for run in members:
      if run.no_reference:
        title = label if len(members) == 1 else f'{label} {run.folder.name}'
        groups.setdefault(_conditions(run), []).append((title, run))
  parts = [part for titled in groups.values() for part in _table(titled)]
  if parts:
    parts.insert(0, document.Heading('On photos without sharp originals'))
  return parts + [
      document.Picture(os.path.relpath(sheet, study.folder), title)
      for titled in groups.values() for title, run in titled
      if (sheet := run.folder / 'no_reference.png').exists()]


def _conditions(run: Run) -> str:
  """What must be the same in runs whose numbers are compared."""
  found = run.no_reference
  return json.dumps([found['photos'], found['kernels'], len(found['rows']),
                     list(found['mean'])])


def _table(titled: list[tuple[str, Run]]) -> list[document.Block]:
  first = titled[0][1].no_reference
  lines = [('input', first['input'])]
  lines += [(title, run.no_reference['mean']) for title, run in titled]
  source = ('predicted by the run' if first['kernels'] == 'run'
            else 'estimated classically')
  return [
      document.Text(
          f'{len(first["rows"])} photos of {first["photos"]}; the kernels of '
          f'`reblur` were {source}. No single number decides: look at the '
          'pictures.'),
      document.Table(
          ['setting', *first['mean']],
          [[title, *(render.number(value, 4) for value in means.values())]
           for title, means in lines], rule=True)]
