"""The record of the fit of one image: kept outputs, averages, a checkpoint.

All functions are for one image, without a batch axis; `fitting` maps them over
the images. `fitting` also leaves a fit that has stopped as it is.
"""

from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.priors import stopping
from deblur_jax.state import Array, Metrics, Params
from deblur_jax.training import optim

# The outputs of a fit that are kept.
KEPT = {
    'average': 'the moving average of the outputs',
    'best': 'the output at the step with the lowest score',
    'best_average': 'the average of the outputs around that step',
    'last': 'the last output',
}
Record = dict[str, Any]
# Steps that are not finite, after which a fit stops: it will not recover.
MAX_BROKEN = 20


def init(rule: stopping.Rule, image: Array, params: Params) -> Record:
  """The record before the first step.

  Args:
    rule: the stopping rule.
    image: an array of the shape of the result, [h, w, c].
    params: by network.
  """
  return {
      'kept': {name: jnp.zeros_like(image) for name in KEPT},
      'memory': rule.init(image),
      'best_score': jnp.array(jnp.inf), 'best_step': jnp.zeros((), jnp.int32),
      'stopped': jnp.zeros((), bool), 'broken': jnp.zeros((), jnp.int32),
      'safe': {'params': params, 'psnr': jnp.array(-jnp.inf)}}


def add(
    rule: stopping.Rule, record: Record, seen: stopping.Seen, *,
    average: float) -> Record:
  """The record after a step; unchanged if the step is not finite.

  Args:
    rule: gives the score.
    record: before the step.
    seen: the step.
    average: a in [0, 1), the decay of the moving average. The average begins as
      the first output, and its decay is `optim.warm_decay`.
      Its outputs are a / (1 - a) steps old on average, so the average around a
      step is the one of a / (1 - a) steps later.

  Raises:
    UserError: an average that is not in [0, 1).
  """
  if not 0 <= average < 1:
    raise errors.UserError(
        f'method.average must be 0 or more and less than 1, got {average}.')
  kept = record['kept']
  # The authors' average, without that, is late if a fit stops early.
  decay = optim.warm_decay(average, seen.step)
  mean = jnp.where(
      seen.step == 0, seen.image,
      decay * kept['average'] + (1 - decay) * seen.image)
  memory, score = rule.score(record['memory'], seen)
  # While the rule has no score, the last output counts as the best.
  better = (score < record['best_score']) | jnp.isinf(record['best_score'])
  best_step = jnp.where(better, seen.step, record['best_step'])
  about_best = seen.step - best_step <= average / (1 - average)
  stopped = jnp.array(False)
  if rule.patience is not None:
    scored = jnp.isfinite(jnp.minimum(score, record['best_score']))
    stopped = scored & (seen.step - best_step >= rule.patience)
  new = record | {
      'kept': {
          'average': mean, 'last': seen.image,
          'best': jnp.where(better, seen.image, kept['best']),
          'best_average': jnp.where(about_best, mean, kept['best_average'])},
      'memory': memory, 'best_step': best_step, 'stopped': stopped,
      'best_score': jnp.minimum(score, record['best_score'])}
  # Steps that are not finite do not count.
  same = ~jnp.isfinite(seen.fit)
  return jax.tree.map(lambda a, b: jnp.where(same, a, b), record, new)


def backtrack(
    record: Record, seen: stopping.Seen, old: tuple, new: tuple,
    finite: Array, *, decibels: float, every: int):
  """Returns to the parameters of the last check if the fit became worse.

  The moments of the optimizer stay, as in the authors' program. If the loss or
  its gradient is not finite, the update of the optimizer is undone too. After
  MAX_BROKEN such steps the fit has stopped.

  Args:
    record: after the step.
    seen: the step.
    old: (params, opt_state) before the step.
    new: (params, opt_state) after the step.
    finite: whether the loss of the step and its gradient are finite.
    decibels: by which the PSNR to the picture may fall between two checks.
    every: steps from one check to the next, at least 1.

  Returns:
    params, opt_state, record, and whether the parameters are those of the last
    check.
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
  # The parameters before the update: the PSNR of this step is theirs.
  keep = check & ~back
  safe = pick(keep, {'params': old[0], 'psnr': psnr}, safe)
  count = record['broken'] + broken
  record |= {'safe': safe, 'broken': count,
             'stopped': record['stopped'] | (count >= MAX_BROKEN)}
  return params, opt_state, record, back


def metrics(
    record: Record, seen: stopping.Seen, sharp: Array | None) -> Metrics:
  """The metrics of a step, scalars by name.

  Args:
    record: after the step.
    seen: the step.
    sharp: the truth [h, w, c], for PSNR of the output and of the average, dB;
      or None.
  """
  found = {'score': record['best_score'], 'stopped': record['stopped'],
           'best_step': record['best_step'], 'broken': record['broken']}
  if sharp is not None:
    for name, image in (('psnr', seen.image),
                        ('psnr_average', record['kept']['average'])):
      error = jnp.mean(jnp.square(jnp.clip(image, 0, 1) - sharp))
      found[name] = -10 * jnp.log10(error + 1e-12)
  return found
