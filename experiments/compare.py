r"""Runs beside each other: parameters, multiplications, PSNR and time.

  python -m experiments.compare --workdir=runs/teacher --workdir=runs/student

Every run restores one image of --size on one device, warm and to the end, and
they take turns, so that what else the machine does is the same for all: `ratio`
is the median over the rounds of a run's time over the first run's. The PSNR is
that of eval.json, on one test set for all, beside that of the input. Runs of
method int8 compute in float32 what int8 would give; their time says nothing.
"""

import pathlib

from absl import flags

from experiments import common

# Not a list: the folders of an ablation have commas in their names.
_WORKDIR = flags.DEFINE_multi_string(
    'workdir', None, 'Folder of a run; the first is the one to compare with.',
    required=True)
_SIZE = flags.DEFINE_string('size', '256x256', 'Of the image, HxW.')
_REPEATS = flags.DEFINE_integer(
    'repeats', 20, 'Timed rounds, after two others.', lower_bound=1)


def main(argv):
  del argv
  from deblur_jax.evaluation.report import render
  from experiments import timing

  rows = timing.compare(
      [pathlib.Path(folder).expanduser() for folder in _WORKDIR.value],
      timing.parse_size(_SIZE.value), repeats=_REPEATS.value)
  head = ['run', 'parameters', 'GMACs at 256²', 'psnr_uint8',
          f'{rows[0]["device"]}, ms', 'ratio']
  untouched = next((row['input_psnr_uint8'] for row in rows
                    if row['input_psnr_uint8'] is not None), None)
  nothing = [render.NOTHING] * 2
  body = [['input', *nothing, render.number(untouched, 2), *nothing]]
  body += [[row['run'], f'{row["parameters"]:,}',
           render.number(row['gmacs_256'], 3),
           render.number(row['psnr_uint8'], 2), render.number(row['ms'], 1),
           render.number(row['ratio'], 3)] for row in rows]
  print(render.table(head, body), end='')


if __name__ == '__main__':
  common.run(main)
