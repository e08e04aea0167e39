"""What the fit of one image keeps on its way: results, averages, a way back.

All of it is for one image, without a batch axis; methods map it over theirs.
After the fit of an image has stopped its record stays as it is.
"""

from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.priors import stopping
from deblur_jax.state import Array, Metrics, Params

# What is kept of the outputs.
KEPT = {
    'average': 'their moving average',
    'best': 'that of the step with the lowest score',
    'best_average': 'the average of the outputs about that step',
    'last': 'the last',
}
Record = dict[str, Any]


def init(rule: stopping.Rule, image: Array, params: Params) -> Record:
  """The record of no step; `image` gives the shape of the result."""
  return {
      'kept': {name: jnp.zeros_like(image) for name in KEPT},
      'memory': rule.init(image),
      'best_score': jnp.array(jnp.inf), 'best_step': jnp.zeros((), jnp.int32),
      'stopped': jnp.zeros((), bool),
      'safe': {'params': params, 'psnr': jnp.array(-jnp.inf)}}


def add(
    rule: stopping.Rule, record: Record, seen: stopping.Seen, *,
    average: float) -> Record:
  """The record after a step; unchanged if the image has stopped before.

  Args:
    rule: gives the score.
    record: as it was.
    seen: the step.
    average: a, of the moving average, which begins as the first output and
      whose decay is min(a, (1 + t) / (10 + t)) at step t. The outputs in it
      are a / (1 - a) steps old on average: so much later it is that about a
      step.

  Raises:
    UserError: an average that is not in [0, 1).
  """
  if not 0 <= average < 1:
    raise errors.UserError(
        f'method.average must be 0 or more and less than 1, got {average}.')
  kept = record['kept']
  # Shorter at first: the authors' lags behind where a fit stops early.
  decay = jnp.minimum(average, (1 + seen.step) / (10 + seen.step))
  mean = jnp.where(
      seen.step == 0, seen.image,
      decay * kept['average'] + (1 - decay) * seen.image)
  memory, score = rule.score(record['memory'], seen)
  # As long as the rule cannot tell, the last is the best that there is.
  better = (score < record['best_score']) | jnp.isinf(record['best_score'])
  best_step = jnp.where(better, seen.step, record['best_step'])
  about_best = seen.step - best_step <= average / (1 - average)
  stopped = jnp.array(False)
  if rule.patience is not None:
    told = jnp.isfinite(jnp.minimum(score, record['best_score']))
    stopped = told & (seen.step - best_step >= rule.patience)
  new = record | {
      'kept': {
          'average': mean, 'last': seen.image,
          'best': jnp.where(better, seen.image, kept['best']),
          'best_average': jnp.where(about_best, mean, kept['best_average'])},
      'memory': memory, 'best_step': best_step, 'stopped': stopped,
      'best_score': jnp.minimum(score, record['best_score'])}
  # Neither a step after the stop nor one that is not finite counts.
  same = record['stopped'] | ~jnp.isfinite(seen.fit)
  return jax.tree.map(lambda a, b: jnp.where(same, a, b), record, new)


def backtrack(
    record: Record, seen: stopping.Seen, old: tuple, new: tuple,
    finite: Array, *, decibels: float, every: int):
  """Takes the parameters of the last check again where the fit fell since.

  The moments of the optimizer stay: as in the authors' program. Where the loss
  or its gradient is not finite, the step is left out as well.

  Args:
    record: after the step.
    seen: the step.
    old, new: (params, opt_state) before and after the step.
    finite: whether the loss of the step and its gradient are.
    decibels: how far the PSNR to what was observed may fall.
    every: steps from one check to the next.

  Returns:
    params, opt_state, record, whether they were taken again.
  """
  psnr = -10 * jnp.log10(seen.fit + 1e-12)
  safe = record['safe']
  broken = ~finite
  check = seen.step % every == 0
  fell = check & (psnr < safe['psnr'] - decibels)
  back = broken | fell
  pick = lambda where, a, b: jax.tree.map(
      lambda x, y: jnp.where(where, x, y), a, b)
  params = pick(back, safe['params'], new[0])
  opt_state = pick(broken, old[1], new[1])
  # The parameters that gave this step's output, as its PSNR is theirs.
  keep = check & ~back
  safe = pick(keep, {'params': old[0], 'psnr': psnr}, safe)
  return params, opt_state, record | {'safe': safe}, back


def metrics(
    record: Record, seen: stopping.Seen, sharp: Array | None) -> Metrics:
  """Scalars of a step; with the truth, PSNR of the output and the average."""
  told = {'score': record['best_score'], 'stopped': record['stopped'],
          'best_step': record['best_step']}
  if sharp is not None:
    for name, image in (('psnr', seen.image),
                        ('psnr_average', record['kept']['average'])):
      error = jnp.mean(jnp.square(jnp.clip(image, 0, 1) - sharp))
      told[name] = -10 * jnp.log10(error + 1e-12)
  return told
