"""Runs: bit-exact resume, stop on a signal, refusal of other configs."""

import gzip
import json
import os
import shutil
import signal
import threading
import time

import jax
import numpy as np
import pytest
from helpers import tiny

from deblur_jax import errors, methods
from deblur_jax.evaluation import test_sets
from deblur_jax.training import checkpoint, profiling, train, workdir


def lines(folder):
  """metrics.jsonl without times."""
  return [{key: value for key, value in line.items()
           if key != 'seconds_per_step'}
          for line in workdir.read_metrics(folder)]


def final_state(config, folder):
  return test_sets.load(config, methods.build(config), folder)


def stop_at_step(folder, step):
  """Sends SIGTERM to this process when the step is in metrics.jsonl."""
  def watch():
    for _ in range(3000):
      if any(line['step'] >= step for line in workdir.read_metrics(folder)):
        os.kill(os.getpid(), signal.SIGTERM)
        return
      time.sleep(0.02)

  thread = threading.Thread(target=watch)
  thread.start()
  return thread


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
  """An uninterrupted run of 20 steps."""
  folder = tmp_path_factory.mktemp('straight')
  config = tiny(total_steps=20, log_every=1, save_every=10, profile=(2, 4),
                **{'nets.net.scales': 1, 'method.ema': 0.9,
                   'augment.preset': 'deepdeblur_torch7'})
  assert train.run(config, folder) == train.Result(20, True)
  return config, folder


def test_resumed_run_repeats_the_straight_one(straight, tmp_path):
  config, folder = straight
  thread = stop_at_step(tmp_path, 7)
  first = train.run(config, tmp_path)
  thread.join()
  assert not first.finished and 7 <= first.step < 20
  assert first.step == final_state(config, tmp_path).step
  assert first.step == lines(tmp_path)[-1]['step']
  assert not (tmp_path / 'summary.json').exists()
  assert train.run(config, tmp_path).finished
  jax.tree.map(np.testing.assert_array_equal,
               final_state(config, tmp_path), final_state(config, folder))
  resumed = {line['step']: line for line in lines(tmp_path)}
  for line in lines(folder):
    assert line.items() <= resumed[line['step']].items()
  assert [line['step'] for line in lines(tmp_path)] == list(range(1, 21))


def test_lines_of_lost_steps_are_dropped(straight, tmp_path):
  config, folder = straight
  for line in workdir.read_metrics(folder):
    with (tmp_path / workdir.METRICS).open('a') as file:
      file.write(json.dumps(line) + '\n')
  with (tmp_path / workdir.METRICS).open('a') as file:
    file.write('{"step": 21, "lo')  # killed while writing
  workdir.MetricsLog(tmp_path, finished=12).close()
  steps = [line['step'] for line in workdir.read_metrics(tmp_path)]
  assert steps == list(range(1, 13))


def test_the_folder_documents_the_run(straight):
  config, folder = straight
  assert workdir.read_config(folder) == json.loads(
      json.dumps(config | {'batch_size': 4}))
  environment = workdir.read_json(folder / 'environment.json')
  assert environment['versions']['jax'] == jax.__version__
  assert len(environment['devices']) == 2
  summary = workdir.read_json(folder / 'summary.json')
  params = final_state(config, folder).params['net']
  assert summary['parameters'] == sum(
      leaf.size for leaf in jax.tree.leaves(params))
  assert summary['steps'] == 20 and summary['macs_256'] > 0
  table = (folder / workdir.PARAMETERS).read_text()
  assert f'\nTotal: {summary["parameters"]:,} -- ' in table
  assert all(f'| {name} ' in table for name in (
      'net/scale_0/head/kernel', 'net/scale_0/head/bias'))
  assert sorted(path.name for path in (folder / 'pictures').iterdir()) == [
      'step_00000010.png', 'step_00000020.png']
  last = lines(folder)[-1]
  assert {'loss', 'grad_norm', 'lr', 'psnr', 'val_psnr_uint8'} <= last.keys()


def test_a_profile_has_the_chosen_steps(straight):
  _, folder = straight
  trace, = (folder / workdir.TENSORBOARD).glob(
      'plugins/profile/*/*.trace.json.gz')
  events = json.loads(gzip.decompress(trace.read_bytes()))['traceEvents']
  steps = [event for event in events if event.get('name') == profiling.STEP]
  assert [step['args']['step_num'] for step in steps] == ['3', '4']
  # The step is computed inside of them.
  begin, end = steps[0]['ts'], steps[-1]['ts'] + steps[-1]['dur']
  assert any(begin <= event.get('ts', 0) <= end and 'conv' in event['name']
             for event in events if 'hlo_op' in event.get('args', ()))


