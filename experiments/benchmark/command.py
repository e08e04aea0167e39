r"""Times the command `deblur` from its start to the file, in fresh processes.

  python -m experiments.benchmark command --model=runs/mine

Prints the median seconds of `deblur --help`, of `import deblur_jax`, and of
`deblur restore` for one photo of each --size. The time includes all: Python,
jax, compiling, reading and writing. The last column is the largest memory of a
process.
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

# Linux counts the memory of the parent as memory of the child until the child
# starts its own program. So this process imports no large library: it makes the
# photo, a built-in picture enlarged, in another one.
DEBLUR = 'from deblur_jax.app import cli; cli.main()'
PHOTO = '''
import sys
from PIL import Image
from deblur_jax import data
path, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sharp = data.open_source(name='builtin', split='test').read(0)['sharp']
Image.fromarray(sharp).resize((width, height)).save(path, quality=95)
'''


def define_flags() -> None:
  """Those of this subject."""
  flags.DEFINE_string('model', 'maxim-2', 'A model of `deblur restore`.')
  flags.DEFINE_list('size', ['1280x720', '4000x3000'], 'Photos, WIDTHxHEIGHT.')
  flags.DEFINE_integer('repeats', 3, 'Runs of each command.', lower_bound=1)
  flags.DEFINE_multi_string(
      'option', [], 'An option of `deblur restore`, such as --dtype=bf16.')


def main(argv):
  """Prints the table."""
  del argv
  values = flags.FLAGS
  rows = [('deblur --help', ['-c', DEBLUR, '--help']),
          ('import deblur_jax', ['-c', 'import deblur_jax'])]
  with tempfile.TemporaryDirectory() as folder:
    for size in values.size:
      photo = pathlib.Path(folder, f'{size}.jpg')
      _photo(photo, size)
      rows.append((f'deblur restore, {size}', [
          '-c', DEBLUR, 'restore', str(photo), '--overwrite',
          f'--model={values.model}', *values.option]))
    measured = [(name, [_once(command) for _ in range(values.repeats)])
                for name, command in rows]
  from deblur_jax.evaluation.report import render

  lines = []
  for name, runs in measured:
    times, memory = zip(*runs, strict=True)
    lines.append([name, render.number(statistics.median(times), 2),
                  f'{max(memory) / 2**20:.0f}'])
  print(render.table(['', 'seconds', 'MiB'], lines), end='')


def _photo(path, size):
  """Writes a photo of that size, 'WIDTHxHEIGHT'."""
  try:
    width, height = map(int, size.split('x'))
  except ValueError:
    raise errors.UserError(f'--size={size}: write --size=1280x720.') from None
  subprocess.run([sys.executable, '-c', PHOTO, path, str(width), str(height)],
                 check=True)


def _once(command):
  """(seconds, bytes) of one process."""
  start = time.perf_counter()
  process = subprocess.Popen(
      [sys.executable, *command], stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE)
  messages = process.stderr.read().decode(errors='replace').strip()
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    raise errors.UserError(f'A command failed: {messages.splitlines()[-1:]}')
  return time.perf_counter() - start, usage.ru_maxrss * 1024
