"""Strict and quick: CPU, two devices, short compiles, no silent broadcasts."""

import os
import pathlib
import signal
import sys
import tempfile

# Every process that a test starts would compile the package again: 3 seconds.
os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
sys.dont_write_bytecode = False
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# What was compiled is kept for later tests, for the other workers of xdist and
# for the processes that tests start; it goes when the first process does. What
# jax cannot read or write there it compiles, and says so.
if 'PYTEST_XDIST_WORKER' not in os.environ:
  _PROGRAMS = tempfile.TemporaryDirectory(
      prefix='deblur_jax_', ignore_cleanup_errors=True)
  os.environ.update(
      DEBLUR_CACHE=os.path.join(_PROGRAMS.name, 'deblur'),    # not the user's
      # jax_disable_most_optimizations leaves half of the time to LLVM.
      XLA_FLAGS=' '.join((os.environ.get('XLA_FLAGS', ''),
                          '--xla_backend_optimization_level=0')).strip(),
      JAX_COMPILATION_CACHE_DIR=_PROGRAMS.name,
      JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0',
      JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES='-1')

import jax
import numpy as np
import pytest
from PIL import Image

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 2)
jax.config.update('jax_numpy_rank_promotion', 'raise')

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def real_data():
  """The folder of real pictures that is not part of the repository."""
  root = pathlib.Path(
      os.environ.get('DEBLUR_DATA', ROOT.parent / 'shared' / 'data'))
  if not root.is_dir():
    pytest.skip(f'no real pictures at {root}; set DEBLUR_DATA to their folder')
  return root


@pytest.fixture
def picture_folder(tmp_path):
  """A folder of three small sharp pictures."""
  folder = tmp_path / 'pictures'
  folder.mkdir()
  random = np.random.default_rng(0)
  for name in ('one', 'two', 'three'):
    picture = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    picture.resize((64, 48), Image.BICUBIC).save(folder / f'{name}.png')
  return str(folder)


@pytest.fixture
def stop():
  """A `job_queue.Stop`; the handlers of signals come back after the test."""
  from experiments import job_queue

  previous = {number: signal.getsignal(number)
              for number in (signal.SIGINT, signal.SIGTERM)}
  yield job_queue.Stop()
  for number, handler in previous.items():
    signal.signal(number, handler)
