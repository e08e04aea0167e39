"""One table of many runs, with differences, curves, costs and pictures.

The table shows what is in the folders of the runs and keeps their order. Runs
that are not finished are listed below it.

Metrics without reference have a marked column and the values of the sharp
pictures beside them, and decide nothing: a deconvolution that rings has three
times the Laplacian variance of the ground truth and less of Crete's blur, so
"sharper is better" ranks the worst result first. The gain is in dB of
`psnr_uint8`.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from deblur_jax.evaluation.report import (
    conditions,
    content,
    differences,
    document,
    figures,
    page,
    pictures,
    render,
    rows,
    runs,
)
from deblur_jax.ops import atomic_files

_FIGURES = {
    'curves.png': 'Training',
    'costs.png': 'PSNR against multiplications and time',
    'sheet.png': 'Test pictures'}


class Report(NamedTuple):
  """A report that was written.

  Attributes:
    markdown: the table alone.
    rows: of `rows.build`.
    files: the files that were written.
    unfinished: lines about the runs that are not in the table.
    differences: sentences about the differences between settings.
    warning: why the rows are not comparable; '' if they are.
  """

  markdown: str
  rows: list[dict[str, Any]]
  files: list[pathlib.Path]
  unfinished: list[str]
  differences: list[str]
  warning: str


def write(
    folder: pathlib.Path, *, keys: Sequence[str] | None = None, count: int = 4
) -> Report:
  """Writes the files of a report into a folder of runs.

  report.md, report.html and report.tex have the tables, report.csv all numbers
  of the settings and differences.csv those of their differences. Figures are
  curves.png, costs.png and sheet.png, the latter two only if all settings were
  tested on the same pictures. report.html has all of it in one file.

  Args:
    folder: folder of the runs, see `runs.read_study`.
    keys: the settings that make a row, dotted; by default all that differ.
    count: how many test pictures the sheet and the slider show.

  Returns:
    The report.

  Raises:
    UserError: no runs, keys that do not fit, a file that cannot be written.
  """
  folder = pathlib.Path(folder)
  study = runs.read_study(folder, keys=keys)
  table = rows.build(study)
  compared = differences.compare(study)
  warning = content.warning(study)
  shown = [] if warning else pictures.read(study, count)
  drawn = {
      'costs.png': None if warning else figures.costs(_points(study, table)),
      'curves.png': figures.curves(
          {label: [run.metrics for run in group]
           for label, group in runs.group(study).items()},
          loss=conditions.losses_are_comparable(study)),
      'sheet.png': figures.sheet(shown) if shown else None}
  blocks = content.blocks(study, table, compared, {
      name: text for name, text in _FIGURES.items() if drawn[name]})
  embedded = {block.path: drawn.get(block.path)
              or (folder / block.path).read_bytes()
              for block in blocks if isinstance(block, document.Picture)}
  contents = drawn | {
      'report.md': document.to_markdown(blocks, title=study.name),
      'report.html': page.to_html(study.name, blocks, embedded, shown),
      'report.tex': content.latex(study, table, compared),
      'report.csv': render.to_csv(table),
      'differences.csv': render.to_csv(
          [content.numbers(one) for one in compared]) if compared else None}
  files = [folder / name for name, content in contents.items() if content]
  for name, data in contents.items():
    if data is None:      # an earlier report had it
      atomic_files.delete(folder / name)
    else:
      atomic_files.write(folder / name, data)
  return Report(
      render.to_markdown(table), table, files, content.unfinished(study),
      list(map(differences.sentence, compared)), warning)


def describe(report: Report) -> str:
  """The text for a terminal: table, differences, unfinished runs, files.

  Args:
    report: of `write`.

  Returns:
    Several lines.
  """
  parts = [report.warning, report.markdown.rstrip(),
           '\n'.join(report.differences), '\n'.join(report.unfinished),
           '\n'.join(['Written:', *map(str, report.files)])]
  return '\n\n'.join(filter(None, parts))


def _points(study, table) -> list[figures.Point]:
  """The settings with a PSNR; their times if they are of one device."""
  devices = {run.eval.get('device') for run in study.runs
             if runs.is_finished(run)}
  return [figures.Point(
      row['setting'], row[rows.PSNR], row[f'{rows.PSNR}_std'],
      row['gmacs_256'], 1e3 * row['seconds'] if len(devices) == 1 else None)
      for row in table if row['seeds'] and math.isfinite(row[rows.PSNR])]
