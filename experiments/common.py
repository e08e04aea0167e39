"""What the programs share: flags, several processes, errors in one line."""

import os
import pathlib
import re
import sys
from typing import Any

from absl import app, flags, logging

from deblur_jax import errors
from deblur_jax.app import streams
from experiments import config_flag

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(main) -> None:
  """Runs a program; a user's mistake becomes one line and exit code 2."""
  def guarded(argv):
    try:
      if len(argv) > 1:
        raise errors.UserError(f'Unexpected argument {argv[1]!r}.')
      sys.exit(main(argv))
    except errors.UserError as error:
      fail(error)
    except KeyboardInterrupt:
      print('Stopped.', file=sys.stderr, flush=True)
      os._exit(130)
    except OSError as error:
      if errors.is_disk_full(error):
        fail(f'Could not write {error.filename or "a file"}: {error.strerror}. '
             'Free some space and start again.')
      raise

  streams.take()
  _list_flags()
  errors.quieten_threads()
  logging.set_verbosity(logging.WARNING)
  try:
    app.run(guarded, flags_parser=_parse)
  except errors.UserError as error:
    fail(error)


def fail(error: Exception | str) -> None:
  """Prints one line and exits with 2."""
  print(f'error: {" ".join(str(error).split())}', file=sys.stderr, flush=True)
  # Not sys.exit: its handlers may wait for another process of the run.
  os._exit(2)


def define_workdir(help_text: str = 'Folder of the run.') -> None:
  """Defines --workdir.

  Args:
    help_text: the text of --help.
  """
  flags.DEFINE_string('workdir', None, help_text, required=True)


def define_process_flags() -> None:
  """Defines the flags of `join_processes`, for programs that call it."""
  flags.DEFINE_bool(
      'distributed', False, 'Join the other processes that SLURM, a TPU pod or '
      'GKE started.')
  flags.DEFINE_integer(
      'heartbeat', 100, 'Seconds without a sign of life after which a process '
      'has died and the others end.', lower_bound=5)
  flags.DEFINE_string('coordinator', '', 'HOST:PORT of process 0.')
  flags.DEFINE_integer('num_processes', 0, 'Number of processes.',
                       lower_bound=0)
  flags.DEFINE_integer('process_id', -1, 'Number of this process, from 0.',
                       lower_bound=-1)


def join_processes() -> None:
  """Joins the other processes of the run if the flags ask for it."""
  from deblur_jax.training import parallel

  values = flags.FLAGS
  given = {name: values[name].value for name in (
      'coordinator', 'num_processes', 'process_id', 'heartbeat')}
  if values.distributed or given['coordinator']:
    parallel.initialize(**given)


def workdir() -> pathlib.Path:
  """--workdir as a path."""
  return pathlib.Path(flags.FLAGS.workdir).expanduser()


def runs_in(folder: str | pathlib.Path) -> list[pathlib.Path]:
  """The runs that a folder stands for.

  Args:
    folder: of a run, or of an ablation.

  Returns:
    All runs of the ablation that have begun, in its order; else the folder.
  """
  from deblur_jax.evaluation.report import runs as runs_lib

  folder = pathlib.Path(folder).expanduser()
  if not (folder / runs_lib.PLAN).exists():
    return [folder]
  return [run.folder for run in runs_lib.read_study(folder).runs if run.config]


def key_and_values(text: str) -> tuple[str, list[Any]]:
  """Parses the value of --set: 'key=1,2' -> ('key', [1, 2])."""
  key, equals, values = text.partition('=')
  if not equals or not values:
    raise errors.UserError(f'--set takes KEY=VALUE,VALUE,..., got {text!r}.')
  return key, parse_values(values)


def parse_values(text: str) -> list[Any]:
  """'1,2' -> [1, 2]; '(1,2),(3,)' -> [(1, 2), (3,)]; 'l1,mse' -> strings."""
  values, depth, start = [], 0, 0
  for end, letter in enumerate(text + ','):
    depth += (letter in '([{') - (letter in ')]}')
    if letter == ',' and depth <= 0:
      values.append(config_flag.literal(text[start:end].strip()))
      start = end + 1
  return values


def _list_flags():
  """Makes --help list the flags of the shared modules too."""
  for module, defined in flags.FLAGS.flags_by_module_dict().items():
    if module.startswith('experiments.'):
      for flag in defined:
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _parse(args):
  """absl's parser; a wrong flag becomes one line."""
  try:
    return flags.FLAGS(config_flag.take(args) if 'config' in flags.FLAGS
                       else args)
  except flags.UnrecognizedFlagError as error:
    fail(f'Unknown flag --{error.flagname}; --help lists all.'
         f'{errors.suggest(error.flagname, flags.FLAGS)}')
  except flags.Error as error:
    first = str(error).strip().splitlines()[0]
    missing = re.match(r'flag --(\w+)=None: .* other than None', first)
    fail(missing_flag(missing[1]) if missing else first)


def missing_flag(name: str) -> str:
  """The message for a required flag: its name and the text of --help.

  Args:
    name: of the flag.
  """
  text = flags.FLAGS[name].help
  # A name such as NAME:X:Y keeps its letters.
  text = text[0].lower() + text[1:] if text[:2].istitle() else text
  return f'--{name} is missing: {text}'
