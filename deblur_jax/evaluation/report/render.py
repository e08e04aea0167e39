"""Rows -> text: Markdown, LaTeX and CSV."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from deblur_jax import metrics
from deblur_jax.evaluation.report import rows as rows_lib

Row = dict[str, Any]
# Within about 0.01 dB of psnr_uint8; report.csv has it.
LEFT_OUT = ('psnr_float',)
NOTHING = '–'
MARK = '†'
BLIND_MARK = '‡'     # measured without the sharp picture
_PAPER = 'paper_'
_LATEX = {
    '\\': r'\textbackslash{}', '&': r'\&', '%': r'\%', '$': r'\$', '#': r'\#',
    '_': r'\_', '{': r'\{', '}': r'\}', '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}', '<': r'\textless{}', '>': r'\textgreater{}',
    '²': r'$^2$', '±': r'$\pm$', '∞': r'$\infty$', NOTHING: '--',
    MARK: r'$^\dagger$', BLIND_MARK: r'$^\ddagger$'}


def to_csv(rows: Sequence[Row]) -> str:
  """All columns under their own names, all digits; empty where nothing is."""
  file = io.StringIO()
  writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  return file.getvalue()


def has_paper(rows: Sequence[Row]) -> bool:
  """Whether there are columns of a paper."""
  return any(key.startswith(_PAPER) for key in rows[0])


def to_markdown(rows: Sequence[Row], *, paper: bool = False) -> str:
  """A table: our numbers, or some of ours beside a paper's."""
  head, *body = _lines(rows, paper=paper)
  return table(head, body)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
  """A Markdown table of cells, all but the first column to the right."""
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
  """A table environment; needs \\usepackage{booktabs}."""
  lines = [r'% \usepackage{booktabs}', r'\begin{table}', r'\centering',
           rf'\caption{{{escape(caption)}}}', *_tabular(rows, paper=False)]
  if has_paper(rows):
    lines += ['', r'\bigskip', *_tabular(rows, paper=True)]
  return '\n'.join([*lines, r'\end{table}', ''])


def escape(text: str) -> str:
  """What LaTeX prints as `text`."""
  return ''.join(_LATEX.get(letter, letter) for letter in text)


def heading(name: str) -> str:
  """A metric's name, marked where it does without the sharp picture."""
  return f'{name} {BLIND_MARK}' if metrics.is_no_reference(name) else name


def number(value: float | None, digits: int) -> str:
  """With so many decimals; a dash for None, words for inf and nan."""
  if value is None:
    return NOTHING
  if math.isinf(value):
    return '∞' if value > 0 else '-∞'
  return f'{value:.{digits}f}'


def duration(seconds: float | None) -> str:
  """1.5 -> '1.500 s', 4000 -> '67 min', 40000 -> '11.1 h'."""
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
  return [name for name in rows_lib.metric_names(row) if name not in LEFT_OUT]


def _metric(name):
  def cell(row):
    text = _as_metric(name)
    deviation = row[f'{name}_std']
    spread = '' if deviation is None else f' ± {text(deviation)}'
    return text(row[name]) + spread
  return cell


def _as_metric(name):
  """dB to two digits, all others to four."""
  return lambda value: number(value, 2 if 'psnr' in name else 4)


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
