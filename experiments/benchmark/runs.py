r"""Compares runs in one table: parameters, multiplications, PSNR and time.

  python -m experiments.benchmark runs --workdir=runs/teacher \
      --workdir=runs/student

Every run restores one image of --size on one device, warm and to the end. They
take turns, so that other load of the machine slows all alike: `ratio` is the
median over the rounds of a run's time over the first run's. The PSNR is that of
eval.json, beside that of the input; all runs must have the same test set. Runs
of method `quantize` compute in float32 what int8 would give: their time has no
meaning.
"""

import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from deblur_jax import errors, methods
from deblur_jax.evaluation import test_sets
from deblur_jax.evaluation.report import render
from deblur_jax.ops import macs
from deblur_jax.training import loop, parallel, workdir
from experiments.benchmark import timing

EVAL = 'eval.json'


def define_flags() -> None:
  """Those of this subject."""
  # Not a list: the folders of an ablation have commas in their names.
  flags.DEFINE_multi_string(
      'workdir', None, 'Folder of a run; the first is the one to compare with.',
      required=True)
  flags.DEFINE_string('size', '256x256', 'Image, HEIGHTxWIDTH.')
  flags.DEFINE_integer(
      'repeats', 20, 'Timed rounds, after two uncounted ones.', lower_bound=1)


def main(argv):
  """Prints the table."""
  del argv
  values = flags.FLAGS
  rows = compare(
      [pathlib.Path(folder).expanduser() for folder in values.workdir],
      timing.parse_size(values.size), repeats=values.repeats)
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


def compare(
    folders: Sequence[pathlib.Path], size: tuple[int, int], *, repeats: int
) -> list[dict[str, Any]]:
  """Restoration by several runs, in turns on one device.

  Args:
    folders: of the runs; the others are compared with the first.
    size: height and width of the image, pixels.
    repeats: timed rounds.

  Returns:
    A row each: run, device, parameters, gmacs_256, psnr_uint8 and
    input_psnr_uint8 (of eval.json, or None), ms (the median), ratio (the median
    over rounds of ms over the ms of the first run).

  Raises:
    UserError: a folder has no run, no folder is given, or the runs were
      evaluated on different test sets.
  """
  if not folders:
    raise errors.UserError('Nothing to compare: --workdir=RUN --workdir=RUN')
  _check_same_tests(folders)
  rows, runs = zip(*(_restoring(folder, size) for folder in folders),
                   strict=True)
  times = timing.in_turns(
      {i: lambda run=run: timing.seconds(run) for i, run in enumerate(runs)},
      repeats=repeats)
  return [
      row | {'ms': 1e3 * statistics.median(times[i]),
             'ratio': statistics.median(
                 one / first for one, first in zip(
                     times[i], times[0], strict=True))}
      for i, row in enumerate(rows)]


def _check_same_tests(folders):
  """Raises a UserError where two runs were evaluated on different pictures."""
  evaluated = {folder: workdir.read_json(folder / EVAL) for folder in folders
               if (folder / EVAL).exists()}
  inputs = {folder: found['input']['psnr_uint8']
            for folder, found in evaluated.items()}
  if len({round(psnr, 3) for psnr in inputs.values()}) > 1:
    psnrs = ', '.join(
        f'{folder} {psnr:.3f}' for folder, psnr in inputs.items())
    raise errors.UserError(
        'The runs were evaluated on different pictures (PSNR of the input: '
        f'{psnrs} dB): evaluate them on one test set, see config.data.test.')


def _restoring(folder, size):
  """(the row of a run without its time, what restores an image by it)."""
  config = workdir.read_config(folder)
  method = methods.build(config, from_checkpoint=True)
  state = jax.tree.map(np.asarray, test_sets.load(config, method, folder))
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  state = parallel.put(state, parallel.replicated(mesh))
  blur = parallel.put(np.asarray(jax.random.uniform(
      jax.random.key(0), (1, *size, 3 * method.window))),
      parallel.replicated(mesh))
  compiled, _ = timing.compile_program(
      loop.on_mesh(method.restore, mesh), state, blur)
  picture = jax.ShapeDtypeStruct(
      (1, 256, 256, 3 * method.window), jnp.float32)
  scores = folder / EVAL
  found = workdir.read_json(scores) if scores.exists() else {}
  psnr = lambda side: found.get(side, {}).get('psnr_uint8')
  return {
      'run': folder.name, 'device': jax.devices()[0].device_kind,
      'parameters': macs.values_read(method.restore, state, picture),
      'gmacs_256': macs.macs(method.restore, state, picture) / 1e9,
      'psnr_uint8': psnr('mean'), 'input_psnr_uint8': psnr('input'),
  }, lambda: jax.block_until_ready(compiled(state, blur))
