"""Names that Windows does not take as they are."""

import pathlib

import pytest

from deblur_jax import errors
from deblur_jax.media import output_files
from deblur_jax.ops import atomic_files, file_names


@pytest.mark.parametrize('name, reason', [
    ('CON', 'device'), ('nul.png', 'device'), ('com1.tar.gz', 'device'),
    ('LPT9 .jpg', 'device'), ('a:b.png', "':'"), ('a?.png', "'?'"),
    ('a\tb', r"'\t'"), ('a.', "end in '.'"), ('a.png ', "end in ' '"),
    ('..', None), ('.', None), ('console.png', None), ('.hidden', None),
    ('sea 日本.jpg', None)])
def test_reserved_names(name, reason):
  found = file_names.why_reserved(name)
  assert found is None if reason is None else reason in found


def test_every_part_of_a_path_counts(monkeypatch):
  path = pathlib.PureWindowsPath(r'C:\photos\aux\a.png')
  assert file_names.problem(path) is None    # on this system
  monkeypatch.setattr(file_names, 'IS_WINDOWS', True)
  assert 'aux is the name of a device' in file_names.problem(path)
  assert file_names.problem(pathlib.PureWindowsPath(r'C:\a\b.png')) is None


def test_nothing_is_written_under_them(tmp_path, monkeypatch):
  monkeypatch.setattr(file_names, 'IS_WINDOWS', True)
  with pytest.raises(errors.UserError, match="Windows has no ':' in names"):
    atomic_files.write(tmp_path / 'a:b.png', b'x')
  (tmp_path / 'in').mkdir()
  for name in ('a.jpg', 'nul.jpg'):
    (tmp_path / 'in' / name).touch()
  plan = output_files.plan([tmp_path / 'in'], out=tmp_path / 'out', suffix='')
  assert [job.source.name for job in plan.jobs] == ['a.jpg']
  assert 'nul.jpg is the name of a device' in plan.refused[0].reason
  with pytest.raises(errors.UserError, match='NUL.png is the name of a dev'):
    output_files.plan(
        [tmp_path / 'in' / 'a.jpg'], out=tmp_path / 'NUL.png')
  assert [path.name for path in tmp_path.iterdir()] == ['in']


def test_a_folder_says_whether_case_counts(tmp_path):
  counts = not file_names.ignores_case(tmp_path)
  (tmp_path / 'a').touch()
  assert (tmp_path / 'A').exists() != counts
  assert [path.name for path in tmp_path.iterdir()] == ['a']


@pytest.mark.parametrize('ignores', [False, True])
def test_results_that_differ_by_case(ignores, tmp_path, monkeypatch):
  # No file system of this kind is at hand everywhere.
  monkeypatch.setattr(file_names, 'ignores_case', lambda folder: ignores)
  for name in ('one/IMG.jpg', 'two/img.jpg'):
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).touch()
  plan = output_files.plan(
      [tmp_path / 'one' / 'IMG.jpg', tmp_path / 'two' / 'img.jpg'],
      out=tmp_path / 'out')
  assert [job.target.name for job in plan.jobs] == [
      'IMG.jpg', 'img.jpg.jpg' if ignores else 'img.jpg']
  assert bool(plan.jobs[1].notes) == ignores
