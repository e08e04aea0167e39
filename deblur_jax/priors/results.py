"""What comes out of fits: pictures, curves, rows of a table.

A folder gets, for each problem, NAME.png (the result), NAME_input.png,
NAME_KEPT.png (all that was kept of the fit), NAME_FOUND.png of what was found
beside the image, as a kernel, and NAME_curve.csv, the fit step by step; and for
all of them result.json: rows of PSNR for the input, a classical method,
everything kept, and the oracle, which is the best output that there was and
looks at the truth.
"""

import csv
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deblur_jax import errors, metrics, models
from deblur_jax.metrics import means
from deblur_jax.ops import arrays, bit_depth, colour
from deblur_jax.priors import baselines, outputs
from deblur_jax.priors.problems import Problem
from deblur_jax.state import Params
from deblur_jax.training import loop, parallel

# Below this share of the observed picture's contrast a result is called dead.
DEAD = 0.1
# What methods find beside the image.
FOUND = ('first', 'kernel', 'mask', 'second')
# task -> the metric of its papers, where it is not the plain one
MEASURES = {'blind': 'psnr_shift', 'sr': 'psnr_luma_shaved'}
PLAIN = 'psnr_float'


class Fit(NamedTuple):
  """The fit of one problem.

  problem: the problem.
  kept: name -> float32 [h, w, c], see `outputs.KEPT`.
  found: what the method found beside the image, by name.
  result: [h, w, c], the one that the method gives.
  params: by network, as they were at the end.
  curve: metric -> [steps].
  seed: the one of which the result is.
  seconds: of a step for this image, warm.
  rescued: whether its kernel is of another fit, which was dead.
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
  """Black, or of one colour, or not a number: another seed is worth a try.

  Not where what was observed is of one colour itself.
  """
  return is_flat(fit.kept['last'], fit.problem.batch['observed'])


def is_flat(image: np.ndarray, seen: np.ndarray) -> bool:
  """Whether an image has no contrast where what was observed has some."""
  observed, contrast = float(np.std(seen)), float(np.std(image))
  return not (contrast > DEAD * observed or observed < 1 / 255
              and np.isfinite(contrast))


def row(fit: Fit, task: str, factor: int) -> dict[str, Any]:
  """The numbers of a fit; those that need the truth only where there is one.

  'oracle' is the best of all outputs and of all averages, which only the truth
  can tell, in plain PSNR and so left out where the task has another measure;
  'gap' by how much that average is better than the one that was kept, dB.
  Steps count from 1.
  """
  batch, curve = fit.problem.batch, fit.curve
  told = {'parameters': models.count_parameters(fit.params),
          'seed': fit.seed, 'steps': len(curve['loss']),
          'best_step': int(curve['best_step'][-1]) + 1,
          'seconds_per_step': _finite(fit.seconds), 'dead': is_dead(fit),
          'rescued': fit.rescued, 'back': int(curve['back'].sum()), 'psnr': {}}
  if 'sharp' not in batch:
    return told
  measure = _measure_for(task)
  try:
    measure(batch['sharp'], batch['sharp'])
  except errors.UserError as error:    # pictures too small for the metric
    return told | {'not_measured': str(error)}
  kernel = fit.found.get('kernel')
  size = 0 if kernel is None else max(kernel.shape)
  for name, baseline in zip(
      ('input', 'classical'), baselines.BASELINES[task], strict=True):
    if baseline:
      told['psnr'][name] = measure(
          baseline(batch, factor, size), batch['sharp'])
  for name, image in fit.kept.items():
    told['psnr'][name] = measure(image, batch['sharp'])
  if MEASURES.get(task, PLAIN) == PLAIN:
    told['oracle'] = {
        name: {'psnr': float(curve[name].max()),
               'step': int(curve[name].argmax()) + 1}
        for name in ('psnr', 'psnr_average')}
    told['gap'] = (told['oracle']['psnr_average']['psnr']
                   - told['psnr']['best_average'])
  return told


def summary(
    config: Mapping[str, Any], task: str, rows: Mapping[str, Any], *,
    digest: str) -> dict[str, Any]:
  """What result.json holds; `digest` tells these problems from others."""
  mean = means.over_rows([one['psnr'] for one in rows.values()])
  return {'task': task, 'mean': mean, 'rows': dict(rows),
          'config': dict(config), 'problems': digest}


def table(result: Mapping[str, Any]) -> list[list[str]]:
  """Rows of words: the head, one for each problem, their mean."""
  names = list(result['mean'])
  lines = [['', *names]]
  scores = {name: one['psnr'] for name, one in result['rows'].items()}
  for name, one in (scores | {'mean': result['mean']}).items():
    lines.append([name, *(f'{one[key]:.2f}' if key in one else ''
                          for key in names)])
  return lines


def write(out: pathlib.Path, fit: Fit, *, params: bool = False) -> None:
  """The files of a fit.

  Args:
    out: the folder.
    fit: the fit.
    params: whether NAME_params.npz keeps the parameters, as a start.
  """
  stem = out / fit.problem.name
  errors.make_folder(stem.parent)
  chroma = fit.problem.chroma
  save = lambda ending, image: _save(
      stem.with_name(f'{stem.name}{ending}.png'), image)
  save('', _coloured(fit.result, chroma))
  for name in outputs.KEPT:
    save(f'_{name}', _coloured(fit.kept[name], chroma))
  save('_input', _coloured(fit.problem.batch['observed'], chroma))
  for name, found in fit.found.items():
    if found.ndim == 2:    # a kernel: its brightest pixel is white
      found = (found / found.max())[..., None]
    save(f'_{name}', found)
  if params:
    arrays.save_tree(stem.with_name(f'{stem.name}_params.npz'), fit.params)
  with open(stem.with_name(f'{stem.name}_curve.csv'), 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['step', *fit.curve])
    for step, values in enumerate(zip(*fit.curve.values(), strict=True), 1):
      writer.writerow([step, *(f'{float(value):.6g}' for value in values)])


def check_names(names: Sequence[str], out: pathlib.Path) -> None:
  """Raises a UserError where the files of two problems would be the same."""
  endings = ('input', *outputs.KEPT, *FOUND)
  for name in names:
    for ending in endings:
      if f'{name}_{ending}' in names:
        raise errors.UserError(
            f'{out / name}_{ending}.png would be written twice: rename one of '
            f'the pictures {name} and {name}_{ending}.')


def _finite(value: float) -> float | None:
  """None for what JSON has no word for."""
  return value if np.isfinite(value) else None


@functools.cache
def _measure_for(task):
  name = MEASURES.get(task, PLAIN)
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
  Image.fromarray(pixels).save(path)
