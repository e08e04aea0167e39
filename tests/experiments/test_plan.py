"""The plan of a training on accelerators, as text and JSON."""

import json

import helpers
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import plan


@pytest.fixture
def printed(capsys):
  def run(*words):
    with flagsaver.flagsaver():
      flags.FLAGS(['plan', f'--config={helpers.ROOT}/configs/'
                   'multiscale_gopro.py:debug', *words])
      plan.main([])
    return capsys.readouterr().out

  return run


def test_text_and_json_agree(printed):
  found = json.loads(printed('--topology=h200:8', '--batch=16', '--json'))
  assert found['fits'] and found['batch'] == 16 and found['crop'] == 32
  first, *_, last = found['scaling']
  assert last['chips'] == 256 and last['batch'] == 512
  assert last['chip_hours'] > first['chip_hours']    # the network is slower
  text = printed('--topology=h200:8', '--batch=16', '--nojson')
  assert '16 crops of 32x32 in bfloat16' in text
  assert f'| 8 | 16 | {1e3 * found["seconds"]:.1f} |' in text
