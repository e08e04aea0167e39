r"""Compares many settings of one config: trained methods, or fits of a prior.

  python -m experiments.ablate --name=k_scales --workdir=runs/k_scales
  python -m experiments.ablate --config=configs/multiscale_gopro.py \
      --set nets.net.scales=1,2,3 --set seed=0,1,2 --workdir=runs/k_seeds
  python -m experiments.ablate --task=denoise --truth=PHOTOS --crop=128 \
      --name=depth --workdir=OUT
  python -m experiments.ablate --task=sr --truth=PHOTOS \
      --set method.jitter=0.0,0.03 --set total_steps=800 --workdir=OUT

Each setting has its own folder in --workdir. All settings are checked before
the first run begins. The same command again skips finished settings and
continues with the others. --dry_run prints the command
of each run, a line each, for a scheduler; --only=I does the I-th run (from 0).

With --task each setting is fitted to the same pictures, as by
experiments.prior, which explains the other flags; without --config the config
is configs/prior_TASK.py. OUT/table.md has a row for each setting: parameters,
mean PSNR of each kept image, the oracle, the gap to it, seconds a step.

Exit codes: 0 all done, 1 a run failed (the report says which), 2 one line says
what is wrong, 128 + N stopped by signal N.
"""

import shlex
import sys

from absl import flags

from deblur_jax import errors
from deblur_jax.evaluation.report import runs as runs_lib
from experiments import common, device_shares, grids, job_queue, run_kinds
from experiments import prior as prior_program


def select(jobs: list[run_kinds.Job], only: int | None) -> list[run_kinds.Job]:
  """All jobs, or the one of a number from 0.

  Raises:
    UserError: no such number.
  """
  if only is None:
    return jobs
  if not 0 <= only < len(jobs):
    raise errors.UserError(f'--only must be 0 to {len(jobs) - 1}, got {only}.')
  return [jobs[only]]


def define_flags() -> None:
  """Defines the flags; the tests import the functions without them."""
  flags.DEFINE_string('name', None, 'A row of `grids.GRIDS`.')
  flags.DEFINE_string(
      'config', None, "Config file, FILE or FILE:ARG, instead of the grid's.")
  flags.DEFINE_multi_string(
      'set', [], 'KEY=VALUE,VALUE,...; may be given again for other keys.')
  flags.DEFINE_string('workdir', None, 'Folder of all the runs.', required=True)
  flags.DEFINE_bool('dry_run', False, 'Only print the commands.')
  flags.DEFINE_integer('only', None, 'Do only the run of this number, from 0.')
  flags.DEFINE_integer(
      'jobs', 1, 'How many runs at a time, each with an equal share of the '
      'devices.', lower_bound=1)
  prior_program.define_flags()


def main(argv):
  """Returns the exit code."""
  del argv
  options = flags.FLAGS
  folder = common.workdir()
  if options.task:
    kind = run_kinds.fitted(options)
  else:
    kind = run_kinds.TRAINED
    for flag in options.flags_by_module_dict()[prior_program.__name__]:
      if flag.present:
        raise errors.UserError(f'--{flag.name} is for priors: give --task.')
  grid = grids.choose(
      options.name, options.config, options.set, task=options.task)
  jobs = run_kinds.expand(grid, folder, kind)
  chosen = select(jobs, options.only)
  if options.dry_run:
    for job in chosen:
      print(shlex.join(job.command))
    return 0
  shares = device_shares.of_this_machine(options.jobs)
  run_kinds.use_cpus(shares[0].devices)
  for job in chosen:      # all of them, before the first run begins
    if not kind.is_finished(job):
      kind.check(job)
  errors.make_folder(folder)
  runs_lib.write_plan(
      folder, name=options.name or folder.name, config=grid.config,
      runs={job.name: job.settings for job in jobs}, papers=grid.papers)
  stop = job_queue.Stop()
  failed = job_queue.execute(
      chosen, stop, kind=kind, shares=shares)
  print(f'\n{kind.report(folder, jobs)}', flush=True)
  if stop.signal:
    print('Stopped; the same command continues.', file=sys.stderr)
    return 128 + stop.signal
  return 1 if failed else 0


if __name__ == '__main__':
  define_flags()
  common.run(main)
