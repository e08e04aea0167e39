"""An ablation as a SLURM array, or as a loop over its runs on a TPU pod."""

import os
import pathlib
import shlex
import sys
from collections.abc import Sequence

from experiments.run_kinds import Job

SLURM = '''#!/bin/bash
# The {count} runs of {name}, a task each. With further or other options:
#   sbatch --partition=P --time=24:00:00 {file}
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --gres=gpu:1 --cpus-per-task=8
#SBATCH --signal=B:TERM@120 --requeue
#SBATCH --output=slurm_%x_%a.txt --open-mode=append
cd {folder} || exit 2
{command} --only="$SLURM_ARRAY_TASK_ID" &
run=$!
trap 'kill -TERM "$run"' TERM     # the run saves, and ends with code 143
wait "$run"
code=$?
while kill -0 "$run" 2>/dev/null; do
  wait "$run"
  code=$?
done
if [ "$code" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
'''
POD = '''#!/bin/bash
# The {count} runs of {name}, one after another, each on all workers of a pod:
#   POD=NAME ZONE=ZONE bash {file}
# FOLDER has the project on each worker; all of them write to one --workdir.
: "${{POD:?is the name of the pod}}" "${{ZONE:?is the zone of the pod}}"
: "${{FOLDER:={folder}}}"
trap 'exit 130' INT
on() {{
  gcloud compute tpus tpu-vm ssh "$POD" --zone="$ZONE" --worker="$1" \\
    --command="cd '$FOLDER' && $2" < /dev/null
}}
failed=0
{runs}
if [ "$failed" -eq 0 ]; then     # all are finished: this writes the report
  on 0 {report}
fi
exit "$failed"
'''


def slurm(command: Sequence[str], *, name: str, count: int, file: str) -> str:
  """The script of an array with a task for each run.

  Args:
    command: of `experiments.ablate`, for all runs.
    name: of the ablation.
    count: number of runs.
    file: the path of the script, for its first lines.
  """
  return SLURM.format(
      name=_word(name), count=count, last=count - 1, file=shlex.quote(file),
      folder=shlex.quote(os.getcwd()), command=shlex.join(command))


def pod(
    jobs: Sequence[Job], command: Sequence[str], *, name: str, file: str
) -> str:
  """The script that does each run on all workers of a TPU pod.

  Args:
    jobs: all runs.
    command: of `experiments.ablate`, for all runs.
    name: of the ablation.
    file: the path of the script, for its first lines.
  """
  runs = [f'on all {_quoted([*job.command, "--distributed"])} || failed=1'
          for job in jobs]
  return POD.format(
      name=_word(name), count=len(jobs), file=shlex.quote(file),
      folder=pathlib.Path.cwd().name, runs='\n'.join(runs),
      report=_quoted(command))


def _quoted(command):
  """A command as one word, its Python relative to the project's folder."""
  python, *rest = command
  here = pathlib.Path(sys.executable)
  if python == sys.executable and here.is_relative_to(pathlib.Path.cwd()):
    python = str(here.relative_to(pathlib.Path.cwd()))
  return shlex.quote(shlex.join([python, *rest]))


def _word(name):
  """A name without what a comment or an option of sbatch cannot have."""
  return ''.join(letter if letter.isalnum() or letter in '._-' else '_'
                 for letter in name)
