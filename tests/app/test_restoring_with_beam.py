"""Restoring on many machines: the same files as on one, and a manifest."""

import os
import pathlib
import sys

import helpers
import numpy as np
import pytest
import run_folders
from PIL import Image

from deblur_jax import errors
from deblur_jax.app import cli, restoring, restoring_with_beam
from deblur_jax.media import output_files

PHOTO = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
SKIPPING = restoring.Written(skip_existing=True)


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  run_folders.untrained(folder, helpers.tiny(**{'nets.net.scales': 1}))
  return restoring.Network(str(folder), blur_threshold=0)


@pytest.fixture
def archive(tmp_path):
  """Folders with pictures, broken ones, two results of a name, other files."""
  root = tmp_path / 'archive'
  for name in ('one.png', 'a/two.jpg', 'a/same.gif', 'a/same.png',
               'a/b/three.bmp', '.hidden/four.png', 'out/five.png'):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PHOTO).save(path)
  cut = (root / 'one.png').read_bytes()[:900]
  (root / 'a/cut.png').write_bytes(cut)
  (root / 'a/b/read.me').write_text('no picture')
  (root / 'empty').mkdir()
  (root / 'a/nowhere.png').symlink_to('missing.png')
  return root


def by_source(outcomes):
  return {one.source: (one.target, one.error) for one in outcomes
          if one.target or one.error}


def contents(folder):
  return {path.relative_to(folder): path.read_bytes()
          for path in folder.rglob('*') if path.is_file()
          and path.name != restoring_with_beam.MANIFEST}


def without_beam(inputs, out, network):
  """What the pipeline does, one thing after another."""
  return [
      restoring_with_beam.outcome(
          job, network=network, written=SKIPPING, blend=restoring.WHOLE)
      for root in output_files.roots(inputs, out=out)
      for part in output_files.folders(root, out=out)
      for job in restoring_with_beam.listed(part, written=SKIPPING)]


@pytest.mark.parametrize('names', [('.',), ('a', 'one.png'), ('one.png',)])
def test_parts_give_the_files_of_the_whole(names, archive, tmp_path, network):
  inputs = [os.fspath(archive / name) for name in names]
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  expected = restoring.run(
      inputs, out=f'{whole}/', network=network, written=SKIPPING)
  found = without_beam(inputs, parts, network)
  assert contents(parts) == contents(whole)
  assert by_source(found) == {
      path: (target and target.replace(str(whole), str(parts)), error)
      for path, (target, error) in by_source(expected).items()}
  again = without_beam(inputs, parts, network)
  assert all(outcome.notes == (restoring.SKIPPED,)
             for outcome in again if outcome.target)


def test_folders_without_hidden_ones_and_that_of_the_results(archive):
  os.chmod(archive / 'empty', 0)
  found = output_files.folders(
      output_files.Part(archive, archive / 'out'), out=archive / 'out')
  assert [(part.source.relative_to(archive), part.out.relative_to(archive))
          for part in found] == [
              (pathlib.Path(name), pathlib.Path('out', name))
              for name in ('.', 'a', 'a/b', 'empty')]


def test_pipeline(archive, tmp_path, network):
  pytest.importorskip(
      'apache_beam', reason='the optional extra "beam" is not installed')
  (archive / 'out/five.png').unlink()
  one, many = tmp_path / 'one', tmp_path / 'many'
  expected = restoring.run([str(archive)], out=f'{one}/', network=network,
                           written=restoring.Written())
  (many / 'beam-temp-manifest.jsonl-1').mkdir(parents=True)
  run = lambda: restoring_with_beam.run(
      [str(archive)], out=str(many), network=network, written=SKIPPING,
      runner='DirectRunner')
  outcomes = run()
  assert contents(many) == contents(one)
  assert [path.name for path in many.glob('*manifest*')] == ['manifest.jsonl']
  assert outcomes == sorted(restoring_with_beam.read_manifest(many),
                            key=lambda outcome: outcome.source)
  assert by_source(outcomes).keys() == by_source(expected).keys()
  lost = next(path for path in contents(many))
  (many / lost).unlink()
  again = run()
  assert contents(many) == contents(one)
  assert sum(outcome.notes == (restoring.SKIPPED,) for outcome in again) == (
      len(contents(one)) - 1)
  with pytest.raises(errors.UserError, match='Beam does not take .*Nope'):
    restoring_with_beam.run(
        [str(archive)], out=str(many), network=network, written=SKIPPING,
        runner='Nope')


@pytest.mark.parametrize('words, message', [
    (['-o', 'OUT'], 'needs --skip-existing or --overwrite'),
    (['--overwrite'], 'needs -o'),
    (['--overwrite', '-o', '-'], '- is for one picture'),
    (['--overwrite', '-o', 'IN/one.png'], 'is there and is no folder'),
    (['--overwrite', '-o', 'OUT', 'IN/none'], 'No file or folder'),
    (['--overwrite', '-o', 'OUT', 'IN/a', 'IN/empty/../a'],
     'would both be in'),
    (['--overwrite', '-o', 'OUT', '--runner='], 'names no runner'),
    (['--overwrite', '-o', 'OUT', "--runner=Flink '"], 'names no runner'),
])
def test_mistakes_are_one_line(words, message, archive, tmp_path, capsys):
  argv = [word.replace('IN/', f'{archive}/').replace('OUT', f'{tmp_path}/out')
          for word in words]
  inputs = [] if any('IN/' in word for word in words[3:]) else [str(archive)]
  with pytest.raises(SystemExit) as ended:
    cli.main(['restore', '--runner=DirectRunner', *argv, *inputs])
  printed = capsys.readouterr().err
  assert ended.value.code == 2 and message in printed
  assert printed.count('\n') == 1 and not (tmp_path / 'out').exists()


def test_without_beam(archive, tmp_path, network, monkeypatch):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  with pytest.raises(errors.UserError, match='deblur-jax.beam'):
    restoring_with_beam.run(
        [str(archive)], out=str(tmp_path / 'out'), network=network,
        written=SKIPPING, runner='DirectRunner')
  assert not (tmp_path / 'out').exists()
