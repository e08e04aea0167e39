"""The pictures of a report: test pictures that all settings restored."""

import pathlib
from collections.abc import Mapping

from deblur_jax.data import images, sampler
from deblur_jax.evaluation.report import figures, render, rows, runs
from deblur_jax.evaluation.report.runs import Run, Study


def read(study: Study, count: int) -> list[figures.Picture]:
  """Reads test pictures that all settings have; each shows its first seed.

  Args:
    study: of `runs.read_study`.
    count: how many, spread evenly.

  Returns:
    Pictures with the panels blur, each setting, sharp; the captions of all but
    the last have the PSNR. [] if no picture is there for all settings.

  Raises:
    UserError: a picture cannot be read.
  """
  first_runs = {}
  for label, group in runs.group(study).items():
    for run in filter(runs.is_finished, group):
      first_runs.setdefault(label, run)
  if not first_runs:
    return []
  names = [row['name'] for row in next(iter(first_runs.values())).eval['rows']]
  names = [name for name in names if all(
      _path(run, name, 'restored').exists() for run in first_runs.values())]
  return [_states(name, first_runs)
          for name in sampler.evenly_spaced(names, count)]


def _states(name: str, first_runs: Mapping[str, Run]) -> figures.Picture:
  """A test picture: blur, restored by each setting, sharp."""
  first = next(iter(first_runs.values()))
  panels = {f'blur  {_psnr(_row(first, name)["input"])}':
            images.read(_path(first, name, 'blur'))}
  for label, run in first_runs.items():
    panels[f'{label}  {_psnr(_row(run, name))}'] = images.read(
        _path(run, name, 'restored'))
  panels['sharp'] = images.read(_path(first, name, 'sharp'))
  return figures.Picture(name, panels)


def _row(run, name):
  return next(row for row in run.eval['rows'] if row['name'] == name)


def _psnr(row):
  return f'{render.number(row.get(rows.PSNR), 2)} dB'


def _path(run: Run, name: str, state: str) -> pathlib.Path:
  name = name.replace('/', '_')
  return run.folder / 'eval_pictures' / f'{name}.{state}.png'
