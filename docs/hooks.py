"""MkDocs hook: pages get numbers and texts from the code when they are built.

A page names what it shows on a line of its own:

  {{ models }}                the bundled models and their scores, a table
  {{ cards }}                 all model cards
  {{ published: NAME }}       a table of experiments/published_results.py
  {{ configs }}               the docstrings of configs/*.py
  {{ files: FOLDER }}         its files, with the first line of each docstring
  {{ fits }}                  fits at the papers' sizes, docs/fits.json
  {{ gallery }}               the pictures of docs/gallery
  {{ metrics }}               the records of all metrics
  {{ plans }}                 trainings on pods, docs/plans.json
  {{ grids }}                 the named ablations of experiments/grids.py

So a number stands once: in a card, or in that file. A page that would ask
another host for something ends the build.
"""

import ast
import collections
import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from deblur_jax.pretrained import cards

ROOT = pathlib.Path(__file__).resolve().parents[1]
_OTHER_HOST = re.compile(
    r'<(?:script|img|iframe|source)\b[^>]*\bsrc="?(?:https?:)?//'
    r'|<link\b(?=[^>]*\brel="?(?:stylesheet|preconnect|icon))'
    r'[^>]*\bhref="?(?:https?:)?//')
_MARK = re.compile(r'^\{\{ (\w+)(?:: (\w+))? \}\}$', re.M)


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
  """Replaces the marks of a page.

  Args:
    markdown: of the page.
    **kwargs: of MkDocs, not used.

  Raises:
    KeyError: an unknown mark.
  """
  del kwargs
  return _MARK.sub(
      lambda found: MARKS[found[1]](*filter(None, [found[2]])), markdown)


def on_post_page(output: str, *, page: Any, **kwargs: Any) -> None:
  """Refuses a page that asks another host for scripts, styles or pictures.

  Args:
    output: the HTML.
    page: of MkDocs.
    **kwargs: of MkDocs, not used.

  Raises:
    PluginError: the page would do so.
  """
  del kwargs
  if found := _OTHER_HOST.search(output):
    from mkdocs import exceptions

    raise exceptions.PluginError(
        f'{page.file.src_path} asks another host: {found[0]}')


def models() -> str:
  """The scores of all cards: a column for each model."""
  of_name = {name: cards.card(name) for name in cards.names()}
  scores = {name: card.get('scores', {}) for name, card in of_name.items()}
  inputs = {title: score['input']['psnr_uint8']
            for found in scores.values() for title, score in found.items()}
  rows = [
      ['parameters', '', *(
          f'{card["parameters"]:,}' for card in of_name.values())],
      ['seconds at 1280x720', '', *(
          _number(card.get('seconds_720p'), 1) for card in of_name.values())]]
  for title, of_input in inputs.items():
    rows.append([title, _number(of_input), *(
        _number(found[title]['mean']['psnr_uint8']) if title in found else '–'
        for found in scores.values())])
  return table(['', 'the blurred picture', *(
      f'[`{name}`](models.md#{name})' for name in of_name)], rows)


def all_cards() -> str:
  """A section for each bundled model."""
  return '\n\n'.join(
      _card(name, cards.card(name)) for name in cards.names())


def published(name: str) -> str:
  """A table of experiments/published_results.py, with its conventions."""
  from experiments import published_results

  one = getattr(published_results, name)
  keys = list(one['columns'])
  rows = [[_row_label(row), *(
      _number(row.get(key), one['digits'][key]) for key in keys)]
      for row in one['rows']]
  words = [f'{one["source"]}. Test set: {one["test"]}.',
           table(['', *keys], rows),
           '\n'.join(f'- `{key}`: {text}' for key, text in
                     one['columns'].items())]
  return '\n\n'.join([*words, *one['notes']])


def configs() -> str:
  """The docstring of each config."""
  parts = []
  for path in sorted((ROOT / 'configs').glob('*.py')):
    if path.stem in ('__init__', 'common'):
      continue
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
    first, _, rest = text.partition('\n')
    parts += [f'## {path.stem}', f'**{first}**', f'```text\n{rest.strip()}\n```'
              if rest.strip() else '']
  return '\n\n'.join(parts)


def files(folder: str) -> str:
  """A table for each folder: its files and the first lines of docstrings."""
  parts = []
  for path in sorted({file.parent for file in (ROOT / folder).rglob('*.py')}):
    found = {file.name: ast.get_docstring(ast.parse(
        file.read_text(encoding='utf-8'))) for file in path.glob('*.py')}
    first = (found.pop('__init__.py', '') or '').partition('\n')[0]
    rows = [[f'`{name}`', text.partition('\n')[0].replace('|', '\\|')]
            for name, text in sorted(found.items())]
    parts += [f'### {path.relative_to(ROOT)}', first,
              table(['file', ''], rows, words=True) if rows else '']
  return '\n\n'.join(parts)


