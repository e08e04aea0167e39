"""Runs one harness: python -m tests.harness NAME --count=N --seed=S."""

import argparse
import faulthandler
import importlib
import pathlib
import sys
import tempfile

from tests.harness import NAMES, cases

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]    # as pytest does, for the helpers of tests


def main():
  """Prints the counts, and each case that was lost; returns 1 if one was."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('name', choices=NAMES)
  parser.add_argument('--count', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--verbose', action='store_true')
  given = parser.parse_args()
  # What hangs shows where it does.
  faulthandler.dump_traceback_later(900, repeat=True)
  harness = importlib.import_module(f'tests.harness.{given.name}')
  say = lambda line: sys.stdout.write(f'{line}\n') and sys.stdout.flush()
  show = lambda name, outcome: given.verbose and say(f'{name}: {outcome}')
  with tempfile.TemporaryDirectory() as folder:
    counts = cases.count(
        harness.cases(pathlib.Path(folder), given.count, seed=given.seed),
        on_case=show)
  for name, reason in counts.lost:
    say(f'lost: {name}: {reason}')
  seconds, slowest = counts.slowest
  say(f'{given.name}: {counts.tried} tried, {counts.made} made, '
      f'{counts.refused} refused, {len(counts.lost)} lost; slowest '
      f'{seconds:.2f} s ({slowest}); peak memory '
      f'{counts.memory / 2**30:.2f} GiB.')
  return bool(counts.lost)


if __name__ == '__main__':
  sys.exit(main())
