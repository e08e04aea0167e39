"""The plan of a training on accelerators, as text and JSON."""

import json

import helpers
import pytest
from absl import flags
from absl.testing import flagsaver

from deblur_jax import errors
from deblur_jax.training import accelerators, step_cost
from experiments import config_flag, plan, plan_table


@pytest.mark.parametrize('name, settings, message', [
    ('prior_denoise', {}, 'is of a prior'),
    ('multiscale_gopro', {'batch_size': 'abc'},
     "batch_size must be at least 1, got 'abc'")])
def test_a_config_that_cannot_be_trained(name, settings, message, monkeypatch):
  monkeypatch.setattr(config_flag, 'value', lambda: config_flag.load(
      f'{helpers.ROOT}/configs/{name}.py', settings))
  with flagsaver.flagsaver(), pytest.raises(errors.UserError, match=message):
    flags.FLAGS(['plan'])
    plan.main([])


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


def test_the_largest_batch_of_each_topology(tmp_path, monkeypatch, capsys):
  tiny = {'nets.net.scales': 1, 'nets.net.depth': 4, 'nets.net.features': 2,
          'data.loader.crop': 32}
  monkeypatch.setattr(plan_table, 'TABLE', tmp_path / 'plans.json')
  monkeypatch.setattr(
      plan_table, 'TRAININGS', {'tiny': ('multiscale_gopro', tiny)})
  run = lambda *words: flags.FLAGS(['plan_table', *words]) and (
      plan_table.main([]))
  with flagsaver.flagsaver():
    run()
    rows = json.loads(plan_table.TABLE.read_text())
    assert [row['topology'] for row in rows] == [*plan_table.TOPOLOGIES]
    for row in rows:
      topology = accelerators.parse(row['topology'])
      crops = row['batch'] // topology.size
      assert crops & (crops - 1) == 0 and row['batch'] % topology.size == 0
      assert row['memory'] <= topology.chip.memory
      # Twice as many crops do not fit, or are more than the table looks for.
      assert crops == 2**11 or 2 * row['memory'] > topology.chip.memory
      assert row['chip_hours'] == pytest.approx(row['hours'] * row['chips'])
    # What is counted grows linearly.
    config = plan_table.config_of('tiny')
    five = step_cost.counted(config, accelerators.parse('h200:2'), 10)
    one, two = plan_table.counts(config)
    for key in ('flops', 'bytes', 'memory'):
      assert getattr(five, key) == pytest.approx(
          4 * getattr(two, key) - 3 * getattr(one, key), rel=0.01), key
    # Rows that exist are kept.
    monkeypatch.setattr(plan_table, 'counts', None)
    run()
    assert json.loads(plan_table.TABLE.read_text()) == rows
