"""One table of many runs, as Markdown, LaTeX and CSV, with curves and pictures.

The table shows what is in the folders of the runs and keeps their order. Runs
that are not finished are listed below it.

Metrics without reference have a marked column and the values of the sharp
pictures beside them, and decide nothing: a deconvolution that rings has three
times the Laplacian variance of the ground truth and less of Crete's blur, so
"sharper is better" ranks the worst result first. The gain is in dB of
`psnr_uint8`.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from deblur_jax import metrics
from deblur_jax.data import images, sampler
from deblur_jax.evaluation.report import (
    figures,
    no_reference,
    render,
    rows,
    runs,
)
from deblur_jax.ops import atomic_files


class Report(NamedTuple):
  """A report that was written.

  Attributes:
    markdown: the table alone.
    rows: of `rows.build`.
    files: the files that were written.
    unfinished: runs that are not in the table.
  """

  markdown: str
  rows: list[dict[str, Any]]
  files: list[pathlib.Path]
  unfinished: list[runs.Run]


def write(
    folder: pathlib.Path, *, keys: Sequence[str] | None = None,
    pictures: int = 4
) -> Report:
  """Writes report.md, .tex, .csv, curves.png and sheet.png into `folder`.

  Args:
    folder: folder of the runs, see `runs.read_study`.
    keys: the settings that make a row, dotted; by default all that differ.
    pictures: how many test pictures the sheet shows.

  Returns:
    The report.

  Raises:
    UserError: no runs, keys that do not fit, a file that cannot be written.
  """
  folder = pathlib.Path(folder)
  study = runs.read_study(folder, keys=keys)
  table = rows.build(study)
  markdown = render.to_markdown(table)
  beside = render.has_paper(table)
  paper = render.to_markdown(table, paper=True) if beside else ''
  contents = {
      'curves.png': _curves(study),
      'sheet.png': _sheet(study, pictures)}
  unfinished = [run for run in study.runs if not runs.is_finished(run)]
  contents |= {
      'report.md': _page(study, markdown, paper, unfinished, contents),
      'report.tex': render.to_latex(table, caption=_caption(study)),
      'report.csv': render.to_csv(table)}
  files = [folder / name for name, content in contents.items() if content]
  for name, content in contents.items():
    if content is None:      # an earlier report had it
      atomic_files.delete(folder / name)
    else:
      atomic_files.write(folder / name, content)
  return Report(markdown, table, files, unfinished)


def describe(report: Report) -> str:
  """The text for a terminal: the table, the unfinished runs, the files.

  Args:
    report: of `write`.

  Returns:
    Several lines.
  """
  parts = [report.markdown.rstrip()]
  if report.unfinished:
    parts.append('\n'.join(f'{run.folder.name}: {runs.state(run)}'
                           for run in report.unfinished))
  parts.append('\n'.join(['Written:', *map(str, report.files)]))
  return '\n\n'.join(parts)


def _page(study, markdown, paper, unfinished, contents) -> str:
  """report.md."""
  parts = [f'# {study.name}', '\n'.join(_facts(study)), markdown.rstrip()]
  parts.append('\n'.join(
      f'* `{name}`: {_convention(metric)}.'
      for name, metric in metrics.METRICS.items() if f' {name} ' in markdown))
  if paper:
    parts += ['## Beside the paper', paper.rstrip(),
              '\n'.join(_paper_facts(study))]
  if unfinished:
    parts.append('**Not in the table, because not finished:**')
    parts.append('\n'.join(
        f'* `{run.folder.name}`: {runs.state(run)}' for run in unfinished))
  parts += [f'![{name}]({name})'
            for name in ('curves.png', 'sheet.png') if contents[name]]
  parts.append(no_reference.section(study))
  return '\n\n'.join(part for part in parts if part) + '\n'


def _convention(metric: metrics.Metric) -> str:
  better = 'higher' if metric.higher_is_better else 'lower'
  return metric.convention + (f'; {better} is better' if metric.inputs else '')


def _facts(study) -> list[str]:
  """The config, the test sets and the devices."""
  done = [run for run in study.runs if runs.is_finished(run)]
  facts = []
  if study.plan:
    facts.append(f'Config {study.plan["config"]}.')
  for test in _distinct([_test(run) for run in done]):
    facts.append(f'Tested on {test}.')
  if any(len(group) > 1 for group in runs.group(study).values()):
    facts.append('Mean ± sample standard deviation over seeds.')
  facts += _distinct(
      [text for run in done for text in _no_reference_facts(run)])
  devices = _distinct([_device(run) for run in done])
  if devices:
    facts.append(f'Times and memory on {" and ".join(devices)}.')
  if len(devices) > 1:
    facts.append('Times of different devices are not comparable.')
  return facts


def _no_reference_facts(run) -> list[str]:
  """How to read metrics without reference."""
  of_sharp = run.eval.get('sharp')
  if not of_sharp:
    return []
  values = ', '.join(f'{name} {render.number(value, 4)}'
                     for name, value in of_sharp.items())
  return [f'{render.NO_REFERENCE_MARK} Measured without the sharp picture, '
          'which decides nothing: ringing and noise are sharp too. The sharp '
          f'pictures have {values}.']


def _paper_facts(study) -> list[str]:
  """The source of the paper's numbers, and whether they are comparable."""
  papers = study.plan.get('papers', ())
  return [fact for paper in papers for fact in _facts_of(paper, study)]


