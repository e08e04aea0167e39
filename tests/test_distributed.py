"""The same run on one device, and on eight of two processes.

Whole processes, because the number of devices is fixed when jax starts.
"""

import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from deblur_jax import workdir

ROOT = pathlib.Path(__file__).resolve().parents[1]
STEPS = 8


def start(folder, *flags, devices=1, **options):
  environment = os.environ | {
      'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices),
      'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  keys = {
      'total_steps': STEPS, 'log_every': 1, 'save_every': STEPS,
      'batch_size': 8, 'nets.net.dtype': 'float32', 'nets.net.scales': 1,
      'nets.net.depth': 4, 'data.loader.loader': 'threads'}
  return subprocess.Popen(
      [sys.executable, '-m', 'experiments.train', f'--workdir={folder}',
       '--config=configs/multiscale_gopro.py:debug',
       *(f'--config.{key}={value}' for key, value in keys.items()), *flags],
      cwd=ROOT, env=environment, stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT, text=True, **options)


@pytest.fixture(scope='module', autouse=True)
def one_compilation_for_all(tmp_path_factory):
  """Most of these processes run the same program."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path_factory.mktemp('c')))
    patch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.1')
    yield


def finish(process, code=0):
  output, _ = process.communicate(timeout=240)
  assert process.returncode == code, output
  return output


def losses(folder):
  return [line['loss'] for line in workdir.read_metrics(folder)]


def free_port():
  with socket.socket() as listener:
    listener.bind(('localhost', 0))
    return listener.getsockname()[1]


@pytest.fixture(scope='module')
def one_device(tmp_path_factory):
  """Losses of a run that goes on where a full disk ended it."""
  folder = tmp_path_factory.mktemp('one')
  limit = 8 * 1024
  full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
  output = finish(start(folder, preexec_fn=full), code=2)
  left = [path.name for path in (folder / 'checkpoints').iterdir()]
  finish(start(folder))
  return losses(folder), output, left


def test_full_disk(one_device):
  """One line, no traceback, nothing half-written; then it goes on."""
  after, output, left = one_device
  errors = [line for line in output.splitlines() if 'error: ' in line]
  assert len(errors) == 1 and 'Traceback' not in output, output
  assert 'Could not ' in errors[0] and 'Make room and start again' in errors[0]
  assert not any(name.isdigit() for name in left)
  assert len(after) == STEPS


def test_two_processes_of_four_devices_agree(one_device, tmp_path):
  port = free_port()
  both = [start(tmp_path, f'--coordinator=localhost:{port}',
                '--num_processes=2', f'--process_id={index}', devices=4)
          for index in range(2)]
  for process in both:
    finish(process)
  np.testing.assert_allclose(losses(tmp_path), one_device[0], rtol=2e-6)


def test_half_given_addresses_are_refused(tmp_path):
  process = start(tmp_path, '--coordinator=localhost:1')
  assert 'Several processes need all of' in finish(process, code=2)


def test_killed_while_saving(tmp_path):
  """kill -9 at a save loses the unsaved steps at most."""
  folder = tmp_path / 'run'
  flags = ['--config.total_steps=60', '--config.save_every=1']
  process = start(folder, *flags)
  checkpoints = folder / 'checkpoints'
  while process.poll() is None:
    if checkpoints.is_dir() and any(
        'tmp' in path.name for path in checkpoints.iterdir()
        if len(workdir.read_metrics(folder)) > 3):
      process.send_signal(signal.SIGKILL)
      break
    time.sleep(0.002)
  process.communicate()
  before = losses(folder)
  assert 3 < len(before) < 60
  finish(start(folder, '--config.total_steps=60', '--config.save_every=60'))
  after = losses(folder)
  assert len(after) == 60
  # At most one save was under way and one more in the queue.
  assert after[:len(before) - 2] == before[:len(before) - 2]
