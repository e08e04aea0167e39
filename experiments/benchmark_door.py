r"""How long people wait: from the command to the file, in fresh processes.

  python -m experiments.benchmark_door --model=runs/mine

Prints the median seconds of `deblur --help`, of `import deblur_jax`, and of
`deblur restore` for one photo of each --size, all of it included: Python, jax,
compiling, reading and writing. And the largest memory that a process had.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from absl import flags

from deblur_jax import errors
from experiments import common

_MODEL = flags.DEFINE_string('model', 'maxim-2', 'As of `deblur restore`.')
_SIZE = flags.DEFINE_list('size', ['1280x720', '4000x3000'], 'Of the photos.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Each.', lower_bound=1)
_OPTION = flags.DEFINE_multi_string(
    'option', [], 'Of `deblur restore`, such as --dtype=bf16.')

DEBLUR = 'from deblur_jax.app import cli; cli.main()'


def main(argv):
  """Returns 0."""
  del argv
  from deblur_jax.evaluation.report import render

  rows = [('deblur --help', ['-c', DEBLUR, '--help']),
          ('import deblur_jax', ['-c', 'import deblur_jax'])]
  with tempfile.TemporaryDirectory() as folder:
    for size in _SIZE.value:
      photo = pathlib.Path(folder, f'{size}.jpg')
      _photo(photo, size)
      rows.append((f'deblur restore, {size}', [
          '-c', DEBLUR, 'restore', str(photo), '--overwrite',
          f'--model={_MODEL.value}', *_OPTION.value]))
    lines = []
    for name, command in rows:
      times, memory = zip(*(_once(command) for _ in range(_REPEATS.value)),
                          strict=True)
      lines.append([name, render.number(statistics.median(times), 2),
                    f'{max(memory) / 2**20:.0f}'])
  print(render.table(['', 'seconds', 'MiB'], lines), end='')


def _photo(path, size):
  """A built-in picture, enlarged to that size."""
  from PIL import Image

  from deblur_jax import data

  try:
    width, height = map(int, size.split('x'))
  except ValueError:
    raise errors.UserError(f'--size={size}: write --size=1280x720.') from None
  sharp = data.open_source(name='builtin', split='test').read(0)['sharp']
  Image.fromarray(sharp).resize((width, height)).save(path, quality=95)


def _once(command):
  """(seconds, bytes) of one process."""
  start = time.perf_counter()
  process = subprocess.Popen(
      [sys.executable, *command], stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE)
  said = process.stderr.read().decode(errors='replace').strip()
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    raise errors.UserError(f'A command failed: {said.splitlines()[-1:]}')
  return time.perf_counter() - start, usage.ru_maxrss * 1024


if __name__ == '__main__':
  common.run(main)
