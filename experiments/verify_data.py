r"""Lists the problems of a data set.

  python -m experiments.verify_data --root=GOPRO_Large
  python -m experiments.verify_data --root=DIR --source=reds --split=val \
      --option=track=blur_jpeg --crop=256 --json

Without --source it recognizes the layout of the folder: a prepared set, GoPro
(each split and subset that exists), two folders of pairs, or photos.

Exit codes: 0 no problems, 1 problems, 2 the set cannot be opened.
"""

import collections
import json

from absl import flags

from deblur_jax import data, errors
from deblur_jax.data import layouts, verify
from experiments import common, source_flags

flags.DEFINE_string('root', None, 'Folder of the data set.')
flags.DEFINE_integer('crop', None, 'Report pictures smaller than this.',
                     lower_bound=1)
flags.DEFINE_bool('json', False, 'Print one JSON object for each set.')

SHOWN = 20    # printed problems of one kind


def main(argv):
  """Returns 0 where no set has a problem, else 1."""
  del argv
  reports = [_report(options) for options in _sets()]
  for report in reports:
    print(_as_json(report) if flags.FLAGS.json else _as_text(report))
  return int(any(report.problems for report in reports))


def _sets():
  given = source_flags.options(root=flags.FLAGS.root)
  if 'name' in given:
    return [given]
  if 'root' not in given:
    raise errors.UserError('--root is missing: the folder to check.')
  found = layouts.guess(given['root'])
  wanted = {key: value for key, value in given.items() if key != 'root'}
  matching = [
      options for options in found if wanted.items() <= options.items()]
  return matching or [{'name': 'gopro', **given}]


def _report(options):
  problems = []
  try:
    source = data.open_source(**options)
  except data.BadPairs as error:
    source, problems = error.source, error.problems
  with source_flags.bar(source) as bar:
    return verify.full(
        source, problems=problems, crop=flags.FLAGS.crop,
        on_pair=lambda done: bar.update(done - bar.n))


def _as_text(report):
  lines = [f'{report.where}: {report.pairs} whole pairs']
  if report.psnr:
    low, middle, high = report.psnr
    lines.append(f'  untouched blur: {middle:.2f} dB (median; {low:.2f} to '
                 f'{high:.2f})')
  if report.slope is not None:
    lines.append(
        f'  brightness over lost variance: {report.slope:.2f} in '
        f'{report.regions} regions (0 linear averages, 0.6 gamma 2.2)')
  kinds = collections.Counter(problem.kind for problem in report.problems)
  for kind, count in kinds.items():
    these = [p for p in report.problems if p.kind == kind]
    lines.append(f'  {kind}: {count}')
    lines += [f'    {problem}' for problem in these[:SHOWN]]
    if count > SHOWN:
      lines.append(f'    and {count - SHOWN} more; --json prints all')
  if not kinds:
    lines.append('  nothing wrong')
  return '\n'.join(lines)


def _as_json(report):
  return json.dumps({
      **report._asdict(),
      'problems': [problem._asdict() for problem in report.problems]})


if __name__ == '__main__':
  common.run(main)