def test_running_a_finished_run_changes_nothing(straight):
  config, folder = straight
  before = (folder / 'summary.json').read_text(), lines(folder)
  assert train.run(config, folder).finished
  assert before == ((folder / 'summary.json').read_text(), lines(folder))


def test_loss_falls(tmp_path):
  config = tiny(total_steps=60, log_every=1, save_every=60,
                **{'nets.net.scales': 1, 'nets.net.residual': True,
                   'augment.preset': 'none', 'optim.net.lr': 2e-3,
                   'nets.net.features': 8, 'data.loader.crop': 32})
  train.run(config, tmp_path)
  psnr = [line['psnr'] for line in lines(tmp_path)]
  assert np.mean(psnr[-10:]) > np.mean(psnr[:10]) + 0.2


@pytest.mark.parametrize('changes, allow, message', [
    ({'optim.net.lr': 1e-5, 'log_every': 5}, False,
     r'another experiment: optim.net.lr: 0.0001 -> 1e-05\. Choose'),
    ({'nets.net.scales': 2, 'nets.net.depth': 8}, True,
     'of another network: params/net'),
    # The message does not call another method damage.
    ({'method.ema': 0.0}, True, 'of another method: .*ema.*, absent here'),
])
def test_a_folder_of_another_run_is_refused(straight, changes, allow, message):
  _, folder = straight
  other = tiny(**{
      'total_steps': 20, 'log_every': 1, 'save_every': 10,
      'nets.net.scales': 1, 'method.ema': 0.9,
      'augment.preset': 'deepdeblur_torch7'} | changes)
  before = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
  with pytest.raises(errors.UserError, match=message):
    train.run(other, folder, allow_config_change=allow)
  assert before == {
      path: path.stat().st_mtime_ns for path in folder.rglob('*')}


@pytest.mark.parametrize('which', ['last', 'best', '20'])
def test_checkpoints_by_name(straight, which):
  config, folder = straight
  state = test_sets.load(config, methods.build(config), folder, which=which)
  assert int(state.step) in ([10, 20] if which == 'best' else [20])


def test_not_finite_stops_and_keeps_the_checkpoint(straight, tmp_path):
  config, folder = straight
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  config = json.loads(json.dumps(config)) | dict(
      total_steps=40, log_every=50, save_every=2)
  config['optim']['net']['lr'] = 1e30
  with pytest.raises(
      errors.UserError,
      match=r'Step 2\d: .*grad_norm = (nan|inf).* checkpoint of step 20;'):
    train.run(config, tmp_path, allow_config_change=True)
  # The change is accepted and recorded.
  assert workdir.read_config(tmp_path)['optim']['net']['lr'] == 1e30
  state = final_state(config, tmp_path)
  assert int(state.step) == 20
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_the_newest_good_checkpoint(straight, tmp_path, caplog):
  """A damaged one is never replaced by a new start, nor silently by another."""
  config, folder = straight
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  _, parts = train.prepare(config, tmp_path)
  checkpoints = checkpoint.Checkpoints(tmp_path / workdir.CHECKPOINTS)
  state = checkpoints.restore(parts.abstract_state)
  for step, score in ((30, 99.0), (40, 0.0)):    # the best and the newest
    checkpoints.save(
        step, state.replace(step=state.step + step - 20), {'psnr_uint8': score})
  checkpoints.close()
  for path in (tmp_path / workdir.CHECKPOINTS / '40').rglob('*/d/*'):
    path.write_bytes(path.read_bytes()[:10])
  with pytest.raises(errors.UserError, match='checkpoints/40 is damaged .*30'):
    train.run(config, tmp_path)
  assert train.run(config, tmp_path, resume='newest_good').step == 30
  assert 'checkpoints/40 is damaged' in caplog.text


def test_crops_grow_and_are_blurred_in_the_step(tmp_path, picture_folder):
  config = tiny(total_steps=2, log_every=1, save_every=2,
                **{'nets.net.scales': 1,
                   'data.train': dict(name='photos', root=picture_folder),
                   'data.loader.progressive': [(1, 32, 2)]})
  config['data']['blur'] = dict(
      kind='line', size=5, length=(2.0, 4.0))
  assert train.run(config, tmp_path / 'run').finished
  assert [line['step'] for line in lines(tmp_path / 'run')] == [1, 2]
