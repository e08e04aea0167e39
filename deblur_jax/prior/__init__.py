"""Deep image priors on pictures: problems in, restored pictures and tables out.

A folder gets, for each problem, NAME.png (the result), NAME_KEPT.png (all that
was kept of the fit), NAME_kernel.png where one was estimated, and together
result.json: rows of PSNR for the input, a classical method, everything kept,
and the oracle, which is the best output that there was and looks at the truth.
curve.csv has the fit step by step.
"""

import csv
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from deblur_jax import loop, methods, metrics, parallel, restore, types, workdir
from deblur_jax.data import images
from deblur_jax.methods import records
from deblur_jax.prior import baselines
from deblur_jax.prior import problems as problems
from deblur_jax.prior.problems import Problem

KEYS = ('seed', 'total_steps', 'chunk', 'method', 'nets', 'optim')
# Below this share of the observed picture's contrast a result is called dead.
DEAD = 0.1
AGAIN = 2    # further tries with other seeds


class Fit(NamedTuple):
  """The fit of one problem.

  problem: the problem.
  kept: name -> float32 [h, w, c].
  kernel: [kh, kw] where one was estimated, or None.
  curve: metric -> [steps].
  seed: the one of which the result is.
  seconds: of a step for this image, warm.
  """

  problem: Problem
  kept: dict[str, np.ndarray]
  kernel: np.ndarray | None
  curve: dict[str, np.ndarray]
  seed: int
  seconds: float


def run(
    config: Mapping[str, Any], tasks: Sequence[Problem], out: str | os.PathLike,
    *, task: str, seeds: int = 1, at_once: int = 1,
    on_steps: Callable[[str, int], None] = lambda name, done: None
) -> dict[str, Any]:
  """Fits all problems and writes their folder.

  Args:
    config: plain dicts with KEYS.
    tasks: the problems.
    out: a folder to make, or an empty one.
    task: a row of `problems.TASKS`, for the rows beside the fit.
    seeds: fits of each problem, of which the one with the lowest loss counts.
    at_once: pictures of one size that are fitted together.
    on_steps: called with the problems under way and their finished steps.

  Returns:
    What result.json holds.

  Raises:
    UserError: what the config or the method refuses, a folder that is full.
  """
  check(config)
  for problem in tasks:
    _check_finite(problem)
  out = types.make_folder(out)
  if any(out.iterdir()):
    raise types.UserError(f'{out} is not empty; give another --output.')
  factor = config['method'].get('factor', 1)
  rows = {}
  for fit in fit_all(config, tasks, seeds=seeds, at_once=at_once,
                     on_steps=on_steps):
    _write(out, fit, config['method'])
    rows[fit.problem.name] = _row(fit, task, factor)
    workdir.write_json(out / 'result.json', _result(config, task, rows))
  return _result(config, task, rows)


def fit_all(
    config: Mapping[str, Any], tasks: Sequence[Problem], *, seeds: int = 1,
    at_once: int = 1,
    on_steps: Callable[[str, int], None] = lambda name, done: None
) -> Iterator[Fit]:
  """The fits, one after another; arguments as of `run`."""
  method = methods.build(config)
  if not method.per_image:
    raise types.UserError(
        f'method.name={config["method"]["name"]} does not fit single pictures; '
        'train it by experiments.train.')
  mesh = parallel.data_mesh()
  run_chunk = loop.make_chunk(method, steps=config['chunk'], mesh=mesh)
  for group in _groups(tasks, at_once):
    waiting = list(group)
    for attempt in range(1 + AGAIN):
      last = attempt == AGAIN
      fits = _fit(config, method, run_chunk, waiting, mesh,
                  range(attempt * seeds, (attempt + 1) * seeds), on_steps)
      alive = [fit for fit in fits if last or not _is_dead(fit)]
      yield from alive
      done = {fit.problem.name for fit in alive}
      waiting = [problem for problem in waiting if problem.name not in done]
      if not waiting:
        break


def check(config: Mapping[str, Any]) -> None:
  """Raises a UserError for unknown, missing and impossible top-level keys."""
  if 'data' in config:
    raise types.UserError(
        'This config is of a method that is trained; give it to '
        'python -m experiments.train.')
  types.check_keys(config, KEYS)
  for key in ('total_steps', 'chunk'):
    if config[key] < 1:
      raise types.UserError(f'{key} must be at least 1, got {config[key]}.')
  if config['total_steps'] % config['chunk']:
    raise types.UserError(
        f"{config['total_steps']} steps are not a multiple of the chunk of "
        f"{config['chunk']}; set both.")


def table(result: Mapping[str, Any]) -> list[list[str]]:
  """Rows of words: the head, one for each problem, their mean."""
  names = list(result['mean'])
  rows = [['', *names]]
  scores = {name: row['psnr'] for name, row in result['rows'].items()}
  for name, row in (scores | {'mean': result['mean']}).items():
    rows.append([name, *(f'{row[key]:.2f}' if key in row else ''
                         for key in names)])
  return rows


