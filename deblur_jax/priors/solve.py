"""Fits deep image priors to problems and writes pictures and tables.

`problems` reads or makes the problems, `run` fits a prior to each and writes a
folder (see `results`), and `initialization` learns parameters to begin with.
"""

import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from deblur_jax import errors, methods
from deblur_jax.config import check_counts, check_keys, check_seed
from deblur_jax.inference import restoration
from deblur_jax.priors import initialization, results, unfinished
from deblur_jax.priors.problems import Problem, check_finite, digest
from deblur_jax.priors.results import Fit
from deblur_jax.state import Method, Params
from deblur_jax.training import loop, parallel, workdir

KEYS = ('seed', 'total_steps', 'chunk', 'method', 'nets', 'optim')
RESULT = 'result.json'
AGAIN = 2           # further tries with other seeds, where a fit failed
RESCUE_STEPS = 1000  # of a fit with the kernel that a failed fit estimated

OnSteps = Callable[[str, int], None]


def run(
    config: Mapping[str, Any], problems: Sequence[Problem],
    out: str | os.PathLike, *, task: str, params: bool = False,
    seeds: int = 1, warm: bool = False, start: Params = None, **options
) -> dict[str, Any]:
  """Fits all problems and writes their folder.

  The same call again keeps the finished pictures and fits the others. It
  resumes a stopped fit from its last save; a fit is saved every five minutes.

  Args:
    config: plain dicts with KEYS, such as `tasks.config` makes.
    problems: the problems.
    out: a folder, empty or with a part of the same fits; see `results.write`.
    task: a row of `tasks.TASKS`.
    params: see `results.write`.
    seeds: see `fit_all`.
    start: see `fit_all`.
    warm: see `fit_all`; then a fit depends on the one before, `out` must be
      empty, and no fit is saved.
    **options: others of `fit_all`.

  Returns:
    What result.json has, see `results.summary`.

  Raises:
    UserError: a config or problems that cannot be fitted, a folder with other
      content, values that are not finite.
  """
  check(config)
  check_problems(config, problems)
  out = pathlib.Path(out)
  results.check_names(
      [problem.name for problem in problems], out, task=task)
  errors.make_folder(out)
  factor = config['method'].get('factor', 1)
  these = same(task, config, digest(problems), seeds=seeds, start=start)
  rows = _finished(out, these, warm=warm)
  left = [problem for problem in problems if problem.name not in rows]
  if left and not warm:
    unfinished.begin(out, these)
  for fit in fit_all(config, left, seeds=seeds, warm=warm, start=start,
                     saves=None if warm else out / unfinished.FOLDER,
                     **options):
    results.write(out, fit, params=params)
    rows[fit.problem.name] = results.row(fit, task, factor)
    workdir.write_json(out / RESULT, results.summary(rows) | these)
    workdir.write_json(
        out / workdir.ENVIRONMENT, workdir.describe_environment())
  unfinished.end(out)
  return results.summary(rows) | these


def same(
    task: str, config: Mapping[str, Any], problems: str, *, seeds: int,
    start: Params) -> dict[str, Any]:
  """What result.json says of fits; equal fits have equal entries.

  Args:
    task: a row of `tasks.TASKS`.
    config: of the fits.
    problems: their digest, see `problems.digest`.
    seeds: see `fit_all`.
    start: see `fit_all`.

  Returns:
    Entries as JSON gives them back; of `start` a digest.
  """
  leaves = b''.join(
      np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(start))
  return json.loads(json.dumps({
      'task': task, 'config': config, 'problems': problems, 'seeds': seeds,
      'start': leaves and hashlib.sha256(leaves).hexdigest() or None}))


def _finished(out, these, *, warm) -> dict[str, Any]:
  """The rows of the pictures that an interrupted call has finished."""
  there = {path.name for path in out.iterdir()} - {unfinished.FOLDER}
  if not there and not unfinished.fits_of(out):
    return {}
  file = out / RESULT
  found = (workdir.read_json(file) if file.is_file()
           else {'rows': {}} | unfinished.fits_of(out))
  if warm or these != {key: found.get(key) for key in these}:
    raise errors.UserError(
        f'{out} is not empty, and not a part of the same fits; give another '
        '--out.')
  return found['rows']


