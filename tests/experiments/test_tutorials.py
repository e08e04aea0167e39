"""The tutorials run, with the smallest networks and pictures.

Of those that train, the plan: tests of the configs train each for two steps.
"""

import helpers
import pytest
import run_folders

from deblur_jax import methods
from deblur_jax.evaluation.report import runs
from deblur_jax.training import train
from experiments import tutorials
from experiments.tutorials import (
  first_restoration,
  k_ablation,
  live_prior,
  unpaired_physics,
)


def test_first_restoration(tmp_path):
  # Without weights a residual network returns its input.
  run_folders.untrained(
      tmp_path / 'run', helpers.tiny(**{'nets.net.residual': True}), scale=0.0)
  scores = first_restoration.run(tmp_path, model=tmp_path / 'run', side=32)
  assert scores['restored'] == pytest.approx(scores['blur'])
  assert (tmp_path / 'compare.png').exists()


def test_live_prior(tmp_path):
  curve = live_prior.run(tmp_path, variant='debug', side=16)
  assert len(curve) == 2 and curve[0] != pytest.approx(curve[1])


def test_k_ablation(tmp_path):
  jobs = k_ablation.plan(tmp_path)
  assert [job.settings for job in jobs] == [
      {'nets.net.scales': scales} for scales in (1, 2, 3)]
  assert [run.folder for run in runs.read_study(tmp_path).runs] == [
      job.folder for job in jobs]
  for job in jobs:
    train.check(job.config)


def test_unpaired_physics():
  config = unpaired_physics.plan()
  train.check(config)
  assert methods.build(config).unpaired
  assert config['total_steps'] == 400 and not config['data']['blur']


def test_the_manual_shows_every_tutorial():
  text = (helpers.ROOT / 'docs' / 'tutorials.md').read_text('utf-8')
  for name in tutorials.NAMES:
    assert f'--8<-- "experiments/tutorials/{name}.py"' in text
    assert f'experiments.tutorials --name={name} --out' in text