def _groups(tasks, at_once):
  """Neighbours of one shape, at most so many together."""
  shape = lambda problem: sorted(
      (key, np.shape(value)) for key, value in problem.batch.items())
  for _, same in itertools.groupby(tasks, key=shape):
    while group := list(itertools.islice(same, at_once)):
      yield group


def _fit(config, method, run_chunk, group, mesh, seeds, on_steps):
  """One `Fit` for each problem: of its seeds the one that fits best."""
  copies = [(problem, seed) for problem in group for seed in seeds]
  # Filled up to a multiple of the devices by fits that nobody looks at.
  while len(copies) % mesh.size:
    copies.append(copies[-1])
  batch = {key: np.stack([problem.batch[key] for problem, _ in copies])
           for key in group[0].batch}
  batch['seed'] = np.array([seed for _, seed in copies], np.int32)
  name = ', '.join(problem.name for problem in group)
  fitted = restore.fit_images(
      method, batch, jax.random.key(config['seed']), config['total_steps'],
      mesh, chunk=config['chunk'], run_chunk=run_chunk,
      on_chunk=lambda done: on_steps(name, done))
  kept = jax.tree.map(np.asarray, fitted.state.extra['record']['kept'])
  kernel = fitted.state.extra.get('kernel')
  found = []
  for i, problem in enumerate(group):
    own = range(i * len(seeds), (i + 1) * len(seeds))
    best = min(own, key=lambda j: fitted.curve['fit'][-1, j])
    found.append(Fit(
        problem, {key: value[best] for key, value in kept.items()},
        None if kernel is None else np.asarray(kernel)[best],
        {key: value[:, best] for key, value in fitted.curve.items()},
        int(batch['seed'][best]), fitted.seconds / len(copies)))
  return found


def _check_finite(problem: Problem) -> None:
  for name, value in problem.batch.items():
    bad = np.size(value) - np.sum(np.isfinite(value))
    if bad:
      raise types.UserError(
          f'{problem.name}: {bad} values of its {name} are not finite; mend '
          'the picture, or set them to 0 and leave them out by a mask.')


def _is_dead(fit: Fit) -> bool:
  """Black, or of one colour, or not a number: another seed is worth a try."""
  contrast = float(np.std(fit.kept['last']))
  return not contrast > DEAD * float(np.std(fit.problem.batch['blur']))


def _row(fit, task, factor) -> dict[str, Any]:
  batch = fit.problem.batch
  row = {'seed': fit.seed, 'steps': len(fit.curve['loss']),
         'best_step': int(fit.curve['best_step'][-1]),
         'seconds_per_step': fit.seconds, 'dead': _is_dead(fit),
         'back': int(fit.curve['back'].sum()), 'psnr': {}}
  if 'sharp' not in batch:
    return row
  measure = _measure_for(task)
  given, classical = baselines.BASELINES[task]
  size = 0 if fit.kernel is None else max(fit.kernel.shape)
  for name, baseline in (('input', given), ('classical', classical)):
    if baseline:
      row['psnr'][name] = measure(
          baseline(batch, factor, size), batch['sharp'])
  for name, image in fit.kept.items():
    row['psnr'][name] = measure(image, batch['sharp'])
  row['oracle'] = {
      name: {'psnr': float(fit.curve[name].max()),
             'step': int(fit.curve[name].argmax())}
      for name in ('psnr', 'psnr_average')}
  return row


def _measure_for(task):
  name = {'sr': 'psnr_luma_shaved', 'blind': 'psnr_shift'}.get(
      task, 'psnr_float')
  fn = metrics.choose([name])[name]
  rgb = lambda image: np.broadcast_to(
      image, (*image.shape[:2], 3)).astype(np.float32)[None]
  return lambda image, sharp: float(fn(rgb(image), rgb(sharp))[0])


def _result(config, task, rows):
  names = dict.fromkeys(
      name for row in rows.values() for name in row['psnr'])
  mean = {name: float(np.mean([row['psnr'][name] for row in rows.values()
                               if name in row['psnr']])) for name in names}
  return {'task': task, 'mean': mean, 'rows': rows, 'config': config}


def _write(out: pathlib.Path, fit: Fit, method) -> None:
  stem = out / fit.problem.name
  types.make_folder(stem.parent)
  result = method.get('result', 'best_average')
  _save(stem.with_name(f'{stem.name}.png'), fit.kept[result])
  for name in records.KEPT:
    _save(stem.with_name(f'{stem.name}_{name}.png'), fit.kept[name])
  _save(stem.with_name(f'{stem.name}_input.png'), fit.problem.batch['blur'])
  if fit.kernel is not None:
    _save(stem.with_name(f'{stem.name}_kernel.png'),
          (fit.kernel / fit.kernel.max())[..., None])
  with open(stem.with_name(f'{stem.name}_curve.csv'), 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['step', *fit.curve])
    for step, values in enumerate(zip(*fit.curve.values(), strict=True), 1):
      writer.writerow([step, *(f'{float(value):.6g}' for value in values)])


def _save(path, image) -> None:
  pixels = images.to_uint8(image)
  pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
  Image.fromarray(pixels).save(path)