def named_grids() -> str:
  """The named ablations: config, keys and values."""
  from experiments import grids

  rows = []
  for name, grid in grids.GRIDS.items():
    values = '; '.join(
        f'`{key}`: {", ".join(map(str, of_key))}'
        for key, of_key in grid.set.items())
    config = f'`{grid.config.removeprefix("configs/")}`' if grid.config else (
        'of the task')
    rows.append([f'`{name}`', config, values.replace('|', '\\|')])
  return table(['`--name=`', 'config', 'keys and values'], rows, words=True)


def fits() -> str:
  """Fits of priors beside the papers' numbers, and their commands."""
  done = json.loads((ROOT / 'docs/fits.json').read_text('utf-8'))
  commands = list(dict.fromkeys(row['command'] for row in done))
  rows = [_fit(row, f' ({commands.index(row["command"]) + 1})') for row in done]
  listed = '\n'.join(
      f'({number}) {text}' for number, text in enumerate(commands, 1))
  return '\n\n'.join([
      table(['picture', 'input', 'classical', 'ours', 'ours, last output',
             'ours, best output', "the paper's", 'steps', 's a step', 'machine',
             'date'], [*rows, *_means(done), *_not_fitted(done)]),
      f'```text\n{listed}\n```'])


def _paper(row):
  """What the paper says of the picture of a row of docs/fits.json."""
  from experiments import published_pictures

  return published_pictures.PICTURES[row['task']][row['picture']]


def _psnr_cells(psnr, result, oracle, paper):
  """The six columns in dB: numbers, or None."""
  return [_number(one) for one in (
      psnr.get('input'), psnr.get('classical'), result, psnr.get('last'),
      oracle, paper)]


def _fit(row, number):
  """A row of the table."""
  paper, psnr = _paper(row), row['psnr']
  oracle = (row['oracle'] or {}).get('psnr', {}).get('psnr')
  return [
      f'{paper.label}, {_size(paper)}{number}',
      *_psnr_cells(psnr, psnr[row['result']], oracle, paper.psnr),
      f'{row["steps"]:,}', _number(row['seconds_per_step']), row['machine'],
      row['date']]


def _means(done):
  """A row for each task whose pictures are all fitted."""
  from experiments import published_pictures

  for task, pictures in published_pictures.PICTURES.items():
    rows = [row for row in done if row['task'] == task]
    if len(rows) == len(pictures) > 1:
      mean = lambda values: sum(values) / len(values)
      psnr = {key: mean([row['psnr'][key] for row in rows])
              for key in ('input', 'classical', 'last')
              if all(row['psnr'].get(key) for row in rows)}
      ours = mean([row['psnr'][row['result']] for row in rows])
      yield [f'the mean of these {len(rows)} (`--task={task}`)', *_psnr_cells(
          psnr, ours, None, mean([one.psnr for one in pictures.values()])),
          *[''] * 4]


def _not_fitted(done):
  """Rows of pictures without a fit, with the hours that they need at least.

  The hours are those of the quickest fit: of the same task if there is one.
  """
  from experiments import published_pictures

  for task, pictures in published_pictures.PICTURES.items():
    fitted = [row for row in done if row['task'] == task]
    pace = min(row['seconds_per_step'] / math.prod(_paper(row).size)
               for row in fitted or done)    # seconds for a step and a pixel
    left = collections.defaultdict(list)
    names = {row['picture'] for row in fitted}
    for name, paper in pictures.items():
      if name not in names:
        left[paper.size, paper.steps].append(paper)
    for (size, steps), papers in left.items():
      first, *more = papers
      psnr = sorted({_number(paper.psnr) for paper in papers})
      hours = pace * math.prod(size) * steps / 3600
      others = f', and {len(more)} more' if more else ''
      yield [
          f'{first.label}{others}, {_size(first)}', *['–'] * 5,
          ' to '.join(psnr[::len(psnr) - 1 or 1]), f'{steps:,}', '–',
          f'not fitted: at least {hours:.1f} hours of a core'
          + (' each' if more else ''), '']


def _size(paper) -> str:
  return 'x'.join(map(str, reversed(paper.size)))


