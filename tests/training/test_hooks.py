"""The hook of a run: the time of a step, and the lines of a log."""

import re
import time
import types

import pytest

from deblur_jax.training import hooks, workdir

STEP_SECONDS = 0.02


class StillComputing:
  """A metric on a device: who reads it waits for the step."""

  def __float__(self):
    time.sleep(STEP_SECONDS)
    return 0.5


def _recorder(folder, *, log_every):
  parts = types.SimpleNamespace(
      method=types.SimpleNamespace(watches=()),
      abstract_state=types.SimpleNamespace(params={}), names=None)
  config = {'total_steps': 8000, 'save_every': 8000, 'log_every': log_every,
            'tensorboard': False}
  return hooks.Recorder(
      config, folder, parts, checkpoints=None, validate=None, finished=0)


@pytest.mark.parametrize('log_every', [1, 2, 3])
def test_time_of_a_step_has_all_waiting(log_every, tmp_path):
  recorder = _recorder(tmp_path, log_every=log_every)
  for step in range(1, 3 * log_every + 1):
    recorder(step, None, {'loss': StillComputing()})
  recorder.close()
  _, *lines = workdir.read_metrics(tmp_path)    # the first may have no time
  for line in lines:
    assert line['seconds_per_step'] >= STEP_SECONDS


def test_a_log_gets_a_line_for_each_entry_and_no_bar(tmp_path, capsys):
  recorder = _recorder(tmp_path, log_every=2)
  for step in (1, 2, 3, 4):
    recorder(step, None, {'loss': 0.25})
  recorder.close()
  _, first, second = capsys.readouterr().err.splitlines()
  assert first.startswith('Step 2 of 8,000: loss 0.25, ')
  assert re.fullmatch(
      r'Step 4 of 8,000: loss 0.25, \S+ s a step, 0:\d\d:\d\d left', second)


@pytest.mark.parametrize(('step', 'seconds', 'line'), [
    (1, None, 'Step 1 of 8,000: loss 0.5'),
    (2000, 0.6, 'Step 2,000 of 8,000: loss 0.5, 0.6 s a step, 1:00:00 left'),
    (8000, 90.0, 'Step 8,000 of 8,000: loss 0.5, 90 s a step, 0:00:00 left'),
    (800, 12.0,
     'Step 800 of 8,000: loss 0.5, 12 s a step, 1 day, 0:00:00 left'),
])
def test_progress(step, seconds, line, tmp_path):
  values = {'loss': 0.5, 'seconds_per_step': seconds} if seconds else {
      'loss': 0.5}
  assert _recorder(tmp_path, log_every=1)._progress(step, values) == line
