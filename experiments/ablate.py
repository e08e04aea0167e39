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
continues with the others. --jobs=N does N runs at a time, each with an equal
share of the GPUs or CPU devices and cores, or with one chip of a TPU. --dry_run
prints the command of each run, a line each; --only=I does the I-th run (from
0). --write_slurm=FILE writes the script of a job array, --write_pod=FILE a loop
over the runs on all workers of a TPU pod; both say how they are started.

With --task each setting is fitted to the same pictures, as by
experiments.prior, which explains the other flags; without --config the config
is configs/prior_TASK.py. OUT/table.md has a row for each setting: parameters,
mean PSNR of each kept image, the oracle, the gap to it, seconds a step.

Exit codes: 0 all done, 1 a run failed (the report says which), 2 one line says
what is wrong, 128 + N stopped by signal N.
"""

import functools
import shlex
import sys

from absl import flags

from deblur_jax import errors
from deblur_jax.evaluation.report import runs as runs_lib
from deblur_jax.ops import atomic_files
from experiments import (
  common,
  device_shares,
  grids,
  job_queue,
  launch_scripts,
  run_kinds,
)
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


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the flags; the tests import the functions without them.

  Args:
    values: where to define them.
  """
  define_string, define_integer = (
      functools.partial(define, flag_values=values)
      for define in (flags.DEFINE_string, flags.DEFINE_integer))
  define_string('name', None, 'A row of `grids.GRIDS`.')
  define_string(
      'config', None, "Config file, FILE or FILE:ARG, instead of the grid's.")
  flags.DEFINE_multi_string(
      'set', [], 'KEY=VALUE,VALUE,...; may be given again for other keys.',
      flag_values=values)
  define_string('workdir', None, 'Folder of all the runs.', required=True)
  flags.DEFINE_bool(
      'dry_run', False, 'Only print the commands.', flag_values=values)
  define_integer('only', None, 'Do only the run of this number, from 0.',
                 lower_bound=0)
  define_integer(
      'jobs', 1,
      'How many runs at a time, each with an equal share of the devices.',
      lower_bound=1)
  define_string(
      'write_slurm', None, 'Only write this file: a SLURM array of all runs.')
  define_string(
      'write_pod', None,
      'Only write this file: all runs, one after another, on a TPU pod.')
  prior_program.define_flags(values)


def write_scripts(
    options: flags.FlagValues, jobs: list[run_kinds.Job], name: str) -> None:
  """Writes the files of --write_slurm and --write_pod.

  Args:
    options: of `define_flags`.
    jobs: all runs.
    name: of the ablation.

  Raises:
    UserError: flags that do not go together, or a file cannot be written.
  """
  if options.only is not None or options.jobs > 1:
    raise errors.UserError(
        '--write_slurm and --write_pod write all runs, one for each task: '
        'leave out --only and --jobs.')
  if options.write_pod and options.task:
    raise errors.UserError(
        '--write_pod is for training: the fits of a prior use one host; '
        'give --write_slurm, or --jobs.')
  given = [options[key] for key in ('name', 'config', 'set', 'workdir')]
  given += options.flags_by_module_dict()[prior_program.__name__]
  command = [sys.executable, '-m', 'experiments.ablate', *(
      word for flag in given if flag.present
      for word in flag.serialize().splitlines())]
  if options.write_slurm:
    atomic_files.write(options.write_slurm, launch_scripts.slurm(
        command, name=name, count=len(jobs), file=options.write_slurm))
  if options.write_pod:
    atomic_files.write(options.write_pod, launch_scripts.pod(
        jobs, command, name=name, file=options.write_pod))


def main(argv):
  """Returns the exit code."""
  del argv
  options = flags.FLAGS
  folder = common.workdir()
  shares = device_shares.of_this_machine(options.jobs)
  # Before JAX's first use; the checks have the devices of a run.
  prints = options.dry_run or options.write_slurm or options.write_pod
  run_kinds.use_cpus(shares[0].devices or (
      None if prints else device_shares.find().devices))
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
  name = options.name or folder.name
  if options.write_slurm or options.write_pod:
    write_scripts(options, jobs, name)
    return 0
  chosen = select(jobs, options.only)
  if options.dry_run:
    for job in chosen:
      print(shlex.join(job.command))
    return 0
  for job in chosen:      # all of them, before the first run begins
    if not kind.is_finished(job):
      kind.check(job)
  errors.make_folder(folder)
  runs_lib.write_plan(
      folder, name=name, config=grid.config,
      runs={job.name: job.settings for job in jobs}, papers=grid.papers)
  stop = job_queue.Stop()
  failed = job_queue.execute(
      chosen, stop, kind=kind, shares=shares)
  for job in chosen:
    kind.record(job)
  print(f'\n{kind.report(folder, jobs)}', flush=True)
  if stop.signal:
    print('Stopped; the same command continues.', file=sys.stderr)
    return 128 + stop.signal
  return 1 if failed else 0


if __name__ == '__main__':
  define_flags()
  common.run(main)
