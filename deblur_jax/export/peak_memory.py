"""Measures the memory of a file: `python -m deblur_jax.export.peak_memory`.

The measurement is a separate process, because the system reports only the peak
memory of a whole process.
"""

import subprocess
import sys

import numpy as np

from deblur_jax.ops import process_memory


def peak(kind: str, path, shape: tuple[int, int, int]) -> int | None:
  """Measures the peak memory for reading a file and running it once.

  Args:
    kind: a name in `export.KINDS`.
    path: of the file.
    shape: (h, w, c) of the picture.

  Returns:
    Bytes beyond the memory after the imports; None if the run failed.
  """
  done = subprocess.run(
      [sys.executable, '-m', 'deblur_jax.export.peak_memory', kind, str(path),
       *map(str, shape)], capture_output=True, text=True)
  words = done.stdout.split()
  return int(words[-1]) if done.returncode == 0 and words else None


def _growth(kind, path, shape):
  from deblur_jax import export
  export.KINDS[kind].imports()
  before = process_memory.reset_peak()
  export.KINDS[kind].read(path)(np.full((1, *shape), 0.5, np.float32))
  return process_memory.peak() - before


if __name__ == '__main__':
  kind, path, *shape = sys.argv[1:]
  sys.stdout.write(f'{_growth(kind, path, tuple(map(int, shape)))}\n')
