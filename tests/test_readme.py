"""The commands in README and docs are accepted as they stand."""

import re
import shlex

import helpers
import pytest

from deblur_jax.app import cli
from deblur_jax.training import train
from experiments import config_flag, grids, run_kinds

PAGES = [helpers.ROOT / 'README.md', helpers.ROOT / 'CONTRIBUTING.md',
         *(helpers.ROOT / 'docs').rglob('*.md')]


def commands():
  """(line, its words) of each command in the code blocks of the pages."""
  for page in PAGES:
    for block in re.findall(
        r'^```\w*\n(.*?)^```', page.read_text(), re.M | re.S):
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
