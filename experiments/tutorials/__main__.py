"""Runs a tutorial: python -m experiments.tutorials NAME --out=OUT."""

import argparse
import importlib
import pathlib

from deblur_jax import errors
from experiments import common, tutorials


def main() -> None:
  """Runs the tutorial that the arguments name."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('name', choices=tutorials.NAMES)
  parser.add_argument(
      '--out', type=pathlib.Path, required=True, help='An empty folder.')
  args = parser.parse_args()
  try:
    errors.make_folder(args.out)
    importlib.import_module(f'experiments.tutorials.{args.name}').run(
        args.out)
  except errors.UserError as error:
    common.fail(error)


if __name__ == '__main__':
  main()
