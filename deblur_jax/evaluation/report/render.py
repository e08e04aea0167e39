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
MARK = '†'
NO_REFERENCE_MARK = '‡'     # of metrics without the sharp picture
_PAPER = 'paper_'
_LATEX = {
    '\\': r'\textbackslash{}', '&': r'\&', '%': r'\%', '$': r'\$', '#': r'\#',
    '_': r'\_', '{': r'\{', '}': r'\}', '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}', '<': r'\textless{}', '>': r'\textgreater{}',
    '²': r'$^2$', '±': r'$\pm$', '∞': r'$\infty$', NOTHING: '--',
    MARK: r'$^\dagger$', NO_REFERENCE_MARK: r'$^\ddagger$'}


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


def has_paper(rows: Sequence[Row]) -> bool:
  """Whether rows have numbers of a paper.

  Args:
    rows: of `rows.build`.

  Returns:
    True if any key is a paper's.
  """
  return any(key.startswith(_PAPER) for key in rows[0])


def to_markdown(rows: Sequence[Row], *, paper: bool = False) -> str:
  """The rows as a Markdown table.

  Args:
    rows: of `rows.build`.
    paper: whether the columns are a paper's numbers and ours beside them.

  Returns:
    The table.
  """
  head, *body = _lines(rows, paper=paper)
  return table(head, body)


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


def to_latex(rows: Sequence[Row], *, caption: str) -> str:
  r"""The rows as a LaTeX table environment; it needs \usepackage{booktabs}.

  Args:
    rows: of `rows.build`.
    caption: plain text.

  Returns:
    The text of the file.
  """
  lines = [r'% \usepackage{booktabs}', r'\begin{table}', r'\centering',
           rf'\caption{{{escape(caption)}}}', *_tabular(rows, paper=False)]
  if has_paper(rows):
    lines += ['', r'\bigskip', *_tabular(rows, paper=True)]
  return '\n'.join([*lines, r'\end{table}', ''])


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


def _tabular(rows, *, paper):
  lines = _lines(rows, paper=paper)
  head, first, *rest = [
      ' & '.join(map(escape, line)) + r' \\' for line in lines]
  return [rf'\begin{{tabular}}{{l{"r" * (len(lines[0]) - 1)}}}', r'\toprule',
          head, r'\midrule', first, r'\midrule', *rest, r'\bottomrule',
          r'\end{tabular}']


def _lines(rows, *, paper):
  """Headings, and a list of cells for each row."""
  columns = (_paper_columns if paper else _columns)(rows[0])
  return [list(columns), *(
      [cell(row) for cell in columns.values()] for row in rows)]


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
      'seeds': _by('seeds', str)}


def _paper_columns(row):
  columns = {'setting': lambda row: row['setting']}
  columns |= {
      f'our {heading(name)}': _metric(name) for name in _metrics(row)}
  columns['our seconds'] = _by('seconds', '{:.3g}'.format)
  for key in (key for key in row if key.startswith(_PAPER)):
    name = key.removeprefix(_PAPER)
    text = '{:.3g}'.format if name == 'seconds' else _as_metric(name)
    columns[f"paper's {name} {MARK}"] = _by(key, text)
  return columns


def _metrics(row):
  return [name for name in rows_lib.metric_names(row)
          if name not in metrics.METRICS or metrics.METRICS[name].in_report]


def _metric(name):
  def cell(row):
    text = _as_metric(name)
    deviation = row[f'{name}_std']
    spread = '' if deviation is None else f' ± {text(deviation)}'
    return text(row[name]) + spread
  return cell


def _as_metric(name):
  """With the digits of its record; 'psnr' of a paper has two."""
  known = metrics.METRICS.get(name)
  digits = known.digits if known else 2 if 'psnr' in name else 4
  return lambda value: number(value, digits)


def _by(key, text):
  def cell(row):
    value = row[key]
    return NOTHING if value is None else text(value)
  return cell


def _signed(value):
  return number(value, 2) if not value else f'{value:+.2f}'.replace('inf', '∞')


def _four_digits(value):
  return number(value, 0 if value >= 1000 else 1 if value >= 100 else
                2 if value >= 10 else 3)
