"""The commands in README and docs are accepted; links lead somewhere."""

import functools
import importlib.util
import re
import shlex
import types

import helpers
import pytest

from deblur_jax.app import cli
from deblur_jax.pretrained import cards
from deblur_jax.training import train
from experiments import config_flag, grids, published_results, run_kinds

DOCS = helpers.ROOT / 'docs'
PAGES = [*helpers.ROOT.glob('*.md'), *sorted(DOCS.rglob('*.md'))]
# Relative ones, not web addresses.
_LINK = re.compile(r'\]\(([^)\s:]+)\)')
_FENCED = re.compile(r'^```.*?^```', re.M | re.S)


def commands():
  """(line, its words) of each command in the code blocks of the pages."""
  for page in PAGES:
    for block in re.findall(
        r'^```\w*\n(.*?)^```', page.read_text('utf-8'), re.M | re.S):
      variables = dict(re.findall(r'\b([A-Z])="([^"]*)"', block))
      for line in block.replace('\\\n', ' ').splitlines():
        for name, value in variables.items():
          line = line.replace(f'${name} ', f'{value} ')
        if re.match(r'deblur |.*-m experiments\.\w', line):
          yield line.split('  #')[0], shlex.split(line, comments=True)


def flags_of(words, name):
  """The values of --NAME=VALUE, and of --NAME VALUE."""
  for word, after in zip(words, [*words[1:], ''], strict=True):
    if word == f'--{name}':
      yield after
    elif word.startswith(f'--{name}='):
      yield word.partition('=')[2]


EXPERIMENTS = {line: words for line, words in commands()
               if '-m experiments.' in line}
DEBLUR = {line: words for line, words in commands() if words[0] == 'deblur'}


def test_there_are_commands():
  assert len(EXPERIMENTS) > 30 and len(DEBLUR) > 10


@pytest.mark.parametrize('line', DEBLUR)
def test_deblur_has_the_command_and_its_options(line, capsys):
  words = [word for word in DEBLUR[line][1:] if word not in '<>']
  with pytest.raises(SystemExit) as ended:
    cli.main([*words, '--help'])     # options are parsed before it prints
  assert not ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize('line', [
    line for line, words in EXPERIMENTS.items()
    if re.search(r'--(config|name|task)\b', line)])
def test_configs_take_their_overrides(line, monkeypatch, tmp_path):
  monkeypatch.chdir(helpers.ROOT)
  words = EXPERIMENTS[line]
  program, = re.findall(r'-m experiments\.(\w+)', line)
  name, config, task = (next(flags_of(words, flag), None)
                        for flag in ('name', 'config', 'task'))
  pairs = [word.removeprefix('--config.').partition('=')
           for word in words if word.startswith('--config.')]
  overrides = {key: config_flag.literal(text) for key, _, text in pairs}
  if program == 'ablate':
    grid = grids.choose(
        name, config, list(flags_of(words, 'set')), task=task)
    if not task:
      assert run_kinds.expand(grid, tmp_path)
  elif config or task:
    config = config or f'configs/prior_{task}.py'
    resolved = config_flag.resolve(config, overrides)
    assert config_flag.resolve(f'{config.partition(":")[0]}:debug')
    if program == 'train':
      train.check(resolved)


@functools.cache
def anchors(page):
  """The anchors of a page's headings, as MkDocs and GitHub make them."""
  text = _FENCED.sub('', page.read_text('utf-8'))
  for name in re.findall(r'--8<-- "(.*?)"', text):
    text += (helpers.ROOT / name).read_text('utf-8')
  return {re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-')
          for title in re.findall(r'^#+ (.*)$', text, re.M)}


@pytest.mark.parametrize(
    'page', PAGES, ids=lambda page: str(page.relative_to(helpers.ROOT)))
