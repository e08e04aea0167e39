"""Runs at the same time have different devices, and begin as others end."""

import os
import re
import signal
import sys
import threading
import time

import pytest

from deblur_jax import errors
from experiments import device_shares, job_queue, run_kinds
from experiments.device_shares import Machine, Share

CORES = (0, 1, 2, 3, 4, 5)
GPUS = Machine('gpu', 4, (0, 1, 2, 3), CORES)
# Two of JAX's devices on each of four chips.
CHIPS = Machine('tpu', 8, (0, 1, 2, 3), CORES)
FORCED = Machine('cpu', 8, tuple(range(8)), CORES)


def _job(folder, script):
  return run_kinds.Job(
      folder.name, folder, {}, {}, [sys.executable, '-c', script])


def _execute(jobs, stop, shares):
  return job_queue.execute(jobs, stop, kind=run_kinds.TRAINED, shares=shares)


def _said(job):
  """The last line that a job printed."""
  return (job.folder / 'log.txt').read_text().splitlines()[-1]


@pytest.mark.parametrize('given, jobs, names, devices', [
    ({}, 4, ['0', '1', '2', '3'], 1),
    ({}, 2, ['0,1', '2,3'], 2),
    ({}, 3, ['0', '1', '2'], 1),      # all runs have the same number
    ({'CUDA_VISIBLE_DEVICES': '7,5,GPU-8f6c,3'}, 2, ['7,5', 'GPU-8f6c,3'], 2)])
def test_gpus_are_split(given, jobs, names, devices):
  shares = device_shares.split(GPUS, jobs, given)
  assert [share.environment for share in shares] == [
      {'CUDA_VISIBLE_DEVICES': name} for name in names]
  assert {share.devices for share in shares} == {devices}


def test_a_run_has_one_chip_of_a_tpu():
  first, second = device_shares.split(CHIPS, 2, {})
  assert (first.devices, second.devices) == (2, 2)
  differing = {key for key, value in first.environment.items()
               if second.environment[key] != value}
  assert differing == {
      'TPU_VISIBLE_CHIPS', 'TPU_PROCESS_PORT', 'TPU_PROCESS_ADDRESSES'}
  assert second.environment['TPU_VISIBLE_CHIPS'] == '1'


def test_forced_devices_and_cores_are_split():
  given = {'XLA_FLAGS': '--xla_force_host_platform_device_count=8 --xla_a=1'}
  shares = device_shares.split(FORCED, 3, given)
  assert [share.cores for share in shares] == [(0, 1), (2, 3), (4, 5)]
  assert {share.devices for share in shares} == {2}
  assert shares[0].environment == {
      'XLA_FLAGS': '--xla_force_host_platform_device_count=2 --xla_a=1'}
  given = {'JAX_NUM_CPU_DEVICES': '8', 'HOME': '/'}
  assert device_shares.split(FORCED, 2, given)[1].environment == {
      'JAX_NUM_CPU_DEVICES': '4'}


@pytest.mark.parametrize('machine, jobs, words', [
    (GPUS, 5, '4 GPUs'), (CHIPS, 5, '4 TPU chips'), (FORCED, 9, '8 CPU dev'),
    (FORCED, 7, '6 CPU cores'), (FORCED._replace(units=(0,)), 7, '6 CPU cores'),
])
def test_more_runs_than_devices_are_refused(machine, jobs, words):
  with pytest.raises(errors.UserError, match=(
      rf'--jobs={jobs} is more than the {words}.* Give --jobs={words[0]} or')):
    device_shares.split(machine, jobs, {})


def test_no_devices_is_one_line(monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'nothing')
  with pytest.raises(errors.UserError) as error:
    device_shares.of_this_machine(2)
  assert re.fullmatch('JAX finds no devices: .* backend .nothing.*',
                      str(error.value))


@pytest.mark.skipif(
    len(device_shares.available_cores()) < 2,
    reason='two runs at a time need two cores')
def test_runs_on_forced_devices_have_different_cores(
    tmp_path, stop, monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=8')
  script = ('import os, jax\n'
            'print(jax.local_device_count(), sorted(os.sched_getaffinity(0)))')
  jobs = [_job(tmp_path / name, script) for name in 'ab']
  assert _execute(jobs, stop, device_shares.of_this_machine(2)) == []
  (one, cores), (other, others) = (
      _said(job).split(' ', 1) for job in jobs)
  assert one == other == '4'
  assert not set(eval(cores)) & set(eval(others))


def test_the_next_run_begins_on_the_devices_of_the_first_that_ends(
    tmp_path, stop):
  """The first of three runs ends last."""
  wait = f'''
import os, pathlib, time
print(os.environ['CUDA_VISIBLE_DEVICES'])
while not pathlib.Path({str(tmp_path / "c" / "done")!r}).exists():
  time.sleep(0.02)
'''
  done = '''
import os, pathlib, sys
print(os.environ['CUDA_VISIBLE_DEVICES'])
pathlib.Path({!r}).touch()
'''
  a = _job(tmp_path / 'a', wait)
  b, c = (_job(tmp_path / name, done.format(str(tmp_path / name / 'done')))
          for name in 'bc')
  shares = device_shares.split(GPUS, 2, {})
  assert _execute([a, b, c], stop, shares) == []
  assert _said(b) == _said(c) and {_said(a), _said(b)} == {'0,1', '2,3'}
  assert (c.folder / 'log.txt').read_text().startswith(
      f'$ CUDA_VISIBLE_DEVICES={_said(c)} ')


def test_a_second_interrupt_kills_all_runs(tmp_path, stop):
  script = '''
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({0!r}).touch()
time.sleep(60)
pathlib.Path({0!r}).unlink()
'''
  jobs = [_job(tmp_path / name, script.format(str(tmp_path / name / 'ready')))
          for name in 'ab']

  def interrupt():
    while not all((job.folder / 'ready').exists() for job in jobs):
      time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)

  threading.Thread(target=interrupt).start()
  assert _execute(jobs, stop, [Share(), Share()]) == []
  assert stop.signal == signal.SIGINT
  assert all((job.folder / 'ready').exists() for job in jobs)
