"""Runs a tutorial: python -m experiments.tutorials --name=NAME --out=OUT."""

import importlib

from absl import flags

from experiments import common, tutorials

_NAME = flags.DEFINE_enum(
    'name', None, tutorials.NAMES, 'The tutorial.', required=True)
_OUT = flags.DEFINE_string('out', None, 'An empty folder.', required=True)


def main(argv):
  """Runs the program."""
  del argv
  from deblur_jax import errors

  module = importlib.import_module(f'experiments.tutorials.{_NAME.value}')
  module.run(errors.make_folder(_OUT.value))


if __name__ == '__main__':
  common.run(main)
