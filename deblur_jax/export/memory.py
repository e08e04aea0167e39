"""How much memory a file takes to run: `python -m deblur_jax.export.memory`.

A process of its own, for the most that a process ever held is all that the
system tells.
"""

import pathlib
import resource
import subprocess
import sys

import numpy as np


def peak(kind: str, path, shape: tuple[int, int, int]) -> int | None:
  """Bytes that a process grows by, at most, to read a file and run it once.

  On a picture [h, w, c]; beyond what it has after its imports. None where it
  failed.
  """
  done = subprocess.run(
      [sys.executable, '-m', 'deblur_jax.export.memory', kind, str(path),
       *map(str, shape)], capture_output=True, text=True)
  words = done.stdout.split()
  return int(words[-1]) if done.returncode == 0 and words else None


def _grown(kind, path, shape):
  from deblur_jax import export
  export.KINDS[kind].imports()
  before = _forget()
  export.KINDS[kind].read(path)(np.full((1, *shape), 0.5, np.float32))
  return _most() - before


def _forget():
  """What there is now; Linux counts the most from here on."""
  try:
    pathlib.Path('/proc/self/clear_refs').write_text('5')
  except OSError:
    pass   # the imports' own peak stays in the count
  return _most()


def _most():
  try:
    lines = pathlib.Path('/proc/self/status').read_text().splitlines()
    # Not getrusage: on Linux a process inherits the peak of its parent there.
    return 1024 * next(
        int(line.split()[1]) for line in lines if line.startswith('VmHWM:'))
  except (OSError, StopIteration):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == '__main__':
  kind, path, *shape = sys.argv[1:]
  sys.stdout.write(f'{_grown(kind, path, tuple(map(int, shape)))}\n')
