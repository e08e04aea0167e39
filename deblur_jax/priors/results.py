"""Results of fits: pictures, curves and rows of a table.

For each problem a folder gets NAME.png (the result), NAME_input.png,
NAME_KEPT.png for each row of `fit_record.KEPT`, NAME_FOUND.png for what the
task estimates beside the image (a kernel, layers), and NAME_curve.csv with a
row for each step. result.json has rows of PSNR for all problems: the input, a
classical method, each kept image, and the oracle, which is the best output of
all steps and needs the truth to be found.
"""

import csv
import functools
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors, metrics, models
from deblur_jax.data import images
from deblur_jax.metrics import means
from deblur_jax.ops import array_files, atomic_files, bit_depth, colour
from deblur_jax.priors import fit_record, tasks
from deblur_jax.priors.problems import Problem
from deblur_jax.state import Params
from deblur_jax.training import loop, parallel

# A result with less than this share of the picture's contrast has failed.
DEAD = 0.1
PLAIN = 'psnr_float'    # the metric of the oracle


class Fit(NamedTuple):
  """The fit of one problem.

  Attributes:
    problem: the problem.
    kept: name -> float32 [h, w, c], see `fit_record.KEPT`.
    found: what the method estimates beside the image, by name, NumPy.
    result: [h, w, c], what the method's `restore` returns.
    params: by network, after the last step.
    curve: metric -> [steps].
    seed: of this fit.
    seconds: of a step for this image, without compiling; NaN for one chunk.
    rescued: whether the kernel was estimated by another fit, which failed.
  """

  problem: Problem
  kept: dict[str, np.ndarray]
  found: dict[str, np.ndarray]
  result: np.ndarray
  params: Params
  curve: dict[str, np.ndarray]
  seed: int
  seconds: float
  rescued: bool = False


def is_dead(fit: Fit) -> bool:
  """Whether a fit failed, see `failure`."""
  return bool(failure(
      fit.kept['last'], fit.problem.batch['observed'], fit.curve))


def failure(
    image: np.ndarray, observed: np.ndarray, curve: Mapping[str, np.ndarray]
) -> str:
  """Describes why a fit failed.

  Args:
    image: its last output [h, w, c].
    observed: the picture [h', w', c].
    curve: metric -> [steps].

  Returns:
    The end of a sentence, '' if the fit did not fail. A fit fails if its output
    is flat, if too many of its losses are not finite, or if its output moved
    away from the picture, beyond the distance of a picture of one colour.
  """
  if curve['broken'][-1] >= fit_record.MAX_BROKEN:
    return (f'the loss or its gradient was not finite in '
            f'{int(curve["broken"][-1])} steps, the first of them step '
            f'{int(np.argmax(curve["broken"] > 0)) + 1}')
  if is_flat(image, observed):
    return 'the result has no contrast'
  kept = curve['fit'][:int(curve['best_step'][-1]) + 1]
  first, last = kept[0], np.median(kept[-10:])
  if last > max(2 * first, np.var(observed)):
    return (f'the mean squared distance to the picture grew from {first:.3g} '
            f'to {last:.3g}')
  return ''


def is_flat(image: np.ndarray, observed: np.ndarray) -> bool:
  """Whether a result is black, of one colour, or not finite.

  Args:
    image: the result [h, w, c].
    observed: the picture [h', w', c]; where it is of one colour itself, only a
      result that is not finite is flat.
  """
  expected, contrast = float(np.std(observed)), float(np.std(image))
  return not (contrast > DEAD * expected or expected < 1 / 255
              and np.isfinite(contrast))


def row(fit: Fit, task: str, factor: int) -> dict[str, Any]:
  """The numbers of a fit, steps counted from 1.

  Args:
    fit: the fit.
    task: a row of `tasks.TASKS`.
    factor: how many times larger the result is than the picture.

  Returns:
    Counts, seconds and 'psnr' by image, dB; where the truth is known and the
    task is measured by plain PSNR also 'oracle', the best output and the best
    average of all steps, and 'gap', by how many dB that average is better than
    the one that the stopping rule kept. 'not_measured' is the reason where the
    pictures are too small for the metric.
  """
  batch, curve = fit.problem.batch, fit.curve
  reason = failure(fit.kept['last'], batch['observed'], curve)
  found = {'parameters': models.count_parameters(fit.params),
           'seed': fit.seed, 'steps': len(curve['loss']),
           'best_step': int(curve['best_step'][-1]) + 1,
           'seconds_per_step': _finite(fit.seconds), 'dead': bool(reason),
           'failure': reason,
           'rescued': fit.rescued, 'back': int(curve['back'].sum()), 'psnr': {}}
  if 'sharp' not in batch:
    return found
  record = tasks.TASKS[task]
  measure = _measure_for(record.metric)
  try:
    measure(batch['sharp'], batch['sharp'])
  except errors.UserError as error:    # pictures too small for the metric
    return found | {'not_measured': str(error)}
  kernel = fit.found.get('kernel')
  size = 0 if kernel is None else max(kernel.shape)
  for name in ('input', 'classical'):
    if baseline := getattr(record, name):
      found['psnr'][name] = measure(
          baseline(batch, factor, size), batch['sharp'])
  for name, image in fit.kept.items():
    found['psnr'][name] = measure(image, batch['sharp'])
  if record.metric == PLAIN:
    found['oracle'] = {
        name: {'psnr': float(curve[name].max()),
               'step': int(curve[name].argmax()) + 1}
        for name in ('psnr', 'psnr_average')}
    found['gap'] = (found['oracle']['psnr_average']['psnr']
                    - found['psnr']['best_average'])
  return found