def test_links_lead_to_files_and_headings(page):
  generated = {DOCS / 'models.md': set(cards.names())}
  for link in _LINK.findall(_FENCED.sub('', page.read_text('utf-8'))):
    name, _, anchor = link.partition('#')
    target = (page.parent / name).resolve() if name else page
    assert target.exists(), link
    assert not anchor or anchor in anchors(target) | generated.get(
        target, set()), link


def test_every_page_is_in_the_menu():
  menu = (helpers.ROOT / 'mkdocs.yml').read_text('utf-8')
  for page in DOCS.rglob('*.md'):
    name = re.escape(str(page.relative_to(DOCS)))
    assert len(re.findall(rf'^ +- (?:\w+: )?{name}$', menu, re.M)) == 1, page


@pytest.mark.parametrize('page', ['README.md', 'README.zh.md'])
def test_the_table_of_models_is_that_of_the_cards(page):
  rows = re.findall(r'^\| `(.*?)` \| ([\d,]+) \| ([\d.]+) → ([\d.]+) dB \| '
                    r'\+([\d.]+) \| ([\d.]+) s \|$',
                    (helpers.ROOT / page).read_text('utf-8'), re.M)
  assert {name for name, *_ in rows} == {*cards.names()}
  for name, *numbers in rows:
    card = cards.card(name)
    score = card['scores']['GoPro test, 2 frames']
    before, after = (score[side]['psnr_uint8'] for side in ('input', 'mean'))
    assert numbers == [
        f'{card["parameters"]:,}', f'{before:.2f}', f'{after:.2f}',
        f'{after - before:.2f}', f'{card["seconds_720p"]:.1f}']


def loaded(name):
  """A module of docs/, which is no package."""
  spec = importlib.util.spec_from_file_location(name, DOCS / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_pages_show_what_their_marks_name():
  hooks = loaded('hooks')
  shown = {str(page.relative_to(DOCS)): hooks.on_page_markdown(
      page.read_text('utf-8')) for page in DOCS.rglob('*.md')}
  assert not [name for name, text in shown.items() if '{{ ' in text]
  text = '\n'.join(shown.values())
  for name, grid in grids.GRIDS.items():
    assert f'| `{name}` | ' in shown['reports.md'] and all(
        f'`{key}`' in shown['reports.md'] for key in grid.set)
  assert '| `conv.py` | ' in shown['map.md']
  for table in vars(published_results).values():
    if isinstance(table, dict) and 'rows' in table:
      assert table['source'] in text
  for name in cards.names():
    card = cards.card(name)
    assert card['sha256'] in text and card['licence'] in text
    for score in card['scores'].values():
      assert f'| {score["mean"]["psnr_uint8"]:.2f} |' in shown['models.md']
  with pytest.raises(KeyError):
    hooks.on_page_markdown('{{ nothing }}')


@pytest.mark.parametrize('html, other', [
    ('<script src="https://x.org/a.js">', True), ('<img src=//x.org/a>', True),
    ('<link href="https://x.org/a.css" rel="stylesheet">', True),
    ('<script src="a.js"><a href="https://x.org">', False)])
def test_a_page_asks_no_other_host(html, other):
  page = types.SimpleNamespace(file=types.SimpleNamespace(src_path='a.md'))
  if other:
    with pytest.raises(Exception, match='a.md asks another host'):
      loaded('hooks').on_post_page(html, page=page)
  else:
    assert loaded('hooks').on_post_page(html, page=page) is None


def test_equations_of_docstrings_become_blocks():
  text = 'Fits.\n\n  min l(x)\n\n    + w\n\nArgs:\n  x: of l.\n'
  assert loaded('equations').with_blocks(text) == (
      'Fits.\n\n```text\n  min l(x)\n\n    + w\n```\n\n'
      'Args:\n  x: of l.\n')


def test_every_package_has_a_page_of_its_api():
  packages = {path.parent.name for path in helpers.ROOT.glob(
      'deblur_jax/*/__init__.py')}
  assert {page.stem for page in (DOCS / 'api').glob('*.md')} == {
      *packages, 'index'}
