"""SIGTERM and Ctrl-C end a run after its step, or soon while it compiles."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from deblur_jax.training import signals

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Compiled code that never returns, as a compiler seems to.
ENDLESS = '''
import jax
from deblur_jax.training import signals
signals.GRACE = 0.1
loop = jax.jit(lambda x: jax.lax.while_loop(
    lambda y: y > 0, lambda y: abs(jax.numpy.sin(y)) + 0.1, x))
loop(0.0)
with signals.stopping(lambda: None, has_progress=lambda: False):
  print('ready', flush=True)
  jax.block_until_ready(loop(1.0))
'''


def test_the_first_step_does_not_hold_the_process():
  process = subprocess.Popen(
      [sys.executable, '-c', ENDLESS], cwd=ROOT, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  assert process.stdout.readline() == 'ready\n', process.stderr.read()
  process.send_signal(signal.SIGINT)
  _, printed = process.communicate(timeout=60)
  assert process.returncode == 128 + signal.SIGINT
  assert 'Stopped before the first step ended' in printed
  assert 'Traceback' not in printed


@pytest.mark.parametrize('number', signals.SIGNALS)
def test_a_step_ends_and_handlers_come_back(number):
  stopped, before = [], [signal.getsignal(one) for one in signals.SIGNALS]
  with signals.stopping(lambda: stopped.append(1), has_progress=lambda: True):
    os.kill(os.getpid(), number)
    assert stopped == [1]
  assert [signal.getsignal(one) for one in signals.SIGNALS] == before


def test_a_second_ctrl_c_interrupts():
  with pytest.raises(KeyboardInterrupt):
    with signals.stopping(lambda: None, has_progress=lambda: True):
      for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
