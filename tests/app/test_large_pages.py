"""The program restarts for large pages once, and only if necessary."""

import os
import subprocess
import sys

import helpers
import pytest

from deblur_jax.app import large_pages


@pytest.fixture
def started(tmp_path, monkeypatch):
  """The processes that `restart` would start, on a system that needs it."""
  setting = tmp_path / 'enabled'
  setting.write_text('always [madvise] never')
  calls = []
  monkeypatch.setattr(large_pages, 'SETTING', setting)
  monkeypatch.setattr(sys, 'platform', 'linux')
  monkeypatch.setattr(
      large_pages.platform, 'libc_ver', lambda: ('glibc', '2.36'))
  monkeypatch.setattr(os, 'execve', lambda *args: calls.append(args))
  monkeypatch.delenv(large_pages.VARIABLE, raising=False)
  monkeypatch.delitem(sys.modules, 'jax')
  return calls


@pytest.mark.parametrize('before, after', [
    (None, 'glibc.malloc.hugetlb=1'),
    ('glibc.malloc.check=0', 'glibc.malloc.check=0:glibc.malloc.hugetlb=1')])
def test_the_program_restarts(started, monkeypatch, before, after):
  if before:
    monkeypatch.setenv(large_pages.VARIABLE, before)
  large_pages.restart()
  (program, argv, environ), = started
  assert [program, *argv[1:]] == [sys.executable, *sys.orig_argv[1:]]
  assert environ == os.environ | {large_pages.VARIABLE: after}


@pytest.mark.parametrize('change', [
    lambda patch: patch.setenv(large_pages.VARIABLE, 'glibc.malloc.hugetlb=0'),
    lambda patch: large_pages.SETTING.write_text('[always] madvise never'),
    lambda patch: large_pages.SETTING.unlink(),
    lambda patch: patch.setattr(sys, 'platform', 'darwin'),
    lambda patch: patch.setitem(sys.modules, 'jax', None),
    lambda patch: patch.setattr(
        large_pages.platform, 'libc_ver', lambda: ('glibc', '2.31')),
    lambda patch: patch.setattr(
        large_pages.platform, 'libc_ver', lambda: ('', ''))])
def test_the_program_does_not_restart(started, monkeypatch, change):
  change(monkeypatch)
  large_pages.restart()
  assert not started


def test_a_program_that_cannot_restart_continues(started, monkeypatch):
  def fail(*args):
    raise PermissionError

  monkeypatch.setattr(os, 'execve', fail)
  large_pages.restart()


def test_the_arguments_are_kept():
  code = ('import sys; from deblur_jax.app import large_pages\n'
          'large_pages.restart(); print(sys.argv[1:])')
  done = subprocess.run(
      [sys.executable, '-c', code, 'a b', '--x=\xe9'], cwd=helpers.ROOT,
      capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "['a b', '--x=\xe9']"
