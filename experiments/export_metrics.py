r"""Sends the metrics of runs to Weights & Biases or to MLflow.

  python -m experiments.export_metrics --to=mlflow --workdir=runs/k_scales
  WANDB_MODE=offline python -m experiments.export_metrics --to=wandb \
      --workdir=runs/k_scales/scales=1 --workdir=runs/k_scales/scales=2

A --workdir is a run or a folder of runs. Their configs, metrics.jsonl and
eval.json are read, also while they train. The same command again sends only
what is new: the id of a run follows from its folder. Where it is sent is a
matter of these packages (WANDB_MODE, WANDB_BASE_URL, MLFLOW_TRACKING_URI).
"""

import hashlib
import pathlib
import shutil

from absl import flags

from deblur_jax import errors
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.training import workdir
from experiments import common

SENT = 'deblur_jax.step'     # a tag of MLflow: the last step that it has
ID = 'deblur_jax.id'


def identity(folder: pathlib.Path) -> str:
  """The id of a run: 16 letters that follow from the path of its folder."""
  return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def scores(run: runs_lib.Run) -> dict[str, float]:
  """The means over the test set: 'test/METRIC' -> value; {} without them."""
  return {f'test/{name}': value
          for name, value in run.eval.get('mean', {}).items()}


def to_wandb(run: runs_lib.Run, project: str) -> int:
  """Sends a run to Weights & Biases.

  Args:
    run: of `runs.read_run`.
    project: there.

  Returns:
    The number of new lines.

  Raises:
    UserError: the package is missing.
  """
  with errors.needs_extra('wandb', extra='tracking', what='--to=wandb'):
    import wandb

  name = identity(run.folder)
  # What was written offline cannot be continued; it is written anew, whole.
  for path in run.folder.glob(f'wandb/offline-run-*-{name}'):
    shutil.rmtree(path)
  there = wandb.init(
      project=project, id=name, name=run.folder.name, config=run.config,
      dir=run.folder, resume='allow')
  new = [line for line in run.metrics if line['step'] >= there.step]
  for line in new:
    there.log({key: value for key, value in line.items() if key != 'step'},
              step=line['step'])
  there.summary.update(scores(run))
  there.finish()
  return len(new)


def to_mlflow(run: runs_lib.Run, project: str) -> int:
  """Sends a run to MLflow.

  Args:
    run: of `runs.read_run`.
    project: MLflow's experiment.

  Returns:
    The number of new lines.

  Raises:
    UserError: the package is missing.
  """
  with errors.needs_extra('mlflow', extra='tracking', what='--to=mlflow'):
    import mlflow
    from mlflow.entities import Metric, Param

  client = mlflow.MlflowClient()
  experiment = client.get_experiment_by_name(project)
  where = (experiment.experiment_id if experiment
           else client.create_experiment(project))
  name = identity(run.folder)
  found = client.search_runs([where], f"tags.`{ID}` = '{name}'")
  there = found[0] if found else client.create_run(
      where, run_name=run.folder.name, tags={ID: name, SENT: '-1'})
  sent = int(there.data.tags[SENT])
  new = [line for line in run.metrics if line['step'] > sent]
  values = [(key, value, line['step'], workdir.METRICS)
            for line in new for key, value in line.items() if key != 'step']
  values += [(key, value, run.eval['step'], 'eval.json')
             for key, value in scores(run).items()]
  # A score that is sent again is the same to the millisecond, and kept once.
  metrics = [Metric(key, value, int(_changed(run, file) * 1000), step)
             for key, value, step, file in values]
  params = [] if found else [
      Param(key, str(value)) for key, value in workdir.flatten(
          run.config).items()]
  for begin in range(0, len(params), 100):      # MLflow's limits of a call
    client.log_batch(there.info.run_id, params=params[begin:begin + 100])
  for begin in range(0, len(metrics), 1000):
    client.log_batch(there.info.run_id, metrics=metrics[begin:begin + 1000])
  if new:
    client.set_tag(there.info.run_id, SENT, str(new[-1]['step']))
  if runs_lib.is_finished(run):
    client.set_terminated(there.info.run_id)
  return len(new)


def _changed(run, file):
  return (run.folder / file).stat().st_mtime


SERVICES = {'wandb': to_wandb, 'mlflow': to_mlflow}


def export(
    folder: pathlib.Path, to: str, *, project: str = 'deblur_jax'
) -> dict[str, int]:
  """Sends all runs of a folder.

  Args:
    folder: of a run, or of runs.
    to: a row of SERVICES.
    project: there.

  Returns:
    Path of a run -> number of new lines.

  Raises:
    UserError: no run, an unknown service, or its package is missing.
  """
  send = errors.look_up(SERVICES, to, what='--to')
  return {str(run.folder): send(run, project)
          for run in runs_lib.read_study(folder).runs if run.config}


def define_flags() -> None:
  """Defines the flags."""
  flags.DEFINE_string('to', None, 'wandb or mlflow.', required=True)
  flags.DEFINE_multi_string(
      'workdir', None, 'Folder of a run, or of runs; may be given again.',
      required=True)
  flags.DEFINE_string('project', 'deblur_jax', 'Project, or experiment, there.')


def main(argv):
  """Prints a line for each run."""
  del argv
  options = flags.FLAGS
  for folder in options.workdir:
    sent = export(pathlib.Path(folder).expanduser(), options.to,
                  project=options.project)
    for run, count in sent.items():
      print(f'{run}: {count} new lines sent to {options.to}')


if __name__ == '__main__':
  define_flags()
  common.run(main)
