"""A folder with an odd file of each kind: made, told, refused or counted."""

import importlib.util
import json
import os

import helpers
import odd_files
import pytest
import run_folders

from deblur_jax.app import cli

EXTRAS = {'heif': 'pillow_heif', 'jxl': 'pillow_jxl', 'video': 'av'}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a run whose network changes pictures slightly."""
  folder = tmp_path_factory.mktemp('run')
  config = helpers.tiny(**{'nets.net': dict(
      name='multiscale', scales=1, blocks=0, features=4, residual=True)})
  run_folders.untrained(folder, config, scale=0.1)
  return str(folder)


def outcome_of(row):
  if row['error']:
    return 'refused'
  return 'told' if row['notes'] else 'made'


@pytest.mark.filterwarnings('ignore::UserWarning')  # Pillow's, of bad files
def test_none_is_silent_and_none_ends_the_run(run, tmp_path, capsys):
  extras = [extra for extra, module in EXTRAS.items()
            if importlib.util.find_spec(module)]
  folder = tmp_path / 'in'
  folder.mkdir()
  expected = odd_files.make(folder, extras=extras)
  assert len(expected) >= 60
  with pytest.raises(SystemExit) as end:
    cli.main(['restore', str(folder), '-o', str(tmp_path / 'out'), '-m', run,
              '--json'])
  printed = capsys.readouterr()
  assert end.value.code == 1 and 'Traceback' not in printed.err
  rows = {os.path.relpath(row['source'], folder): row
          for row in json.loads(printed.out)}
  counted = rows.pop('.')
  passed = [name for name, outcome in expected.items() if outcome == 'passed']
  assert f'{len(passed)} files are no picture or video' in counted['notes'][0]
  for name, row in rows.items():
    for line in (row['error'] or '', *row['notes']):
      assert '\n' not in line.replace(name, ''), line
    assert bool(row['error']) == (not (
        row['target'] and os.path.isfile(row['target'])))
  assert {name: outcome_of(row) for name, row in rows.items()} == {
      name: outcome for name, outcome in expected.items()
      if outcome != 'passed'}