def fit_all(
    config: Mapping[str, Any], problems: Sequence[Problem], *, seeds: int = 1,
    at_once: int = 1, start: Params = None, warm: bool = False,
    saves: pathlib.Path | None = None,
    on_steps: OnSteps = lambda name, done: None) -> Iterator[Fit]:
  """Fits the problems one after another.

  A fit without contrast has failed and is tried again with other seeds. Where
  all seeds fail and the method estimates a kernel, the picture is fitted once
  more with that kernel as the known one.

  Args:
    config: see `run`.
    problems: see `run`.
    seeds: fits of each problem, at least 1; the lowest loss counts.
    at_once: pictures of one size that are fitted together, at least 1.
    start: the first parameters by network, see `initialization`; random by
      default.
    warm: whether each group of pictures begins with the parameters of the group
      before, for the frames of a video.
    saves: a folder in which fits are saved while they run, and from which they
      resume; None saves nothing.
    on_steps: called with the names of the problems and their finished steps.

  Yields:
    A `Fit` for each problem.

  Raises:
    UserError: a config that the method refuses.
  """
  method = _build(config)
  mesh = parallel.data_mesh()
  run_chunk = loop.make_chunk(method, steps=config['chunk'], mesh=mesh)
  for group in _groups(problems, at_once):
    waiting = list(group)
    for attempt in range(1 + AGAIN):
      last = attempt == AGAIN
      fits = _fit(config, method, run_chunk, waiting,
                  range(attempt * seeds, (attempt + 1) * seeds), start=start,
                  saves=saves, on_steps=on_steps)
      if last:
        fits = [_rescue(config, fit) for fit in fits]
      alive = [fit for fit in fits if last or not results.is_dead(fit)]
      yield from alive
      whole = [fit for fit in alive
               if not results.is_dead(fit) and not fit.rescued]
      if warm and whole:
        start = whole[-1].params
      done = {fit.problem.name for fit in alive}
      waiting = [problem for problem in waiting if problem.name not in done]
      if not waiting:
        break
    if saves:
      unfinished.delete(saves)


def check(config: Mapping[str, Any]) -> None:
  """Raises a UserError for unknown, missing and impossible top-level keys."""
  if 'data' in config:
    raise errors.UserError(
        'This config is for training; give it to python -m experiments.train.')
  check_keys(config, KEYS)
  workdir.check_form(config)
  check_seed(config['seed'])
  check_counts({key: config[key] for key in ('total_steps', 'chunk')})
  if config['total_steps'] % config['chunk']:
    raise errors.UserError(
        f"total_steps={config['total_steps']} is not a multiple of chunk="
        f"{config['chunk']}; set both.")


def check_problems(
    config: Mapping[str, Any], problems: Sequence[Problem]) -> None:
  """Raises a UserError for problems that the config cannot fit.

  Args:
    config: plain dicts with KEYS.
    problems: the problems.
  """
  if not problems:
    raise errors.UserError('There are no pictures to fit.')
  method, seen = _build(config), set()
  for problem in problems:
    check_finite(problem)
    batch = {key: jax.ShapeDtypeStruct((1, *np.shape(value)), np.float32)
             for key, value in problem.batch.items()}
    if str(batch) not in seen:
      seen.add(str(batch))
      jax.eval_shape(method.init, jax.random.key(0), batch)


def _build(config):
  method = methods.build(config)
  if not method.per_image:
    raise errors.UserError(
        f'method.name={config["method"]["name"]} does not fit single pictures; '
        'train it by experiments.train.')
  return method


def _groups(problems, at_once):
  """Lists of at most `at_once` neighbours of one shape."""
  shape = lambda problem: sorted(
      (key, np.shape(value)) for key, value in problem.batch.items())
  for _, same in itertools.groupby(problems, key=shape):
    while group := list(itertools.islice(same, at_once)):
      yield group