def all_metrics() -> str:
  """A row for each metric: convention, direction, range, smallest side."""
  from deblur_jax import metrics

  rows = []
  for name, one in metrics.METRICS.items():
    low, high = one.range
    needs = [*one.inputs, *(['weights'] if one.needs_weights else [])]
    rows.append([
        f'`{name}`', one.convention,
        'higher' if one.higher_is_better else 'lower',
        f'{low} to {"∞" if high == math.inf else high}',
        ', '.join(needs) or 'nothing', f'{one.side} px',
        'always' if one.standard else ''])
  return table(
      ['metric', 'convention', 'better', 'range', 'beside the result it needs',
       'least side', 'evaluated'], rows, words=True)


def gallery() -> str:
  """The pictures of the gallery with their PSNR."""
  parts = []
  file = ROOT / 'docs/gallery/gallery.json'
  for row in json.loads(file.read_text('utf-8')):
    before, after = row['psnr']
    words = 'left as it was' if after is None else (
        f'{after} dB after' if before is None else
        f'{before} → {after} dB ({after - before:+.2f})')
    parts.append(f'**{row["title"]}**: {words}\n\n'
                 f'![{row["title"]}](gallery/{row["name"]}.jpg)')
  return '\n\n'.join(parts)


def plans() -> str:
  """The largest batches on several topologies, and what they cost."""
  rows = [[
      row['label'], row['topology'], f'{row["batch"]:,}',
      f'{row["memory"] / 1e9:.1f} of {row["memory_of_chip"] / 1e9:.0f}',
      f'{row["flops"] / 1e12:.1f}', f'{1e3 * row["seconds"]:.0f}',
      f'{row["share_of_peak"]:.0%}', row['bound'],
      f'{row["hours"]:,.2f}', f'{row["chip_hours"]:,.1f}',
      row['made_by'] + (f', {row["made_in_seconds"]:.0f} s'
                        if row['made_by'] == 'compiling' else '')]
          for row in json.loads((ROOT / 'docs/plans.json').read_text('utf-8'))]
  return table(['training', 'chips', 'batch', 'GB a chip', 'TFLOP a chip',
                'ms a step', 'of peak', 'bound by', 'hours', 'chip-hours',
                'by'], rows)


MARKS = {'fits': fits, 'plans': plans, 'gallery': gallery,
         'metrics': all_metrics,
         'models': models, 'cards': all_cards, 'published': published,
         'configs': configs, 'files': files, 'grids': named_grids}


def table(
    head: list[str], rows: list[list[str]], *, words: bool = False) -> str:
  """A Markdown table; the columns behind the first are numbers, or words."""
  marks = [':--', *[':--' if words else '--:'] * (len(head) - 1)]
  return '\n'.join(
      f'| {" | ".join(cells)} |' for cells in (head, marks, *rows))


def _card(name: str, card: Mapping[str, Any]) -> str:
  trained = ', '.join(
      text if steps is None else f'{text}: {steps:,} steps'
      if isinstance(steps, int) else f'{text}: {steps}'
      for text, steps in card['trained'].items())
  options = ', '.join(f'{key}={value}' for key, value in card['net'].items())
  facts = [
      ('network', f'`{options}`'), ('parameters', f'{card["parameters"]:,}'),
      ('weights', f'`{card["weights"]}`, SHA-256 `{card["sha256"]}`'),
      ('licence', card['licence']), ('trained', trained),
      *(('training pictures', f'{source["name"]}: {source["terms"]}')
        for source in card['sources'])]
  if 'seconds_720p' in card:
    facts.append(('time of a 1280x720 picture, warm',
                  f'{card["seconds_720p"]} s, {card["timed_on"]}'))
  if 'blur_threshold' in card:
    facts.append(('blur effect below which a photo counts as sharp',
                  f'{card["blur_threshold"]}'))
  rows = [[title, f'{score["pictures"]}',
           _number(score['input']['psnr_uint8']),
           _number(score['mean']['psnr_uint8']),
           _number(score['input']['ssim_matlab3d'], 4),
           _number(score['mean']['ssim_matlab3d'], 4),
           _number(score['least_gain'])]
          for title, score in card.get('scores', {}).items()]
  scores = table(
      ['test set', 'pictures', 'PSNR, input', 'PSNR, restored', 'SSIM, input',
       'SSIM, restored', 'least gain, dB'], rows) if rows else ''
  facts = '\n'.join(f'- {key}: {value}' for key, value in facts)
  return '\n\n'.join([f'## {name}', card['summary'], facts, scores])


def _row_label(row: Mapping[str, Any]) -> str:
  return row.get('label') or ', '.join(
      f'{key.rpartition(".")[2]}={value}'
      for key, value in row['settings'].items())


def _number(value: float | None, digits: int = 2) -> str:
  return '–' if value is None else f'{value:.{digits}f}'
