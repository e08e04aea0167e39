"""The cache of compiled programs: reuse, invalidation and failures."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from deblur_jax import errors
from deblur_jax.app import cli
from deblur_jax.inference import (
  cache_folder,
  program_cache,
  restoration,
  tiling,
)
from deblur_jax.ops import precision
from deblur_jax.state import Method, TrainState
from deblur_jax.training import loop, parallel

PICTURE = np.random.default_rng(0).random((64, 64, 3), np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The folder of programs; the cache creates it."""
  path = tmp_path / 'programs'
  monkeypatch.setenv(cache_folder.VARIABLE, str(path))
  known = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', None)
  compilation_cache.reset_cache()
  yield path
  jax.config.update('jax_compilation_cache_dir', known)
  compilation_cache.reset_cache()


def restore(picture=PICTURE, *, identity='times', factor=0.9, change=None):
  """(the result, the number of traces of the method)."""
  traces = []

  def times(state, blur):
    traces.append(blur.shape)
    return blur * state.params['factor']

  method = Method(None, None, times, identity=identity)
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  state = parallel.put(TrainState(
      step=np.zeros((), np.int32),
      params={'factor': np.full((1, 1, 1, 3), factor, np.float32)},
      opt_state={}), parallel.replicated(mesh))
  method = change(method) if change else method
  run = tiling.build(method, state, mesh)
  return run(picture).image, len(traces)


def programs(folder):
  return sorted(folder.glob('*.program'))


def test_a_second_function_does_not_trace(folder):
  first, traces = restore()
  assert traces and len(programs(folder)) == 1
  # The weights are no part of the program.
  second, traces = restore(factor=0.95)
  assert traces == 0 and len(programs(folder)) == 1
  np.testing.assert_allclose(first, 0.9 * PICTURE, rtol=1e-6)
  np.testing.assert_allclose(second, 0.95 * PICTURE, rtol=1e-6)
  assert folder.stat().st_mode & 0o777 == 0o700


PROCESS = """
    import os, sys
    import jax
    import jax.numpy as jnp
    import numpy as np
    from deblur_jax.inference import program_cache
    from deblur_jax.training import loop, parallel

    def fn(x, kernel):
      print('traced')
      return jax.lax.conv_general_dilated(
          x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))

    mesh = parallel.data_mesh()
    args = [parallel.put(np.ones(shape, sys.argv[1]), parallel.replicated(mesh))
            for shape in ((1, 64, 64, 16), (3, 3, 16, 16))]
    program = program_cache.compiled(
        loop.on_mesh(fn, mesh), args, identity='conv', mesh=mesh)
    print(float(program(*args)[0, 0, 0, 0]))
"""


@pytest.mark.parametrize('dtype, flags', [
    ('float32', ''), ('bfloat16', precision.ONEDNN)])
def test_a_second_process_does_not_trace(folder, dtype, flags):
  env = os.environ | {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}
  del env['JAX_COMPILATION_CACHE_DIR']
  code = textwrap.dedent(PROCESS).replace(
      'sys.argv[1]', f'jnp.{dtype}')
  runs = [subprocess.run(
      [sys.executable, '-c', code], check=True, env=env, text=True,
      capture_output=True, cwd=pathlib.Path(__file__).parents[2])
      for _ in range(2)]
  assert 'traced' in runs[0].stdout and 'traced' not in runs[1].stdout
  assert runs[0].stdout.split()[-1] == runs[1].stdout.split()[-1] == '64.0'
  assert not runs[1].stderr and len(programs(folder)) == 1


def _cut(path):
  path.write_bytes(path.read_bytes()[:-100])


def _flip(path):
  content = bytearray(path.read_bytes())
  content[-50] ^= 255
  path.write_bytes(content)


@pytest.mark.parametrize('spoil', [
    _cut, _flip, lambda path: path.write_bytes(b''),
    lambda path: path.write_bytes(os.urandom(500))])
def test_a_damaged_file_is_compiled_again(folder, spoil):
  restore()
  path, = programs(folder)
  spoil(path)
  result, traces = restore()
  np.testing.assert_allclose(result, 0.9 * PICTURE, rtol=1e-6)
  assert traces and restore()[1] == 0


def test_programs_of_the_cache_of_jax_are_kept_too(folder, tmp_path):
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'jax'))
  compilation_cache.reset_cache()
  for traces in (True, False, True):
    result, found = restore()
    np.testing.assert_allclose(result, 0.9 * PICTURE, rtol=1e-6)
    assert (found > 0) == traces
    if not traces:
      cache_folder.clear()


def test_a_program_of_another_name_is_not_read(folder):
  restore()
  path, = programs(folder)
  other = restore(identity='other') and (set(programs(folder)) - {path}).pop()
  path.replace(other)
  assert restore(identity='other')[1]


@pytest.mark.parametrize('content, problem', [
    (None, 'cannot be created'), (0o777, 'others can write there')])
