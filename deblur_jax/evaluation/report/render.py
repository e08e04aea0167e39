"""The rows of a table as text: Markdown, LaTeX and CSV."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from deblur_jax import metrics
from deblur_jax.evaluation.report import rows as rows_lib

Row = dict[str, Any]
NOTHING = '–'
NO_REFERENCE_MARK = '‡'     # of metrics without the sharp picture
_LATEX = {
    '\\': r'\textbackslash{}', '&': r'\&', '%': r'\%', '$': r'\$', '#': r'\#',
    '_': r'\_', '{': r'\{', '}': r'\}', '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}', '<': r'\textless{}', '>': r'\textgreater{}',
    '²': r'$^2$', '±': r'$\pm$', '∞': r'$\infty$', NOTHING: '--', '−': '$-$',
    '†': r'$^\dagger$', NO_REFERENCE_MARK: r'$^\ddagger$'}


def to_csv(rows: Sequence[Row]) -> str:
  """The rows as a CSV file: all columns with all digits, empty for None.

  Args:
    rows: of `rows.build`.

  Returns:
    The text of the file.
  """
  file = io.StringIO()
  writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  return file.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
  """The rows as a Markdown table.

  Args:
    rows: of `rows.build`.

  Returns:
    The table.
  """
  return table(*cells(rows))


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
  """The rows as words.

  Args:
    rows: of `rows.build`.

  Returns:
    Headings, and a list of cells for each row.
  """
  columns = _columns(rows[0])
  return list(columns), [
      [cell(row) for cell in columns.values()] for row in rows]


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
  """A Markdown table; all columns but the first are aligned to the right.

  Args:
    head: headings.
    body: lines of cells, as many as headings.

  Returns:
    The table.
  """
  head, *body = [[cell.replace('|', r'\|') for cell in line]
                 for line in (head, *body)]
  widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
  rule = ['-' * widths[0]] + ['-' * (width - 1) + ':' for width in widths[1:]]

  def line(cells):
    first, *rest = zip(cells, widths, strict=True)
    return '| ' + ' | '.join(
        [first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)]) + ' |'
  return '\n'.join(map(line, (head, rule, *body))) + '\n'


def to_latex(
    head: Sequence[str], body: Sequence[Sequence[str]], *, caption: str,
    rule: bool = False
) -> str:
  r"""A LaTeX table environment; it needs \usepackage{booktabs}.

  Args:
    head: headings.
    body: lines of cells, as many as headings.
    caption: plain text.
    rule: whether a rule follows the first line of the body.

  Returns:
    Several lines.
  """
  head, *body = [' & '.join(map(escape, line)) + r' \\'
                 for line in (head, *body)]
  if rule:
    body.insert(1, r'\midrule')
  columns = 'l' + 'r' * head.count(' & ')
  return '\n'.join([
      r'\begin{table}', r'\centering', rf'\caption{{{escape(caption)}}}',
      rf'\begin{{tabular}}{{{columns}}}', r'\toprule', head, r'\midrule', *body,
      r'\bottomrule', r'\end{tabular}', r'\end{table}', ''])


def escape(text: str) -> str:
  """Escapes the special characters of LaTeX.

  Args:
    text: plain text.

  Returns:
    LaTeX that prints as `text`.
  """
  return ''.join(_LATEX.get(letter, letter) for letter in text)


def heading(name: str) -> str:
  """The heading of a metric's column.

  Args:
    name: of the metric.

  Returns:
    The name, with a mark if the metric needs no sharp picture.
  """
  mark = f' {NO_REFERENCE_MARK}' if metrics.is_no_reference(name) else ''
  return name + mark


def metric_value(name: str, value: float | None) -> str:
  """A value of a metric as text.

  Args:
    name: of the metric, or 'seconds', which have three digits.
    value: the value.

  Returns:
    The number with the digits of the metric's record; a dash for None.
  """
  if name == 'seconds' and value is not None:
    return f'{value:.3g}'
  known = metrics.METRICS.get(name)
  return number(value, known.digits if known else 4)


def number(value: float | None, digits: int) -> str:
  """A number as text.

  Args:
    value: the number.
    digits: decimals.

  Returns:
    The number with its decimals; a dash for None, ∞ for inf, 'nan' for NaN.
  """
  if value is None:
    return NOTHING
  if math.isinf(value):
    return '∞' if value > 0 else '-∞'
  return f'{value:.{digits}f}'


def duration(seconds: float | None) -> str:
  """A duration as text: 1.5 -> '1.500 s', 40000 -> '11.1 h'.

  Args:
    seconds: the duration; None gives a dash.

  Returns:
    The duration in s, min or h.
  """
  if seconds is None or not math.isfinite(seconds):
    return number(seconds, 0)
  for limit, unit, size, digits in (
      (10, 's', 1, 3), (100, 's', 1, 1), (6000, 'min', 60, 1)):
    if seconds < limit:
      return f'{seconds / size:.{digits}f} {unit}'
  return f'{seconds / 3600:.1f} h'


def _columns(row):
  """Heading -> (row -> text)."""
  columns = {'setting': lambda row: row['setting']}
  for name in _metrics(row):
    columns[heading(name)] = _metric(name)
    if name == rows_lib.PSNR:
      columns['gain (dB)'] = _by(rows_lib.GAIN, _signed)
  return columns | {
      'parameters': _by('parameters', '{:,}'.format),
      'GMACs at 256²': _by('gmacs_256', _four_digits),
      'training': _by('train_seconds', duration),
      'step (ms)': _by('step_ms', _four_digits),
      'peak (GiB)': _by('peak_memory_bytes', lambda x: f'{x / 2**30:.2f}'),
      'an image': _by('seconds', duration),
      'seeds': _seeds}


def _metrics(row):
  return [name for name in rows_lib.metric_names(row)
          if name not in metrics.METRICS or metrics.METRICS[name].in_report]


def _metric(name):
  def cell(row):
    text = metric_value(name, row[name])
    deviation = row[f'{name}_std']
    return text if deviation is None else (
        f'{text} ± {metric_value(name, deviation)}')
  return cell


def _by(key, text):
  def cell(row):
    value = row[key]
    return NOTHING if value is None else text(value)
  return cell


def _seeds(row):
  """'3', or '2 of 3' if runs are missing."""
  if row['seeds'] is None:
    return NOTHING
  missing = row['seeds'] < row['seeds_planned']
  return str(row['seeds']) + (
      f' of {row["seeds_planned"]}' if missing else '')


def _signed(value):
  return number(value, 2) if not value else f'{value:+.2f}'.replace('inf', '∞')


def _four_digits(value):
  return number(value, 0 if value >= 1000 else 1 if value >= 100 else
                2 if value >= 10 else 3)
