"""The hook of a run: the time of a step."""

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


@pytest.mark.parametrize('log_every', [1, 2, 3])
def test_time_of_a_step_has_all_waiting(log_every, tmp_path):
  parts = types.SimpleNamespace(
      method=types.SimpleNamespace(watches=()),
      abstract_state=types.SimpleNamespace(params={}), names=None)
  config = {'total_steps': 99, 'save_every': 99, 'log_every': log_every,
            'tensorboard': False}
  recorder = hooks.Recorder(
      config, tmp_path, parts, checkpoints=None, validate=None, finished=0)
  for step in range(1, 3 * log_every + 1):
    recorder(step, None, {'loss': StillComputing()})
  recorder.close()
  _, *lines = workdir.read_metrics(tmp_path)    # the first may have no time
  for line in lines:
    assert line['seconds_per_step'] >= STEP_SECONDS
