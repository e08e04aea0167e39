"""The ablation over the number of scales K, in one process."""

import pathlib
from collections.abc import Sequence

from deblur_jax.evaluation import report, test_sets
from deblur_jax.evaluation.report import runs
from deblur_jax.training import train
from experiments import common, grids, run_kinds


def plan(
    out: pathlib.Path, *, config: str = f'{common.ROOT}/configs/quickstart.py',
    sets: Sequence[str] = ()) -> list[run_kinds.Job]:
  """The runs of the ablation; runs.json gets their order and settings.

  Args:
    out: the folder of all runs.
    config: the file of the network and its training.
    sets: further keys with their values, as --set of `experiments.ablate`.
  """
  # A grid is a config and the values of some of its keys. `restorer.` is the
  # network that restores, whatever the config calls it.
  grid = grids.choose('k_scales', config, sets)
  jobs = run_kinds.expand(grid, out)
  runs.write_plan(out, name='k_scales', config=grid.config,
                  runs={job.name: job.settings for job in jobs},
                  papers=grid.papers)
  return jobs


def run(out: pathlib.Path, **options) -> report.Report:
  """Trains a small network for K = 1, 2 and 3, and compares them.

  `experiments.ablate` does the same, with a process for each run.

  Args:
    out: gets a folder for each run, and the report.
    **options: of `plan`.
  """
  for job in plan(out, **options):
    # Trains to the end, or resumes where it was stopped.
    train.run(job.config, job.folder)
    # Writes eval.json: PSNR and SSIM of the whole test set.
    test_sets.run(job.config, job.folder)

  # report.html has tables, intervals of the differences, curves and pictures.
  written = report.write(out)
  print(report.describe(written))
  return written
