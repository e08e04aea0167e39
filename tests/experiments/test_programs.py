"""A mistake on the command line is one line and exit code 2."""

import ast
import re
import subprocess
import sys

import helpers
import pytest

EXPERIMENTS = helpers.ROOT / 'experiments'


def program(name, *flags):
  """Runs `python -m experiments.NAME` as a user does."""
  return subprocess.run(
      [sys.executable, '-m', f'experiments.{name}', *flags], cwd=helpers.ROOT,
      capture_output=True, text=True)


@pytest.mark.parametrize('flags, message', [
    (['--config=configs/multiscale_gopro.py:debug', '--config.totl_steps=2'],
     "Did you mean 'total_steps'"),
    (['--config=configs/multiscale_gopro.py:debg'], "argument 'debg'"),
    (['--config=configs/nothing.py'], 'configs/nothing.py'),
    (['--config=configs/multiscale_gopro.py:debug',
      '--config.nets.net.scales=0'], 'scales must be at least 1, got 0'),
])
def test_mistakes_are_one_line_and_exit_code_2(flags, message, tmp_path):
  done = program('train', f'--workdir={tmp_path}/run', *flags)
  assert done.returncode == 2
  *_, line = done.stderr.strip().splitlines()
  assert line.startswith('error: ') and message in line
  assert 'Traceback' not in done.stderr
  assert not (tmp_path / 'run').exists()


def test_flags_of_several_processes_are_read():
  """Else N processes write the same files."""
  texts = {path.relative_to(EXPERIMENTS).as_posix(): path.read_text()
           for path in EXPERIMENTS.rglob('*.py')}
  del texts['common.py']
  defining = {name for name, text in texts.items() if (
      'define_process_flags()' in text)}
  joining = {name for name, text in texts.items() if 'join_processes()' in text}
  assert defining == joining == {'train.py', 'evaluate.py'}


def test_numbers_have_a_least_value():
  for path in EXPERIMENTS.rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Call) and (
          ast.unparse(node.func).lower().endswith('define_integer')):
        assert any(one.arg == 'lower_bound' for one in node.keywords), (
            path, ast.unparse(node))


DRAW = ['--blur=none', '--restored=none', '--out=none.png']


@pytest.mark.parametrize('name, flags, message', [
    ('train', [], '--workdir is missing: folder of the run.'),
    ('evaluate_folder', ['--restored=none', '--out=README.md/a.json'],
     'README.md is not a folder that may be written.'),
    ('train', ['--foo=3'], 'Unknown flag --foo; --help lists all.\n'),
    ('train', ['--wrkdir=3'], "all. Did you mean 'workdir'?"),
    ('release.draw_readme_picture', [*DRAW, '--crops=a:0:0', '--size=foo'],
     "'foo' is not in the form of --size=480x270"),
    ('release.draw_readme_picture', [*DRAW, '--crops=1'],
     "'1' is not in the form of --crops=nah_Flower:330:60"),
])
def test_faults_of_flags(name, flags, message):
  done = program(name, *flags)
  assert done.returncode == 2 and message in done.stderr
  assert done.stderr.count('\n') == 1


def test_evaluate_needs_a_run(tmp_path):
  done = program('evaluate', f'--workdir={tmp_path}')
  assert done.returncode == 2
  assert f'No config.json in {tmp_path}' in done.stderr


def commands():
  """(program, flags) of every command in README.md and in the docstrings."""
  texts = [*helpers.ROOT.glob('*.md'), *(helpers.ROOT / 'docs').rglob('*.md'),
           *(helpers.ROOT / 'configs').glob('*.py'),
           *EXPERIMENTS.rglob('*.py')]
  for path in texts:
    text = re.sub(r'\\\n\s*', ' ', path.read_text())
    for words in re.findall(r'-m experiments\.([a-z].*)$', text, re.M):
      name = re.match(r'benchmark [a-z]+|[\w.]*\w', words)[0].replace(' ', '.')
      yield name, re.findall(r'--([a-z_]+)\b', words), words


def source(path):
  """The text of a program and of the modules of experiments that it imports."""
  text = path.read_text()
  for names in re.findall(r'^from experiments\S* import (.*)$', text, re.M):
    for name in re.findall(r'\w+', names):
      for folder in {path.parent, EXPERIMENTS}:
        found = folder / f'{name}.py'
        text += found.read_text() if found.exists() else ''
  return text


def test_commands_in_prose_have_their_program_and_flags():
  checked = 0
  for name, flags, words in commands():
    path = EXPERIMENTS.joinpath(*name.split('.'))
    path = path / '__main__.py' if path.is_dir() else path.with_suffix('.py')
    assert path.exists(), words
    text = source(path)
    for flag in {*flags} - {'config', 'help'}:
      checked += 1
      assert re.search(
          rf"(?i)DEFINE_\w+\(\s*'{flag}'", text), (flag, words)
  assert checked > 100