def _fit(config, method: Method, run_chunk, group, seeds, *, start, saves,
         on_steps):
  """One `Fit` for each problem: the best of its seeds."""
  mesh = parallel.data_mesh()
  copies = [(problem, seed) for problem in group for seed in seeds]
  # Copies fill the batch up to a multiple of the devices.
  while len(copies) % mesh.size:
    copies.append(copies[-1])
  batch = {key: np.stack([problem.batch[key] for problem, _ in copies])
           for key in group[0].batch}
  batch['seed'] = np.array([seed for _, seed in copies], np.int32)
  name = ', '.join(problem.name for problem in group)
  key = jax.random.key(config['seed'])
  state, curve = initialization.begin(method, key, batch, start), None
  if saves:
    names = json.dumps([(one.name, seed) for one, seed in copies])
    saved = unfinished.Saves(
        saves / f'{hashlib.sha256(names.encode()).hexdigest()[:16]}.npz')
    state, curve = saved.read(state)
  for fitted in restoration.fit_in_chunks(
      method, batch, key, config['total_steps'], mesh, chunk=config['chunk'],
      run_chunk=run_chunk, state=state, curve=curve):
    done = len(fitted.curve['loss'])
    on_steps(name, done)
    if saves and done < config['total_steps'] and not (
        fitted.curve['stopped'][-1].all()):
      saved.write_if_due(fitted.state, fitted.curve)
  state = jax.tree.map(np.asarray, fitted.state)
  found = []
  for i, problem in enumerate(group):
    own = range(i * len(seeds), (i + 1) * len(seeds))
    best = min(own, key=lambda j: _last_loss(fitted.curve, j))
    pick = lambda tree, j=best: jax.tree.map(lambda x: x[j], tree)
    found.append(Fit(
        problem, kept=pick(state.buffers['record']['kept']),
        found=pick(state.buffers.get('found', {})),
        result=np.asarray(method.restore(state, batch['observed']))[best],
        params=pick(state.params),
        curve=_own_curve(fitted.curve, best),
        seed=int(batch['seed'][best]), seconds=fitted.seconds / len(copies)))
  return found


def _own_curve(curve, column: int) -> dict[str, np.ndarray]:
  """The curve of one fit up to its stop; the others of its batch continue."""
  own = {key: value[:, column] for key, value in curve.items()}
  stopped = own['stopped'].astype(bool)
  end = int(stopped.argmax()) + 1 if stopped.any() else len(stopped)
  return {key: value[:end] for key, value in own.items()}


def _last_loss(curve, column: int) -> float:
  """The mean of the ten losses up to the best step; infinite for NaN."""
  end = int(curve['best_step'][-1, column]) + 1
  loss = float(curve['loss'][max(0, end - 10):end, column].mean())
  return loss if np.isfinite(loss) else np.inf


def _rescue(config, fit: Fit) -> Fit:
  """A failed fit with a kernel, fitted again with that kernel as known."""
  if not results.is_dead(fit) or 'kernel' not in fit.found:
    return fit
  steps = min(RESCUE_STEPS, config['total_steps'])
  rate = config['optim']['image']
  if rate.get('schedule') == 'step':
    rate = dict(rate, boundaries=(0.7, 0.8, 0.9))    # as in the task deblur
  known = dict(
      config, total_steps=steps, chunk=steps,
      nets={'net': config['nets']['image']},
      optim={'net': rate},
      method=dict(name='deep_prior', code='noise', result='last',
                  stopping=dict(name='fixed'),
                  **{key: value for key, value in config['method'].items()
                     if key in ('average', 'code_scale', 'jitter', 'tv')}))
  names = ('observed', 'sharp')
  problem = Problem(fit.problem.name, {
      'kernel': fit.found['kernel'],
      **{key: fit.problem.batch[key] for key in names
         if key in fit.problem.batch}})
  method = methods.build(known)
  run_chunk = loop.make_chunk(method, steps=steps, mesh=parallel.data_mesh())
  (again,) = _fit(known, method, run_chunk, [problem], [fit.seed], start=None,
                  saves=None, on_steps=lambda name, done: None)
  return again._replace(problem=fit.problem, found=fit.found, rescued=True)