def test_without_a_usable_folder_programs_are_compiled(
    folder, content, problem, capsys):
  if content is None:
    folder.write_text('a file')
  else:
    folder.mkdir()
    folder.chmod(content)
  assert [restore()[1] > 0 for _ in range(2)] == [True, True]
  assert problem in cache_folder.facts().problem
  assert not capsys.readouterr().err


def test_with_a_full_disk_programs_are_compiled(folder, monkeypatch):
  def full(*args):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'replace', full)
  assert restore()[1]
  assert not list(folder.iterdir())


@pytest.mark.parametrize('word', ['', '0', 'off'])
def test_it_can_be_turned_off(word, monkeypatch):
  monkeypatch.setenv(cache_folder.VARIABLE, word)
  assert [restore()[1] > 0 for _ in range(2)] == [True, True]
  with pytest.raises(errors.UserError, match='turns the cache off'):
    cache_folder.clear()


def test_what_has_no_identity_is_not_kept(folder):
  assert restore(identity='')[1] and not folder.exists()


def test_each_condition_of_a_program_has_its_own_file(folder, monkeypatch):
  restore()

  def is_new(**options):
    before = len(programs(folder))
    traces = restore(**options)[1]
    assert (traces > 0) == (len(programs(folder)) > before)
    return traces > 0

  assert not is_new()
  assert is_new(identity='another network')
  assert is_new(picture=PICTURE[:32])
  assert is_new(change=lambda method: method._replace(
      identity=restoration.local(method, 32).identity))
  for target, name, value in (
      (jax, '__version__', '99.0'),
      (cache_folder, 'sources', lambda: 'edited'),
      (program_cache, '_machine', lambda: ('another CPU',))):
    with monkeypatch.context() as patch:
      patch.setattr(target, name, value)
      assert is_new()
  # The hash of sources is over the whole package.
  assert (cache_folder._PACKAGE / '__main__.py').is_file()
  with jax.default_matmul_precision('float32'):
    assert is_new()
  monkeypatch.setenv('XLA_FLAGS', '--xla_cpu_enable_fast_math=false')
  assert is_new()


def test_the_least_recently_used_are_deleted_first(folder, monkeypatch):
  names = {}
  for age, identity in ((3, 'a'), (2, 'b'), (1, 'c')):
    before = set(programs(folder))
    restore(identity=identity)
    names[identity], = set(programs(folder)) - before
    os.utime(names[identity], (1e9 - age, 1e9 - age))
  restore(identity='a')    # now the most recently used
  size = sum(path.stat().st_size for path in programs(folder))
  # Sizes of such programs differ by a few bytes.
  monkeypatch.setattr(cache_folder, 'LIMIT', size + 100)
  restore(identity='d')
  left = programs(folder)
  assert names['b'] not in left and names['a'] in left and names['c'] in left


def test_the_place_of_the_folder(monkeypatch):
  monkeypatch.delenv(cache_folder.VARIABLE)
  monkeypatch.setenv('XDG_CACHE_HOME', '/x')
  monkeypatch.setenv('LOCALAPPDATA', '/local')
  found = {}
  for system in ('linux', 'darwin', 'win32'):
    monkeypatch.setattr(sys, 'platform', system)
    found[system] = cache_folder.locate()
  assert found['linux'] == pathlib.Path('/x/deblur_jax')
  assert found['darwin'].parts[-3:] == ('Library', 'Caches', 'deblur_jax')
  assert found['win32'] == pathlib.Path('/local/deblur_jax')


def test_only_programs_are_deleted(folder):
  restore()
  others = [folder / name for name in (
      'notes.program.txt', 'my.programme.odt', 'pace.json')]
  for path in others:
    path.write_text('mine')
  (folder / f'{"a" * 64}.program').mkdir()
  assert cache_folder.clear() == 1
  assert all(path.read_text() == 'mine' for path in others)


def test_the_command(folder, capsys):
  restore()
  for argv in (['--json'], ['--clear', '--json'], []):
    with pytest.raises(SystemExit) as code:
      cli.main(['cache', *argv])
    assert not code.value.code
  printed = capsys.readouterr().out
  first, rest = json.JSONDecoder().raw_decode(printed)
  second, _ = json.JSONDecoder().raw_decode(printed[rest:].lstrip())
  assert first['folder'] == str(folder) and first['programs'] == 1
  assert first['bytes'] > 0 and first['problem'] == ''
  assert second['deleted'] == 1 and second['programs'] == 0
  assert '0 programs, 0.0 of 1024 MiB' in printed


def test_several_devices(folder):
  mesh = parallel.data_mesh()
  x = parallel.put(np.ones((2, 4), np.float32), parallel.split_batch(mesh))
  results = [np.asarray(program_cache.compiled(
      loop.on_mesh(fn, mesh), (x,), identity='sum', mesh=mesh)(x))
      for fn in (lambda x: jnp.cumsum(x, 0), lambda x: 0 * x)]
  np.testing.assert_array_equal(*results)
