"""The scripts for SLURM and TPU pods, run by bash."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import run_folders
from absl import flags

from deblur_jax import errors
from experiments import ablate, grids, launch_scripts, run_kinds

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Prints its arguments, as a program that bash starts sees them.
SHOW = 'import json, sys; print(json.dumps(sys.argv[1:]))'
ODD = ['--config.method.loss=l1 + 0.1*tv', "--x={'a': \"b\"}", '$HOME']
JOBS = [run_kinds.Job(name, pathlib.Path(name), {}, {}, [
    sys.executable, '-c', SHOW, name, *ODD], []) for name in ('a', 'b')]
# In place of the cloud's program: does the command on this machine.
GCLOUD = '''#!/bin/bash
for word in "$@"; do
  case "$word" in
    --worker=*) echo "${word#*=}" ;;
    --command=*) bash -c "${word#*=}" ;;
  esac
done
'''


def _bash(path, **variables):
  subprocess.run(['bash', '-n', path], check=True)
  return subprocess.run(
      ['bash', path], env=os.environ | variables, capture_output=True,
      text=True)


def test_a_task_of_the_array_does_its_run(tmp_path):
  """The written file, as SLURM starts it; the run was finished before."""
  folder, config = tmp_path / 'my runs', tmp_path / 'config.py'
  config.write_text('from configs import multiscale_gopro\n'
                    'get_config = multiscale_gopro.get_config\n')
  values = flags.FlagValues()
  ablate.define_flags(values)
  values(['ablate', f'--config={config}:debug', '--set=seed=0,1',
          '--set=nets.net.features=2', f'--workdir={folder}',
          f'--write_slurm={tmp_path / "array.sh"}'])
  jobs = run_kinds.expand(
      grids.choose(None, values.config, values.set), folder)
  for job in jobs:
    run_folders.train(job.folder, job.config | {'batch_size': 4}, steps=2)
    run_folders.evaluated(job.folder, job.config, strength=1, step=2)
  ablate.write_scripts(values, jobs, 'seeds of a grid')
  text = (tmp_path / 'array.sh').read_text()
  assert '\n#SBATCH --job-name=seeds_of_a_grid\n#SBATCH --array=0-1\n' in text
  done = _bash(tmp_path / 'array.sh', SLURM_ARRAY_TASK_ID='1')
  assert done.returncode == 0, done.stderr
  assert f'{jobs[1].name}: finished before, skipped' in done.stdout
  assert jobs[0].name + ':' not in done.stdout


def test_a_task_that_is_stopped_is_requeued(tmp_path):
  """It ends with code 143, as a run that saved after SIGTERM."""
  scheduler = tmp_path / 'scontrol'
  scheduler.write_text('#!/bin/bash\necho "$@"\n')
  scheduler.chmod(0o755)
  path = tmp_path / 'array.sh'
  path.write_text(launch_scripts.slurm(
      [sys.executable, '-c', 'import os\nos.kill(os.getppid(), 15)\n'
       'import signal, time\n'
       'signal.signal(15, lambda *_: os._exit(143))\ntime.sleep(60)'],
      name='grid', count=1, file='array.sh'))
  done = _bash(path, SLURM_ARRAY_TASK_ID='0', SLURM_JOB_ID='17',
               PATH=f'{tmp_path}:{os.environ["PATH"]}')
  assert (done.returncode, done.stdout) == (143, 'requeue 17\n'), done.stderr


def test_a_pod_does_all_runs_and_the_report(tmp_path):
  (tmp_path / 'gcloud').write_text(GCLOUD)
  (tmp_path / 'gcloud').chmod(0o755)
  path = tmp_path / 'pod.sh'
  path.write_text(launch_scripts.pod(
      JOBS, [sys.executable, '-c', SHOW, 'report'], name='a', file='pod.sh'))
  done = _bash(path, PATH=f'{tmp_path}:{os.environ["PATH"]}', POD='p',
               ZONE='z', FOLDER=str(ROOT))
  assert done.returncode == 0, done.stderr
  workers, words = done.stdout.splitlines()[::2], done.stdout.splitlines()[1::2]
  assert workers == ['all', 'all', '0']
  assert [json.loads(line) for line in words] == [
      ['a', *ODD, '--distributed'], ['b', *ODD, '--distributed'], ['report']]
  assert 'POD: is the name of the pod' in _bash(path).stderr


@pytest.mark.parametrize('word, message', [
    ('--only=1', 'leave out --only and --jobs'),
    ('--jobs=2', 'leave out --only and --jobs'),
    ('--task=denoise', '--write_pod is for training')])
def test_flags_that_do_not_go_together(tmp_path, word, message):
  values = flags.FlagValues()
  ablate.define_flags(values)
  values(['ablate', word, f'--write_pod={tmp_path / "pod.sh"}',
          f'--workdir={tmp_path}'])
  with pytest.raises(errors.UserError, match=message):
    ablate.write_scripts(values, JOBS, 'grid')
  assert not (tmp_path / 'pod.sh').exists()
