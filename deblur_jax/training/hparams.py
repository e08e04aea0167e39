"""Hyperparameters and final metrics of a run, for TensorBoard's HPARAMS tab."""

import pathlib
import shutil
from collections.abc import Mapping

from deblur_jax import errors
from deblur_jax.training import workdir

FOLDER = 'hparams'     # in the folder of TensorBoard's files


def write(
    folder: pathlib.Path, hparams: Mapping[str, bool | int | float | str],
    scores: Mapping[str, float], *, step: int) -> None:
  """Writes a row of the table; it replaces the row of an earlier call.

  Args:
    folder: of the run.
    hparams: name -> value.
    scores: metric -> value; its column is 'test/METRIC'.
    step: of the weights that were evaluated.

  Raises:
    UserError: TensorFlow is missing.
  """
  with errors.needs_extra('TensorFlow', extra='train', what='TensorBoard'):
    from clu import metric_writers

  path = folder / workdir.TENSORBOARD / FOLDER
  shutil.rmtree(path, ignore_errors=True)
  writer = metric_writers.SummaryWriter(str(path))
  writer.write_hparams(hparams)
  writer.write_scalars(
      step, {f'test/{name}': value for name, value in scores.items()})
  writer.close()
