"""Measures time, memory and rounding.

  python -m experiments.benchmark SUBJECT --FLAG=...

Subjects, each with a file of its name in this folder:

  network   training steps and restoration of one config
  prior     iterations of the fit of a deep image prior
  runs      restoration by several trained runs, in one table
  blur      the synthesis of blur
  data      the loaders: pairs a second
  command   the command `deblur`, in fresh processes
  devices   how far losses depend on the number of devices

`python -m experiments.benchmark SUBJECT --help` lists the flags of a subject.
"""

import importlib
import sys

from deblur_jax import errors
from experiments import common

SUBJECTS = ('network', 'prior', 'runs', 'blur', 'data', 'command', 'devices')


def main():
  """Runs the program of the subject that the command line names."""
  subject = sys.argv.pop(1) if len(sys.argv) > 1 else '--help'
  if subject in ('--help', '-h', '--helpfull'):
    print(__doc__)
    return
  if subject not in SUBJECTS:
    common.fail(f'Unknown subject {subject!r}; known: {", ".join(SUBJECTS)}.'
                f'{errors.suggest(subject, SUBJECTS)}')
  program = importlib.import_module(f'experiments.benchmark.{subject}')
  program.define_flags()
  # absl prints the docstring of the main module above the flags.
  sys.modules['__main__'].__doc__ = program.__doc__
  common.run(program.main)


if __name__ == '__main__':
  main()