def summary(rows: Mapping[str, Any]) -> dict[str, Any]:
  """The results of all problems.

  Args:
    rows: name of a problem -> its `row`.

  Returns:
    'rows', and 'mean': image -> mean PSNR over the problems, dB.
  """
  mean = means.over_rows([one['psnr'] for one in rows.values()])
  return {'mean': mean, 'rows': dict(rows)}


def table(result: Mapping[str, Any]) -> list[list[str]]:
  """PSNR as rows of words: the head, each problem, their mean.

  Args:
    result: of `summary`.
  """
  names = list(result['mean'])
  lines = [['', *names]]
  scores = {name: one['psnr'] for name, one in result['rows'].items()}
  for name, one in (scores | {'mean': result['mean']}).items():
    lines.append([name, *(f'{one[key]:.2f}' if key in one else ''
                          for key in names)])
  return lines


def compare(results: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
  """Means over the problems as rows of words: the head, then each setting.

  Args:
    results: label of a setting -> its `summary`, of the same problems.
  """
  names = list(dict.fromkeys(
      name for one in results.values() for name in one['mean']))
  lines = [['', 'parameters', *names, 'oracle', 'gap', 's/step']]
  for label, result in results.items():
    rows = list(result['rows'].values())
    mean = lambda pick, form, rows=rows: format(
        sum(map(pick, rows)) / len(rows), form)
    lines.append([
        label, f'{rows[0]["parameters"]:,}',
        *(f'{result["mean"][name]:.2f}' for name in names),
        *((mean(lambda row: row['oracle']['psnr_average']['psnr'], '.2f'),
           mean(lambda row: row['gap'], '.2f'))
          if 'gap' in rows[0] else ('–', '–')),
        mean(lambda row: row['seconds_per_step'], '.3f')
        if rows[0]['seconds_per_step'] else '–'])
  return lines


def write(out: pathlib.Path, fit: Fit, *, params: bool = False) -> None:
  """Writes the files of a fit, see the top of this file.

  Args:
    out: the folder.
    fit: the fit.
    params: whether to write NAME_params.npz, where other fits can begin.
  """
  stem = out / fit.problem.name
  errors.make_folder(stem.parent)
  chroma = fit.problem.chroma
  save = lambda ending, image: _save(
      stem.with_name(f'{stem.name}{ending}.png'), image)
  save('', _coloured(fit.result, chroma))
  for name in fit_record.KEPT:
    save(f'_{name}', _coloured(fit.kept[name], chroma))
  save('_input', _coloured(fit.problem.batch['observed'], chroma))
  for name, found in fit.found.items():
    if found.ndim == 2:    # a kernel: its largest value becomes white
      found = (found / found.max())[..., None]
    save(f'_{name}', found)
  if params:
    array_files.save_tree(stem.with_name(f'{stem.name}_params.npz'), fit.params)
  table = io.StringIO(newline='')
  writer = csv.writer(table)
  writer.writerow(['step', *fit.curve])
  for step, values in enumerate(zip(*fit.curve.values(), strict=True), 1):
    writer.writerow([step, *(f'{float(value):.6g}' for value in values)])
  atomic_files.write(
      stem.with_name(f'{stem.name}_curve.csv'), table.getvalue())


def check_names(names: Sequence[str], out: pathlib.Path, *, task: str) -> None:
  """Raises a UserError where two problems would write one file.

  Args:
    names: of the problems.
    out: the folder, for the message.
    task: a row of `tasks.TASKS`.
  """
  endings = ('input', *fit_record.KEPT, *tasks.TASKS[task].found)
  for name in names:
    for ending in endings:
      if f'{name}_{ending}' in names:
        raise errors.UserError(
            f'{out / name}_{ending}.png would be written twice: rename one of '
            f'the pictures {name} and {name}_{ending}.')


def _finite(value: float) -> float | None:
  """None for NaN and infinity, which JSON does not have."""
  return value if np.isfinite(value) else None


@functools.cache
def _measure_for(name):
  fn = loop.on_mesh(metrics.choose([name])[name], parallel.data_mesh())
  rgb = lambda image: np.broadcast_to(
      np.clip(image, 0, 1), (*image.shape[:2], 3)).astype(np.float32)[None]
  return lambda image, sharp: float(fn(rgb(image), rgb(sharp))[0])


def _coloured(image, chroma):
  """A restored luma with the observed chroma; other images as they are."""
  if chroma is None:
    return image
  return np.asarray(colour.ycbcr_to_rgb(
      np.concatenate([image, chroma], axis=-1)))


def _save(path, image) -> None:
  pixels = bit_depth.to_uint8(image)
  pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
  images.write(path, pixels)