def _facts_of(paper, study) -> list[str]:
  facts = [
      f'{render.MARK} The numbers of {paper["source"]}, not ours: '
      f'{paper["test"]}.', '']
  facts += [f"* `paper's {key}`: {text}."
            for key, text in paper['columns'].items()]
  facts += [f'* {note}' for note in paper['notes']]
  done = [run for run in study.runs if runs.is_finished(run)]
  if done and all(_is_test_of(paper, run) for run in done):
    facts.append('* Our runs were tested on the same pictures.')
  else:
    facts.append('* **Not comparable with ours**: our runs were tested on '
                 'other pictures.')
  return facts


def _caption(study) -> str:
  """The facts of report.md on one line."""
  lines = [*_facts(study), *_paper_facts(study)]
  marks = str.maketrans('', '', '*`')
  return ' '.join(line.translate(marks).strip() for line in lines if line)


def _is_test_of(paper, run):
  test = run.eval.get('test', {})
  return (len(run.eval['rows']) == paper['pictures'] and all(
      test.get(key) == value for key, value in paper['match'].items()))


def _test(run):
  options = run.eval['test'] | {
      key: run.eval[key] for key in ('tile', 'ensemble') if run.eval.get(key)}
  listed = ', '.join(
      f'{key} {runs.show(value)}' for key, value in options.items())
  return f'{len(run.eval["rows"])} pictures ({listed})'


def _device(run):
  count = run.summary.get('devices', 1)
  name = run.summary.get('device', 'an unknown device')
  return f'{count} x {name}' if count > 1 else name


def _distinct(things):
  return list(dict.fromkeys(things))


def _curves(study) -> bytes | None:
  return figures.curves({
      label: [run.metrics for run in group]
      for label, group in runs.group(study).items()})


def _sheet(study, count) -> bytes | None:
  """The pictures that all settings have; each setting shows its first seed."""
  first_runs = {}
  for label, group in runs.group(study).items():
    for run in filter(runs.is_finished, group):
      first_runs.setdefault(label, run)
  if not first_runs:
    return None
  names = [row['name'] for row in next(iter(first_runs.values())).eval['rows']]
  names = [name for name in names if all(
      _picture(run, name, 'restored').exists() for run in first_runs.values())]
  if not names:
    return None
  return figures.sheet(
      [_states(name, first_runs)
       for name in sampler.evenly_spaced(names, count)])


def _states(name, first_runs):
  """A test picture: blur, restored by each setting, sharp."""
  first = next(iter(first_runs.values()))
  panels = {f'blur  {_psnr(_row(first, name)["input"])}':
            images.read(_picture(first, name, 'blur'))}
  for label, run in first_runs.items():
    panels[f'{label}  {_psnr(_row(run, name))}'] = images.read(
        _picture(run, name, 'restored'))
  panels['sharp'] = images.read(_picture(first, name, 'sharp'))
  return figures.Picture(name, panels)


def _row(run, name):
  return next(row for row in run.eval['rows'] if row['name'] == name)


def _psnr(row):
  return f'{render.number(row.get(rows.PSNR), 2)} dB'


def _picture(run, name, state):
  name = name.replace('/', '_')
  return run.folder / 'eval_pictures' / f'{name}.{state}.png'




