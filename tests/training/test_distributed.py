"""The same run on one device, and on eight of two processes.

Whole processes, because the number of devices is fixed when jax starts.
"""

import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import pytest
import sample_pictures

from deblur_jax import errors
from deblur_jax.training import parallel, workdir

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONG = 40
PICTURES = 'DEBLUR_TEST_PICTURES'


@pytest.fixture(scope='module', autouse=True)
def pictures(tmp_path_factory):
  """Pairs, in PICTURES; making the built-in ones takes each process a second.
  """
  root = tmp_path_factory.mktemp('pictures')
  sample_pictures.gopro(
      root, counts=(('train', 12), ('test', 1)), height=64, width=64)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(PICTURES, str(root))
    yield


def start(folder, *flags, devices=1, **options):
  environment = os.environ | {
      'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices)}
  keys = {
      'total_steps': LONG, 'log_every': 1, 'save_every': LONG,
      'batch_size': 8, 'nets.net.dtype': 'float32', 'nets.net.scales': 1,
      'nets.net.depth': 4, 'nets.net.features': 16, 'validate.pictures': 1,
      # The same program for any number of steps.
      'optim.net.schedule': 'constant', 'optim.net.boundaries': (),
      'data.loader.backend': 'threads'}
  for split in ('train', 'test'):
    keys[f'data.{split}'] = (f'{{name: gopro, root: {os.environ[PICTURES]}, '
                             f'subset: blur, split: {split}}}')
  return subprocess.Popen(
      [sys.executable, '-m', 'experiments.train', f'--workdir={folder}',
       '--config=configs/multiscale_gopro.py:debug',
       *(f'--config.{key}={value}' for key, value in keys.items()), *flags],
      cwd=ROOT, env=environment, stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT, text=True, **options)


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


class Run(NamedTuple):
  """A run on one device: killed, stopped by a full disk, then finished."""

  killed: list[float]      # losses until then
  checkpoints: list[str]   # names of what was left
  output: str              # of the second process, whose disk is full
  left: list[str]          # checkpoints after it
  copy: pathlib.Path       # the folder then
  ended: list[float]


@pytest.fixture(scope='module')
def one_device(tmp_path_factory):
  folder = tmp_path_factory.mktemp('one')
  checkpoints = folder / 'checkpoints'
  names = lambda: sorted(path.name for path in checkpoints.iterdir())
  process = start(folder, '--config.save_every=1')
  while process.poll() is None:
    if checkpoints.is_dir() and any('tmp' in name for name in names()
        if len(workdir.read_metrics(folder)) > 3):
      process.send_signal(signal.SIGKILL)
      break
    time.sleep(0.002)
  process.communicate()
  killed, before = losses(folder), names()
  limit = 8 * 1024
  full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
  output = finish(
      start(folder, '--config.save_every=1', preexec_fn=full), code=2)
  left = names()
  copy = shutil.copytree(folder, tmp_path_factory.mktemp('copy') / 'run')
  finish(start(folder))
  return Run(killed, before, output, left, copy, losses(folder))


def test_killed_while_saving(one_device):
  """kill -9 during a save loses at most the unsaved steps."""
  before, after = one_device.killed, one_device.ended
  assert 3 < len(before) < LONG
  assert len(after) == LONG
  # At most one save was running and one was in the queue.
  assert after[:len(before) - 2] == before[:len(before) - 2]


def test_full_disk(one_device):
  """One line, no traceback, no partial file; then the run resumes."""
  output = one_device.output
  errors = [line for line in output.splitlines() if 'error: ' in line]
  assert len(errors) == 1 and 'Traceback' not in output, output
  assert 'Could not ' in errors[0] and 'Make room and start again' in errors[0]
  whole = lambda names: {name for name in names if name.isdigit()}
  assert whole(one_device.left) == whole(one_device.checkpoints) > set()
  assert len(one_device.ended) == LONG


def start_two(folder, *flags):
  """Two processes of four devices that keep a part of the state each."""
  port = free_port()
  return [start(folder, f'--coordinator=localhost:{port}',
                '--num_processes=2', f'--process_id={index}',
                '--config.split_state=True', *flags, devices=4)
          for index in range(2)]


def test_from_one_device_to_two_processes_to_two_devices(one_device):
  """Fault 5: the same batches, and the state whoever had which part of it."""
  folder = one_device.copy
  step = max(int(name) for name in one_device.left if name.isdigit())
  change = lambda more: (
      f'--config.total_steps={step + more}', '--allow_config_change')
  for process in start_two(folder, *change(2)):
    finish(process)
  finish(start(folder, '--config.split_state=True', *change(4), devices=2))
  assert len(losses(folder)) == step + 4 < LONG    # else killed too late
  np.testing.assert_allclose(
      losses(folder)[step:], one_device.ended[step:step + 4], rtol=1e-5)


def test_a_process_whose_peer_dies_ends(one_device, tmp_path):
  """Fault 17: it says why, and what to do; nothing hangs."""
  first, second = start_two(
      tmp_path, '--config.total_steps=100000', '--heartbeat=20')
  end = time.monotonic() + 200
  while len(workdir.read_metrics(tmp_path)) < 4 and first.poll() is None:
    assert time.monotonic() < end
    time.sleep(0.1)
  assert first.poll() is None, first.communicate()[0]
  second.kill()
  output, _ = first.communicate(timeout=150)
  second.communicate()
  assert first.returncode not in (0, None), output
  assert re.search('another (process of this run has ended|task died)', output)
  # Until then they agreed with one device.
  np.testing.assert_allclose(
      losses(tmp_path)[:4], one_device.ended[:4], rtol=2e-6)


def test_incomplete_addresses_are_refused():
  with pytest.raises(errors.UserError, match='Several processes need all of'):
    parallel.initialize(
        coordinator='localhost:1', num_processes=0, process_id=-1)
