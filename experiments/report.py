"""Writes a report that compares the runs in a folder.

  python -m experiments.report --workdir=runs/k_scales [--rows=nets.net.scales]

Prints the table and what its differences show. Writes report.html, report.md,
report.tex, report.csv, differences.csv, curves.png, costs.png and sheet.png
there; report.html has all of it in one file, with a slider that compares the
pictures.
"""

from absl import flags

from deblur_jax.evaluation import report
from experiments import common

common.define_workdir('Folder of the runs.')
_ROWS = flags.DEFINE_list(
    'rows', None, 'Config keys whose values make a row; by default all that '
    'differ. Seeds are averaged.')
_PICTURES = flags.DEFINE_integer(
    'pictures', 4, 'Test pictures on the sheet and under the slider.',
    lower_bound=0)


def main(argv):
  """Runs the program."""
  del argv
  written = report.write(
      common.workdir(), keys=_ROWS.value, count=_PICTURES.value)
  print(report.describe(written))


if __name__ == '__main__':
  common.run(main)
