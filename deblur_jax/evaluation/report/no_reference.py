"""The part of a report for photos without sharp originals."""

import json
import os

from deblur_jax.evaluation.report import render, runs
from deblur_jax.evaluation.report.runs import Run, Study


def section(study: Study) -> str:
  """A table for each folder of photos, and the sheets of pictures.

  The untouched photos are the first row. Runs that differ in their seeds alone
  have one row each, without a mean, because the pictures below are of one run.

  Args:
    study: the runs, see `runs.read_study`.

  Returns:
    Markdown; '' if no run has a no_reference.json.
  """
  groups = {}
  for label, members in runs.group(study).items():
    for run in members:
      if run.no_reference:
        title = label if len(members) == 1 else f'{label} {run.folder.name}'
        groups.setdefault(_conditions(run), []).append((title, run))
  parts = [_table(titled) for titled in groups.values()]
  if parts:
    parts.insert(0, '## On photos without sharp originals')
  parts += [f'![{title}]({os.path.relpath(sheet, study.folder)})'
            for titled in groups.values() for title, run in titled
            if (sheet := run.folder / 'no_reference.png').exists()]
  return '\n\n'.join(parts)


def _conditions(run: Run) -> str:
  """What must be the same in runs whose numbers are compared."""
  found = run.no_reference
  return json.dumps([found['photos'], found['kernels'], len(found['rows']),
                     list(found['mean'])])


def _table(titled: list[tuple[str, Run]]) -> str:
  first = titled[0][1].no_reference
  lines = [('input', first['input'])]
  lines += [(title, run.no_reference['mean']) for title, run in titled]
  table = render.table(
      ['setting', *first['mean']],
      [[title, *(render.number(value, 4) for value in means.values())]
       for title, means in lines])
  source = ('predicted by the run' if first['kernels'] == 'run'
            else 'estimated classically')
  return (f'{len(first["rows"])} photos of {first["photos"]}; the kernels of '
          f'`reblur` were {source}. No single number decides: look at the '
          f'pictures.\n\n{table.rstrip()}')
