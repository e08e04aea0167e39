"""Draws what `no_reference` found on photos without sharp originals."""

import json
import os

from deblur_jax.evaluation.report import render, runs
from deblur_jax.evaluation.report.runs import Run, Study


def section(study: Study) -> str:
  """A table for each folder of photos, and the sheets; '' without any.

  The untouched photos are on top. Runs stand with their seeds: nothing is
  averaged, since the pictures below are of one run each.
  """
  groups = {}
  for label, members in runs.group(study).items():
    for run in members:
      if run.judge:
        title = label if len(members) == 1 else f'{label} {run.folder.name}'
        groups.setdefault(_looked_at(run), []).append((title, run))
  parts = [_table(judged) for judged in groups.values()]
  if parts:
    parts.insert(0, '## On photos of which nobody has the sharp ones')
  parts += [f'![{title}]({os.path.relpath(sheet, study.folder)})'
            for judged in groups.values() for title, run in judged
            if (sheet := run.folder / 'judge.png').exists()]
  return '\n\n'.join(parts)


def _looked_at(run: Run) -> str:
  """What must be the same where numbers are to be compared."""
  judge = run.judge
  return json.dumps([judge['photos'], judge['kernels'], len(judge['rows']),
                     list(judge['mean'])])


def _table(judged: list[tuple[str, Run]]) -> str:
  first = judged[0][1].judge
  lines = [('input', first['input'])]
  lines += [(title, run.judge['mean']) for title, run in judged]
  table = render.table(
      ['setting', *first['mean']],
      [[title, *(render.number(value, 4) for value in means.values())]
       for title, means in lines])
  told = ('told by the run' if first['kernels'] == 'run'
          else 'estimated classically')
  return (f'{len(first["rows"])} photos of {first["photos"]}; for `reblur` the '
          f'kernels were {told}. None of these decides: look at the '
          f'pictures.\n\n{table.rstrip()}')
