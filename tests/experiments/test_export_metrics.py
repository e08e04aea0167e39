"""The export to Weights & Biases and MLflow; skipped without the packages."""

import importlib.util
import json
import struct

import pytest
import run_folders

from deblur_jax import errors
from deblur_jax.training import workdir
from experiments import export_metrics


@pytest.fixture
def folder(tmp_path):
  """A grid of two runs; the second is at step 20 of 40."""
  for scales, steps in ((1, 40), (2, 20)):
    config = run_folders.config(scales=scales)
    run_folders.train(tmp_path / f'scales={scales}', config, steps=steps)
  run_folders.evaluated(
      tmp_path / 'scales=1', run_folders.config(), strength=1)
  return tmp_path


def _go_on(run):
  """Training logs two further lines."""
  with (run / workdir.METRICS).open('a') as file:
    for step in (30, 40):
      file.write(json.dumps({'step': step, 'loss': 1 / step}) + '\n')


def test_mlflow_has_each_line_once(folder, monkeypatch):
  mlflow = pytest.importorskip(
      'mlflow', reason="needs mlflow: pip install 'deblur-jax[tracking]'")
  monkeypatch.setenv('MLFLOW_TRACKING_URI', f'sqlite:///{folder}/mlflow.db')
  first, second = folder / 'scales=1', folder / 'scales=2'
  sent = lambda: [*export_metrics.export(folder, 'mlflow').values()]
  assert sent() == [4, 2]
  assert sent() == [0, 0]
  _go_on(second)
  assert sent() == [0, 2]
  client = mlflow.MlflowClient()
  runs = {run.info.run_name: run for run in client.search_runs(
      [client.get_experiment_by_name('deblur_jax').experiment_id])}
  assert sorted(runs) == [first.name, second.name]
  for run in runs.values():
    history = client.get_metric_history(run.info.run_id, 'loss')
    assert sorted(metric.step for metric in history) == [10, 20, 30, 40]
  done = runs[first.name]
  assert done.info.status == 'FINISHED'
  assert done.data.params['nets.net.scales'] == '1'
  psnr = workdir.read_json(first / 'eval.json')['mean']['psnr_uint8']
  assert done.data.metrics['test/psnr_uint8'] == pytest.approx(psnr)
  assert len(client.get_metric_history(
      done.info.run_id, 'test/psnr_uint8')) == 1


def _records(data):
  """The records of an offline run: a header of 7 bytes, then LevelDB's log."""
  position, record = 7, b''
  while position < len(data):
    length, kind = struct.unpack('<4xHB', data[position:position + 7])
    position += 7 + length
    record += data[position - length:position]
    if kind in (1, 4):      # whole, or the last part
      yield record
      record = b''


def test_wandb_has_one_run_a_folder(folder, monkeypatch):
  wandb = pytest.importorskip(
      'wandb', reason="needs wandb: pip install 'deblur-jax[tracking]'")
  from wandb.proto import wandb_internal_pb2

  monkeypatch.setenv('WANDB_MODE', 'offline')
  for _ in range(2):
    assert [*export_metrics.export(folder, 'wandb').values()] == [4, 2]
    wandb.teardown()      # ends the process that writes, as the program does
  for run, count in ((folder / 'scales=1', 4), (folder / 'scales=2', 2)):
    written, = run.glob('wandb/offline-run-*/*.wandb')
    assert written.stem == f'run-{export_metrics.identity(run)}'
    steps = []
    for data in _records(written.read_bytes()):
      record = wandb_internal_pb2.Record()
      record.ParseFromString(data)
      if record.HasField('history'):
        steps.append(record.history.step.num)
    assert steps == [10 * (i + 1) for i in range(count)]


@pytest.mark.parametrize('to, message', [
    ('wandbb', "Unknown --to 'wandbb'.*Did you mean 'wandb'"),
    *((to, f'--to={to} needs {to}: pip install .deblur-jax.tracking..')
      for to in export_metrics.SERVICES if not importlib.util.find_spec(to))])
def test_refusals(folder, to, message):
  with pytest.raises(errors.UserError, match=message):
    export_metrics.export(folder, to)


def test_a_folder_without_runs(tmp_path):
  with pytest.raises(errors.UserError, match='No runs in'):
    export_metrics.export(tmp_path, 'mlflow')
