"""TensorBoard's HPARAMS tab has a row for each run of an ablation."""

import run_folders
from tensorboard.backend.event_processing import (
  data_provider,
  plugin_event_multiplexer,
)
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
  api_pb2,
  backend_context,
  list_session_groups,
)

from experiments import run_kinds


def _rows(folder):
  """[(hyperparameters, metrics)] as TensorBoard reads them."""
  events = plugin_event_multiplexer.EventMultiplexer()
  events.AddRunsFromDirectory(str(folder))
  events.Reload()
  provider = data_provider.MultiplexerDataProvider(events, str(folder))
  backend = backend_context.Context(base_plugin.TBContext(
      data_provider=provider))
  metrics = [api_pb2.MetricName(tag='test/psnr_uint8')]
  request = api_pb2.ListSessionGroupsRequest(
      allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING],
      col_params=[{'metric': name} for name in metrics], slice_size=10)
  found = list_session_groups.Handler(
      RequestContext(), backend, '', request).run()
  return [({name: value.number_value or value.string_value
            for name, value in group.hparams.items()},
           {value.name.tag: value.value for value in group.metric_values},
           len(group.sessions))
          for group in found.session_groups]


def test_a_row_for_each_finished_run(tmp_path):
  jobs = []
  for scales in (1, 2, 3):
    config = run_folders.config(scales=scales) | {'tensorboard': scales != 3}
    folder = tmp_path / f'scales={scales}'
    jobs.append(run_kinds.Job(
        folder.name, folder, {'nets.net.scales': scales, 'sizes': (1, 2)},
        config, []))
    run_folders.train(folder, config)
    if scales == 2:
      run_kinds.TRAINED.record(jobs[-1])     # not finished: no row
    run_folders.evaluated(folder, config, strength=scales)
    for _ in range(2):     # again, as when the ablation is started again
      run_kinds.TRAINED.record(jobs[-1])
  rows = sorted(_rows(tmp_path), key=lambda row: row[0]['nets.net.scales'])
  assert [row[0] for row in rows] == [
      {'nets.net.scales': 1.0, 'sizes': '1+2'},
      {'nets.net.scales': 2.0, 'sizes': '1+2'}]
  for job, (_, metrics, sessions) in zip(jobs, rows, strict=False):
    mean = run_kinds.runs_lib.read_run(job.folder).eval['mean']
    assert sessions == 1
    assert abs(metrics['test/psnr_uint8'] - mean['psnr_uint8']) < 1e-4
