"""The runner of ablations: what it would run, skips, survives and refuses."""

import itertools
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import run_folders
import sample_pictures
from absl import flags
from PIL import Image

from deblur_jax import errors, methods
from deblur_jax.evaluation.report import runs
from deblur_jax.priors import problems, solve
from deblur_jax.training import train, workdir
from experiments import (
  ablate,
  common,
  device_shares,
  grids,
  job_queue,
  prior,
  run_kinds,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = '''
from configs import multiscale_gopro

def get_config(arg=None):
  config = multiscale_gopro.get_config('debug')
  if arg != 'debug':
    config.total_steps = 40
  return config
'''


@pytest.fixture
def config(tmp_path):
  path = tmp_path / 'config.py'
  path.write_text(CONFIG)
  return str(path)


def _expand(config, folder, *sets):
  return run_kinds.expand(grids.choose(None, config, sets), folder)


def _execute(jobs, stop, **options):
  return job_queue.execute(jobs, stop, kind=run_kinds.TRAINED, **options)


def _job(folder, script):
  """A run of a small Python program instead of training."""
  return run_kinds.Job(
      folder.name, folder, {}, {}, [sys.executable, '-c', script])


@pytest.mark.parametrize(('text', 'values'), [
    ('1,2,3', [1, 2, 3]),
    ('1e-4', [1e-4]),
    ('True,False', [True, False]),
    ('l1,mse', ['l1', 'mse']),
    ('l1 + 0.1*fft_l1, psnr_loss', ['l1 + 0.1*fft_l1', 'psnr_loss']),
    ('(1, 2),(3,)', [(1, 2), (3,)]),
    ("{'l1': 1.0, 'mse': 2},{'mse': 1}", [{'l1': 1.0, 'mse': 2}, {'mse': 1}]),
])
def test_values_of_a_flag(text, values):
  assert common.parse_values(text) == values


def test_grid_is_the_product_last_key_quickest(config, tmp_path):
  jobs = _expand(config, tmp_path, 'nets.net.scales=1,2', 'seed=0,1')
  assert [job.name for job in jobs] == [
      'scales=1_seed=0', 'scales=1_seed=1', 'scales=2_seed=0',
      'scales=2_seed=1']
  assert [job.config['nets']['net']['scales'] for job in jobs] == [1, 1, 2, 2]
  assert jobs[3].config['seed'] == 1
  assert jobs[3].folder == tmp_path / 'scales=2_seed=1'


def test_commands_resolve_to_the_config_of_the_job(config, tmp_path):
  for job in _expand(config, tmp_path, 'optim.net.lr=1e-3,1',
                     'optim.net.boundaries=(0.1, 0.4)'):
    assert job.command[:3] == [sys.executable, '-m', 'experiments.train']
    assert {f'--workdir={job.folder}', '--evaluate'} < set(job.command)
    assert job.config['optim']['net']['boundaries'] == [0.1, 0.4]
    assert isinstance(job.config['optim']['net']['lr'], float)


def test_flags_add_to_a_named_grid(config, tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  grid = grids.choose('k_scales', config, ['nets.net.scales=3', 'seed=0,1'])
  assert grid.config == config and grid.papers
  assert dict(grid.set) == {'nets.net.scales': [3], 'seed': [0, 1]}
  with_game = grids.choose('k_scales', 'configs/multiscale_adv_gopro.py', [])
  assert [*with_game.set] == ['nets.generator.scales']
  one = run_kinds.expand(
      grids.choose('k_scales', f'{config}:debug', []), tmp_path)
  assert [job.config['total_steps'] for job in one] == [2, 2, 2]


@pytest.mark.parametrize('name', grids.GRIDS)
def test_named_grids_fit_their_configs(name, tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  if grids.GRIDS[name].config is None:
    kind = _fits('--truth=none')
    grid = grids.choose(name, None, [], task='denoise')
    jobs = run_kinds.expand(grid, tmp_path, kind)
    assert all(methods.build(job.config).per_image for job in jobs)
    with pytest.raises(errors.UserError, match='is for priors: give --task'):
      grids.choose(name, None, [])
  else:
    jobs = run_kinds.expand(grids.choose(name, None, []), tmp_path)
  assert len(jobs) > 1


def _fits(*words):
  """The kind of runs of these flags, and the flags."""
  values = flags.FlagValues()
  prior.define_flags(values)
  values(['ablate', '--task=denoise', *words])
  return run_kinds.fitted(values)


def test_fits_are_skipped_when_their_config_and_pictures_are_the_same(
    tmp_path, monkeypatch, stop, capfd):
  monkeypatch.chdir(ROOT)
  pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / 'a.png')
  kind = _fits(f'--truth={tmp_path}/a.png', '--gray')
  grid = grids.choose(None, 'configs/prior_denoise.py:debug', [
      "nets.net={'name': 'deep_decoder', 'features': 4, 'levels': 1}",
      'method.tv=0.0,0.1'], task='denoise')
  first, second = run_kinds.expand(grid, tmp_path / 'out', kind)
  assert second.name == 'tv=0.1'
  assert second.command[2] == 'experiments.prior'
  assert {f'--truth={tmp_path}/a.png', '--gray', '--config.method.tv=0.1',
          f'--out={second.folder}/fits'} < set(second.command)
  assert not kind.is_finished(first)
  assert kind.report(tmp_path, [first, second]) == 'No setting is finished.'
  found = problems.make(tmp_path / 'a.png', task='denoise', gray=True)
  solve.run(first.config, found, first.folder / run_kinds.FITS, task='denoise')
  assert kind.is_finished(first) and not kind.is_finished(second)
  assert not _fits(f'--truth={tmp_path}/a.png', '--gray',
                   '--sigma=9').is_finished(first)
  assert job_queue.execute([first], stop, kind=kind) == []
  assert 'finished before, skipped' in capfd.readouterr().out
  table = kind.report(tmp_path, [first, second])
  ours, theirs = table.split('\n\n')[:2]
  assert ours.endswith(' |') and ' gap | s/step |' in ours
  assert 'not ours: nine colour photographs' in theirs
  assert '\n| tv=0 |' in table and 'tv=0.1' not in table
  assert (tmp_path / 'table.md').read_text() == table
  with pytest.raises(errors.UserError, match='fits is not of this program'):
    kind.prepare(first)
  (first.folder / run_kinds.LOG).touch()
  kind.prepare(first)      # its own fits are resumed
  assert (first.folder / run_kinds.FITS).exists()
  kind.prepare(first._replace(config=second.config))
  assert not (first.folder / run_kinds.FITS).exists()
  with pytest.raises(errors.UserError, match='give --truth'):
    _fits(f'--input={tmp_path}/a.png', '--gray').is_finished(first)
  for key in ('nets.nt.skip', 'total_stps'):
    with pytest.raises(errors.UserError, match=f'no key {key}'):
      run_kinds.expand(grid._replace(set={key: (1, 2)}), tmp_path, kind)


@pytest.mark.parametrize(('sets', 'names'), [
    (['seed=0'], ['run']),
    (['seed=0,1', 'validate.crop=64'], ['seed=0', 'seed=1']),
    ([f'data.train.root=/{"d" * 300}/a b,/x/c,/y/c/'],
     ['root=a_b', 'root=c', r'root=c-\w{8}']),
    (['method.loss=l1 + 0.1*tv,l1'], ['loss=l1_+_0.1_tv', 'loss=l1']),
    ([f'method.loss={" + ".join(["0.001*fft_l1"] * 20)},l1'],
     [r'loss=0\.001_fft_l1.{70,}-\w{8}', 'loss=l1']),
])
def test_folders_have_short_names_of_what_differs(
    config, tmp_path, sets, names):
  jobs = _expand(config, tmp_path, *sets)
  for job, name in zip(jobs, names, strict=True):
    assert name == job.name or re.fullmatch(name, job.name)
    assert len(job.name.encode()) <= run_kinds.NAME_BYTES
    assert not {*job.name} & {*' ,/*:'}


def test_a_run_is_found_under_another_name_and_when_its_data_moved(
    tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  for name in ('before', 'after', 'other'):
    for split, count in (('train', 2), ('test', 2 + (name == 'other'))):
      for number, side in itertools.product(range(count), ('blur', 'sharp')):
        sample_pictures.save(
            tmp_path / name / split / 'scene' / side / f'{number}.png',
            sample_pictures.smooth(number, 40, 40)[side])
  (tmp_path / 'config.py').write_text('''
from configs import common, multiscale_gopro

def get_config(arg=None):
  config = multiscale_gopro.get_config('debug')
  config.data = common.gopro('blur')
  config.data.loader.update(backend='resident', crop=32)
  config.nets.net = dict(name='single_scale', blocks=0, features=2)
  config.validate = dict(pictures=1, crop=32)
  return config
''')

  def expand(roots, *sets):
    roots = ','.join(str(tmp_path / root) for root in roots.split(','))
    return _expand(str(tmp_path / 'config.py'), tmp_path / 'runs',
                   f'data.train.root={roots}', *sets)

  job, = expand('before')
  assert job.name == 'run'
  train.run(job.config, job.folder)
  run_folders.evaluated(job.folder, job.config, strength=1, step=2)
  first, second = expand('after', 'seed=0,1')
  assert (first.name, second.name) == ('run', 'seed=1')
  assert run_kinds.is_finished(first) and not run_kinds.is_finished(second)
  first, second = expand('other', 'seed=0,1')
  assert (first.name, second.name) == ('seed=0', 'seed=1')
  with pytest.raises(errors.UserError, match=r'other pictures in data\.test'):
    train.prepare(first.config, job.folder)
  # A grid that compares data sets keeps them apart.
  assert [job.name for job in expand('before,after')] == ['run', 'root=after']


@pytest.mark.parametrize(('sets', 'message'), [
    (['nets.net.scale=1'], r"Unknown key nets\.net\.scale;.*mean 'scales'"),
    (['nets.generator.scales=1'], r"no key nets\.generator\.scales\. Did"),
    (['restorer.scales=x'], r"nets\.net\.scales must be an integer, got 'x'"),
    (['optim.net.lr=1e999'], r'optim\.net\.lr = inf is not finite'),
    (['seed=a'], "seed must be an integer, got 'a'"),
    (['seed=0,0'], 'seed=0 comes twice'),
    (['seed'], r"KEY=VALUE,VALUE,..., got 'seed'"),
    (['seed='], 'KEY=VALUE'),
])
def test_mistakes_are_found_before_anything_starts(
    config, tmp_path, sets, message):
  with pytest.raises(errors.UserError, match=message) as error:
    _expand(config, tmp_path / 'runs', *sets)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'runs').exists()


def test_one_of_the_list(config, tmp_path):
  jobs = _expand(config, tmp_path, 'seed=0,1,2')
  assert ablate.select(jobs, None) == jobs
  assert ablate.select(jobs, 2) == jobs[2:]
  with pytest.raises(errors.UserError, match='must be 0 to 2, got 3'):
    ablate.select(jobs, 3)


def test_unknown_grids_and_configs(tmp_path):
  with pytest.raises(errors.UserError, match="Did you mean 'k_scales'"):
    grids.choose('k_scale', None, [])
  with pytest.raises(errors.UserError, match='Give --name, one of k_scales'):
    grids.choose(None, None, ['seed=1'])
  with pytest.raises(errors.UserError, match=r'nothing\.py'):
    _expand(str(tmp_path / 'nothing.py'), tmp_path)
  broken = tmp_path / 'broken.py'
  broken.write_text('def get_config():\n  return 1 +\n')
  with pytest.raises(errors.UserError, match=r'broken\.py'):
    _expand(str(broken), tmp_path)


def test_only_a_whole_run_of_this_config_is_skipped(config, tmp_path, stop):
  job, = _expand(config, tmp_path, 'nets.net.scales=2')
  assert not run_kinds.is_finished(job)
  settings = job.config
  run_folders.train(job.folder, settings)
  assert not run_kinds.is_finished(job)
  run_folders.evaluated(job.folder, settings, strength=1, step=20)
  assert not run_kinds.is_finished(job)
  run_folders.evaluated(job.folder, settings, strength=1)
  assert run_kinds.is_finished(job)
  assert _execute([job], stop) == []
  assert not (job.folder / 'log.txt').exists()
  assert run_kinds.is_finished(job._replace(config=settings | {'log_every': 3}))
  assert not run_kinds.is_finished(job._replace(config=settings | {'seed': 3}))


def test_a_failure_is_kept_and_does_not_stop_the_others(tmp_path, stop, capfd):
  bad = _job(tmp_path / 'bad', 'import sys; print("so far"); '
             'sys.exit("error: no such data")')
  good = _job(tmp_path / 'good', 'print("one")')
  assert _execute([bad, good], stop) == [bad]
  failure = runs.read_run(bad.folder).failure
  assert 'code 1: error: no such data' in failure
  assert runs.state(runs.read_run(bad.folder)) == f'failed: {failure}'
  log = (good.folder / 'log.txt').read_text().splitlines()
  assert [line for line in log if not line.startswith('$')] == ['one']
  assert (bad.folder / 'log.txt').read_text().count('$ ') == 1
  assert 'so far' in capfd.readouterr().out

  mended = bad._replace(command=good.command)
  assert _execute([mended], stop) == []
  assert runs.read_run(bad.folder).failure == ''


def test_several_at_once(tmp_path, stop, capfd):
  wait = ('import pathlib, sys, time\npathlib.Path({0!r}).touch()\n'
          'while not pathlib.Path({1!r}).exists(): time.sleep(0.02)')
  a, b = str(tmp_path / 'a.here'), str(tmp_path / 'b.here')
  jobs = [_job(tmp_path / 'a', wait.format(a, b)),
          _job(tmp_path / 'b', wait.format(b, a))]
  shares = [device_shares.Share()] * 2
  assert _execute(jobs, stop, shares=shares) == []  # each waits for the other
  assert 'done' in capfd.readouterr().out


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_run_save_and_starts_no_other(
    tmp_path, stop, number):
  ready = tmp_path / 'ready'
  script = f'''
import pathlib, signal, sys, time
def leave(*_):
  pathlib.Path({str(tmp_path / "saved")!r}).touch()
  sys.exit(143)
signal.signal(signal.SIGTERM, leave)
pathlib.Path({str(ready)!r}).touch()
time.sleep(60)
'''
  jobs = [_job(tmp_path / name, script) for name in ('a', 'b')]

  def interrupt():
    while not ready.exists():
      time.sleep(0.02)
    os.kill(os.getpid(), number)

  threading.Thread(target=interrupt).start()
  assert _execute(jobs, stop) == []
  assert stop.signal == number and (tmp_path / 'saved').exists()
  assert (tmp_path / 'a' / 'log.txt').read_text().count('$ ') == 1
  assert not (tmp_path / 'b' / 'log.txt').exists()
  assert not (tmp_path / 'a' / runs.FAILED).exists()


def test_dry_run_prints_a_command_a_line_and_makes_nothing(
    config, tmp_path, monkeypatch, capsys):
  folder, values = tmp_path / 'my runs', flags.FlagValues()
  ablate.define_flags(values)
  values(['ablate', f'--config={config}', '--set', 'nets.net.scales=1,2',
          f'--workdir={folder}', '--dry_run'])
  monkeypatch.setattr(flags, 'FLAGS', values)
  assert ablate.main([]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2 and not folder.exists()
  words = shlex.split(lines[1])
  assert f'--workdir={folder}/scales=2' in words
  assert '--config.nets.net.scales=2' in words


DAMAGED = '''
from configs import multiscale_gopro

def get_config(arg=None):
  config = multiscale_gopro.get_config('debug')
  config.total_steps = 40
  for split in ('train', 'test'):
    config.data[split] = dict(name='folder_pairs', blur={0!r}, sharp={0!r})
  return config
'''


def test_the_program_skips_reports_and_tells_of_failure(tmp_path):
  """One setting is finished, the other has pictures that are cut off."""
  folder, config = tmp_path / 'runs', tmp_path / 'config.py'
  picture = tmp_path / 'pictures' / '1.png'
  sample_pictures.save(picture, sample_pictures.smooth(0, 96, 96)['sharp'])
  picture.write_bytes(picture.read_bytes()[:200])
  config.write_text(DAMAGED.format(str(picture.parent)))
  command = [sys.executable, '-m', 'experiments.ablate',
             f'--config={config}', '--set', 'nets.net.scales=1,2',
             f'--workdir={folder}']
  job, = _expand(config, folder, 'data.loader.crop=97')
  with pytest.raises(errors.UserError, match='^run: .* is 96x96'):
    run_kinds.TRAINED.check(job)
  assert not folder.exists()
  for job in _expand(config, folder, 'nets.net.scales=1'):
    run_folders.train(job.folder, job.config)
    run_folders.evaluated(job.folder, job.config, strength=1)
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 1, done.stderr
  assert 'run: finished before, skipped' in done.stdout
  assert '| scales=1 |' in done.stdout and 'sheet.png' in done.stdout
  plan = json.loads((folder / runs.PLAN).read_text())
  assert [run['name'] for run in plan['runs']] == ['run', 'scales=2']
  assert 'scales=2`: failed: experiments.train ended with code 2: error: ' in (
      folder / 'report.md').read_text()
  assert workdir.read_json(folder / 'scales=2' / runs.FAILED)['command']
