r"""Collects the numbers of finished fits for the manual's page of results.

  python -m experiments.release.collect_fits --fits=OUT --machine='a CPU'

OUT is the --out of experiments.prior; several are separated by commas. Each
picture becomes a row of docs/fits.json; a row of the same command and picture
is replaced. The page shows it beside the papers' numbers
(`published_pictures.PICTURES`).
"""

import datetime
import json
import pathlib
import shlex

from absl import flags

from experiments import common

TABLE = common.ROOT / 'docs' / 'fits.json'


def define_flags() -> None:
  """Defines the flags of this program."""
  flags.DEFINE_list('fits', None, 'Folders of fits.', required=True)
  flags.DEFINE_string(
      'machine', None, 'Processor, cores, precision; for the page.',
      required=True)


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax.ops import atomic_files

  rows = {_key(row): row for row in (
      json.loads(TABLE.read_text(encoding='utf-8')) if TABLE.exists() else [])}
  for folder in map(pathlib.Path, flags.FLAGS.fits):
    for row in rows_of(folder, machine=flags.FLAGS.machine):
      rows[_key(row)] = row
  atomic_files.write(
      TABLE, json.dumps(sorted(rows.values(), key=_key), indent=1) + '\n')
  print(f'{len(rows)} rows are in {TABLE}.')


def _key(row):
  return row['task'], row['picture'], row['command']


def rows_of(folder: pathlib.Path, *, machine: str):
  """The rows of a folder of fits.

  Args:
    folder: the --out of `experiments.prior`.
    machine: described for the page.

  Yields:
    Task, picture, PSNR of each image, steps, seconds, command, commit, date.

  Raises:
    UserError: the folder has no finished fit.
  """
  from deblur_jax import errors
  from deblur_jax.training import workdir

  file = folder / 'result.json'
  if not file.exists():
    raise errors.UserError(f'{folder} has no result.json: no finished fit.')
  result = workdir.read_json(file)
  environment = workdir.read_json(folder / workdir.ENVIRONMENT)
  date = datetime.date.fromtimestamp(file.stat().st_mtime).isoformat()
  for name, row in result['rows'].items():
    yield {
        'task': result['task'], 'picture': name, 'psnr': row['psnr'],
        'oracle': row.get('oracle'), 'result': result['config']['method'].get(
            'result', 'last'), 'steps': row['steps'],
        'seconds_per_step': row['seconds_per_step'],
        'command': command(environment['command']),
        'commit': environment['commit'], 'machine': machine, 'date': date}


def command(argv: list[str]) -> str:
  """A command without the places of one machine.

  Args:
    argv: of the process: the interpreter, the program, its flags.
  """
  words = ['python', '-m', 'experiments.prior']
  for word in argv[2:]:
    flag, equals, value = word.rpartition('=')
    if flag in ('--out', '--output'):    # the older name, which still works
      value = 'OUT'
    elif '/' in value:
      value = pathlib.Path(value).name
    words.append(flag + equals + shlex.quote(value))
  return ' '.join(words)


if __name__ == '__main__':
  define_flags()
  common.run(main)
