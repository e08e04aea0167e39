"""The content of a report: the blocks of its page, and its LaTeX tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from deblur_jax import metrics
from deblur_jax.evaluation.report import (
    conditions,
    differences,
    document,
    no_reference,
    papers,
    render,
    runs,
)
from deblur_jax.evaluation.report.runs import Run, Study

MARK = '†'
_IN_CAPTION = ('steps', 'batch', 'crop', 'optimizer', 'loss')


def blocks(
    study: Study, table: Sequence[Mapping[str, Any]],
    compared: Sequence[differences.Difference], pictures: Mapping[str, str]
) -> list[document.Block]:
  """The page of a report.

  Args:
    study: of `runs.read_study`.
    table: of `rows.build`.
    compared: of `differences.compare`.
    pictures: file -> what it shows.

  Returns:
    The blocks of report.md and report.html.
  """
  head, body = render.cells(table)
  parts = [
      document.Bullets(facts(study)),
      document.Table(head, body, rule=True),
      document.Bullets([
          f'`{name}`: {_convention(metric)}.'
          for name, metric in metrics.METRICS.items()
          if any(cell.split(' ')[0] == name for cell in head)]),
      *_differences(study, compared),
      *_conditions(study),
      *_papers(study),
      *_unfinished(study)]
  if 'sheet.png' in pictures:
    parts.append(document.Slider('Two states of a test picture'))
  if pictures:
    parts.append(document.Heading('Figures'))
  for name, text in pictures.items():
    parts.append(document.Picture(name, text))
    if name == 'curves.png' and not conditions.losses_are_comparable(study):
      parts.append(document.Text(
          'The training losses are not drawn: settings with other losses or '
          'numbers of scales are not comparable by them.'))
  return [part for part in parts if any(part)] + no_reference.blocks(study)


def latex(
    study: Study, table: Sequence[Mapping[str, Any]],
    compared: Sequence[differences.Difference]) -> str:
  """The tables of a report.

  Args:
    study: of `runs.read_study`.
    table: of `rows.build`.
    compared: of `differences.compare`.

  Returns:
    The text of report.tex.
  """
  made = conditions.common(conditions.read(study))
  shared = '; '.join(f'{name}: {made[name]}' for name in _IN_CAPTION
                     if name in made)
  head, body = render.cells(table)
  parts = [r'% \usepackage{booktabs}', render.to_latex(
      head, body, rule=True,
      caption=_plain([*facts(study), f'{shared}.' if shared else '']))]
  if compared:
    parts.append(render.to_latex(
        *_difference_cells(compared),
        caption=_plain(differences.notes(study, compared))))
  for paper, rows in papers.read(study):
    parts.append(render.to_latex(
        *_paper_cells(paper, rows), caption=_plain(
            [_source(paper), *_paper_notes(paper, rows)])))
  return '\n'.join(parts)


def facts(study: Study) -> list[str]:
  """What a reader of the table must know: test sets, seeds, devices.

  Args:
    study: of `runs.read_study`.

  Returns:
    Sentences.
  """
  done = [run for run in study.runs if runs.is_finished(run)]
  found = [f'**{warning(study)}**'] if warning(study) else []
  if study.plan:
    found.append(f'Config {study.plan["config"]}.')
  found += [f'Tested on {_test(group[0])}.' for group in runs.by_test(done)]
  groups = runs.group(study).values()
  if any(len(group) > 1 for group in groups):
    found.append('Mean ± sample standard deviation over seeds.')
  if any(sum(map(runs.is_finished, group)) < runs.planned(study, group)
         for group in groups):
    found.append('Runs are missing: the column "seeds" has the finished ones.')
  found += _distinct(
      [text for run in done for text in _no_reference_facts(run)])
  devices = _distinct([
      conditions.devices(run) or 'an unknown device' for run in done])
  if devices:
    found.append(f'Times and memory on {" and ".join(devices)}.')
  if len(devices) > 1:
    found.append('Times of different devices are not comparable.')
  return found


def warning(study: Study) -> str:
  """Why the rows of the table are not comparable.

  Args:
    study: of `runs.read_study`.

  Returns:
    A sentence; '' if they are comparable.
  """
  if differences.same_pictures(differences.finished(study)):
    return ''
  return ('The runs were tested on different pictures: their numbers are not '
          'comparable, and no differences are computed.')


def of_papers(tables: Sequence[papers.Paper]) -> str:
  """Tables of papers alone, in Markdown.

  Args:
    tables: see `experiments.published_results`.

  Returns:
    The text.
  """
  return document.to_markdown(part for paper in tables for part in _paper(
      paper, papers.rows(paper), _conventions(paper)))


def unfinished(study: Study) -> list[str]:
  """The runs that are not in the table, with the reasons.

  Args:
    study: of `runs.read_study`.

  Returns:
    Lines such as '`scales=1`: not started'.
  """
  return [f'`{run.folder.name}`: {runs.state(run)}' for run in study.runs
          if not runs.is_finished(run)]


def numbers(one: differences.Difference) -> dict[str, Any]:
  """A line of differences.csv.

  Args:
    one: of `differences.compare`.

  Returns:
    Column -> value.
  """
  low, high = one.seeds or (None, None)
  return {'first': one.first, 'second': one.second, 'metric': one.metric,
          **one.test._asdict(), 'seeds_low': low, 'seeds_high': high}


def _convention(metric: metrics.Metric) -> str:
  better = 'higher' if metric.higher_is_better else 'lower'
  return metric.convention + (f'; {better} is better' if metric.inputs else '')


def _no_reference_facts(run: Run) -> list[str]:
  """How to read metrics without reference."""
  of_sharp = run.eval.get('sharp')
  if not of_sharp:
    return []
  values = ', '.join(f'{name} {render.number(value, 4)}'
                     for name, value in of_sharp.items())
  return [f'{render.NO_REFERENCE_MARK} Measured without the sharp picture, '
          'which decides nothing: ringing and noise are sharp too. The sharp '
          f'pictures have {values}.']


def _differences(study, compared):
  if not compared:
    return []
  notes = differences.notes(study, compared)
  return [document.Heading('Differences'),
          document.Bullets([differences.sentence(one) for one in compared]),
          document.Table(*_difference_cells(compared)),
          document.Text(' '.join(notes))]


def _difference_cells(compared):
  seeds = any(one.seeds for one in compared)
  head = ['difference', 'metric', 'mean', '95 % interval', 'p', 'higher',
          'lower', *(['seeds'] if seeds else [])]
  body = []
  for first, second, metric, test, between in compared:
    p = differences.p_value(test.p).removeprefix('= ')
    show = lambda ends, metric=metric: render.NOTHING if None in ends else (
        ' to '.join(differences.signed(end, metric) for end in ends))
    body.append([
        f'{first} − {second}', metric, differences.signed(test.mean, metric),
        show((test.low, test.high)), p, str(test.higher), str(test.lower),
        *([show(between or (None,))] if seeds else [])])
  return head, body


def _conditions(study):
  """What was run: once if equal, in a table where the settings differ."""
  made = conditions.read(study)
  if not made:
    return []
  common = conditions.common(made)
  parts = [document.Heading('What was run'), document.Bullets(
      [f'{name}: {text}' for name, text in common.items()])]
  differing = {name: texts for name, texts in made.items()
               if name not in common}
  if differing:
    parts.append(document.Table(
        ['differs', *differing],
        [[label, *(texts.get(label) or render.NOTHING
                   for texts in differing.values())]
         for label in runs.group(study)]))
  return parts


def _papers(study):
  parts = [part for paper, rows in papers.read(study)
           for part in _paper(paper, rows, _paper_notes(paper, rows))]
  return [document.Heading('Beside the papers'), *parts] if parts else []


def _paper(paper, rows, notes):
  return [document.Text(_source(paper)),
          document.Table(*_paper_cells(paper, rows)), document.Bullets(notes)]


def _paper_cells(paper, rows):
  names = _distinct([name for row in rows for name in row.ours])
  head = ['setting', *(f'our {render.heading(name)}' for name in names),
          *(f"paper's {name} {MARK}" for name in paper['columns'])]
  return head, [
      [row.label,
       *(render.metric_value(name, row.ours.get(name)) for name in names),
       *(render.number(row.theirs.get(name), paper['digits'][name])
         for name in paper['columns'])] for row in rows]


def _source(paper) -> str:
  return (f'{MARK} The numbers of {paper["source"]}, not ours: '
          f'{paper["test"]}.')


def _conventions(paper) -> list[str]:
  columns = [f"`paper's {key}`: {text}."
             for key, text in paper['columns'].items()]
  return [*columns, *paper['notes']]


def _paper_notes(paper, rows) -> list[str]:
  return [*_conventions(paper), (
      'Our runs beside them were tested on the same pictures.'
      if any(row.ours for row in rows) else
      '**Not comparable with ours**: none of our runs was tested on these '
      'pictures.')]


def _unfinished(study):
  lines = unfinished(study)
  return [document.Text('**Not in the table, because not finished:**'),
          document.Bullets(lines)] if lines else []


def _plain(lines: Sequence[str]) -> str:
  """Sentences on one line, without marks."""
  marks = str.maketrans('', '', '*`')
  return ' '.join(line.translate(marks).strip() for line in lines if line)


def _test(run: Run) -> str:
  options = run.eval.get('test', {}) | {
      key: run.eval[key] for key in ('tile', 'ensemble') if run.eval.get(key)}
  listed = ', '.join(
      f'{key} {runs.show(value)}' for key, value in options.items())
  return f'{len(run.eval["rows"])} pictures ({listed})'


def _distinct(things):
  return list(dict.fromkeys(things))
