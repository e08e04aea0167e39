"""Optimizers from a config, gradient accumulation, and weight averages."""

import fnmatch
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from deblur_jax import errors
from deblur_jax.state import Array, Batch, Metrics, Params


class Schedule(NamedTuple):
  """A form of the learning rate.

  Attributes:
    make: (lr, steps, **options) -> (step -> rate).
    reads: the options: some of boundaries, factor and end_lr of `build`.
  """

  make: Callable[..., Callable[[Array], Array]]
  reads: tuple[str, ...] = ()


class Optimizer(NamedTuple):
  """An optax transformation with its learning rate.

  Attributes:
    init: as of optax.
    update: as of optax.
    lr: finished steps -> learning rate of the next step.
    updates_per_step: number of updates in a step of the run.
  """

  init: Callable[..., Any]
  update: Callable[..., Any]
  lr: Callable[[Array], Array]
  updates_per_step: int = 1


def build(
    *, total_steps: int, lr: float, name: str = 'adam',
    schedule: str = 'constant', warmup_steps: int = 0,
    boundaries: tuple[float, ...] = (), factor: float = 0.5,
    end_lr: float = 0.0, power: float = 1.0, clip_norm: float = 0.0,
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8,
    weight_decay: float = 0.0, updates_per_step: int = 1) -> Optimizer:
  """Builds an optimizer with its schedule.

  Args:
    total_steps: number of steps of the run, the length of the schedule.
    lr: the (highest) learning rate, above 0.
    name: a name in OPTIMIZERS.
    schedule: a name in SCHEDULES.
    warmup_steps: number of first steps in which the rate grows linearly from 0
      to lr.
    boundaries: in [0, 1]. For 'step': fractions of the steps after the warm-up
      at which the rate is multiplied by factor. For 'linear',
      'polynomial' and 'cosine': the fraction up to which the rate is constant.
    factor: see boundaries.
    end_lr: the last rate of 'cosine', 'linear' and 'polynomial'.
    power: of 'polynomial', above 0: the rate is that part of lr - end_lr that
      is left of the steps, to this power.
    clip_norm: gradients are clipped to this global norm; 0 does not clip.
    b1: decay of Adam's first moment, in [0, 1).
    b2: decay of Adam's second moment, in [0, 1).
    eps: Adam's epsilon.
    weight_decay: decoupled weight decay, for 'adamw' only.
    updates_per_step: above 1 for a discriminator with several updates in a
      step; the length of the schedule is still that of the run.

  Returns:
    The optimizer.

  Raises:
    UserError: a name is unknown, or a value is out of range.
  """
  if lr <= 0:
    raise errors.UserError(f'optim: lr must be positive, got {lr}.')
  if any(not 0 <= fraction <= 1 for fraction in boundaries):
    raise errors.UserError(
        'optim: boundaries are fractions of total_steps in [0, 1], '
        f'got {tuple(boundaries)}.')
  for option, value in dict(
      warmup_steps=warmup_steps, factor=factor, end_lr=end_lr,
      clip_norm=clip_norm, weight_decay=weight_decay).items():
    if value < 0:
      raise errors.UserError(f'optim: {option} must be 0 or more, got {value}.')
  if power <= 0:
    raise errors.UserError(f'optim: power must be positive, got {power}.')
  for option, value in dict(b1=b1, b2=b2).items():
    if not 0 <= value < 1:
      raise errors.UserError(f'optim: {option} must be in [0, 1), got {value}.')
  if weight_decay and name != 'adamw':
    raise errors.UserError(
        f'optim: weight_decay needs name=adamw, got name={name}.')
  if updates_per_step < 1:
    raise errors.UserError(
        f'optim: updates_per_step must be 1 or more, got {updates_per_step}.')
  decay_steps = max(total_steps - warmup_steps, 1)
  form = errors.look_up(SCHEDULES, schedule, what='optim schedule')
  options = dict(
      boundaries=boundaries, factor=factor, end_lr=end_lr, power=power)
  rate = form.make(
      lr, decay_steps, **{option: options[option] for option in form.reads})
  if warmup_steps:
    rate = optax.join_schedules(
        [optax.linear_schedule(0.0, lr, warmup_steps), rate], [warmup_steps])
  make = errors.look_up(OPTIMIZERS, name, what='optimizer')
  tx = make(lambda updates: rate(updates // updates_per_step), b1=b1, b2=b2,
            eps=eps, weight_decay=weight_decay)
  if clip_norm:
    tx = optax.chain(optax.clip_by_global_norm(clip_norm), tx)
  return Optimizer(tx.init, tx.update, rate, updates_per_step)


def check_schedule(options: Mapping[str, Any], *, where: str) -> None:
  """Refuses a schedule that is not what its options say.

  `build` does not: runs of before may have such a schedule, and still restore.

  Args:
    options: of `build`, which has accepted them.
    where: the place of the options in the config.

  Raises:
    UserError: an option is not read.
  """
  signature = inspect.signature(build)
  given = signature.bind(total_steps=1, **options)
  given.apply_defaults()
  values = given.arguments
  # A list in JSON.
  values['boundaries'] = boundaries = tuple(values['boundaries'])
  schedule = values['schedule']
  for option in ('boundaries', 'factor', 'end_lr', 'power'):
    value, unset = values[option], signature.parameters[option].default
    if value != unset and option not in SCHEDULES[schedule].reads:
      raise errors.UserError(
          f'{where}: schedule={schedule} does not read {option}={value}; set '
          f'{option}={unset}, or another schedule.')
  if schedule != 'step' and len(boundaries) > 1:
    raise errors.UserError(
        f'{where}: schedule={schedule} reads one of boundaries, up to which '
        f'the rate is constant, got {boundaries}; set boundaries=() or '
        f'({boundaries[0]},).')


def value_and_grad(
    loss_fn: Callable[[Params, Batch, Array], tuple[Array, Metrics]],
    params: Params, batch: Batch, key: Array, *, parts: int = 1
) -> tuple[tuple[Array, Metrics], Params]:
  """Computes jax.value_and_grad(loss_fn, has_aux=True) in parts of the batch.

  The parts are processed one after another, which saves memory. Losses, metrics
  and gradients are averaged, so for losses that are means over the batch the
  result is that of the whole batch.

  Args:
    loss_fn: (params, batch, key) -> (loss, metrics).
    params: dicts of arrays.
    batch: arrays [n, ...].
    key: PRNG key; part j of several gets a key of its own, or all would draw
      the same masks of dropout.
    parts: number of equal parts of the batch.

  Returns:
    ((loss, metrics), gradients).

  Raises:
    UserError: `parts` does not divide the batch.
  """
  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  if parts == 1:
    return grad_fn(params, batch, key)
  split = in_parts(batch, parts, what='method.accumulate')

  def body(total, numbered):
    j, part = numbered
    found = grad_fn(params, part, jax.random.fold_in(key, j))
    return jax.tree.map(jnp.add, total, found), None

  zeros = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype),
      jax.eval_shape(grad_fn, params, jax.tree.map(lambda x: x[0], split), key))
  total, _ = jax.lax.scan(body, zeros, (jnp.arange(parts), split))
  return jax.tree.map(lambda x: x / parts, total)


def in_parts(batch: Batch, parts: int, *, what: str) -> Batch:
  """Splits every array [n, ...] of a batch to [parts, n / parts, ...].

  Part j has the rows j, j + parts, ..., so that the rows of one device stay on
  it.

  Args:
    batch: arrays [n, ...].
    parts: number of parts.
    what: the option of the config that sets `parts`, for the message.

  Returns:
    The batch of split arrays.

  Raises:
    UserError: `parts` does not divide the batch.
  """
  size = len(jax.tree.leaves(batch)[0])
  check_parts(size, parts, what=what)
  return jax.tree.map(
      lambda x: jnp.swapaxes(
          x.reshape(size // parts, parts, *x.shape[1:]), 0, 1), batch)


def check_parts(size: int, parts: int, *, what: str) -> None:
  """Checks that a number of parts divides a batch.

  Args:
    size: of the batch.
    parts: number of parts.
    what: the option of the config that sets `parts`, for the message.

  Raises:
    UserError: `parts` does not divide the batch.
  """
  if size % parts:
    raise errors.UserError(
        f'batch_size = {size} is not divisible by {what} = {parts}.')


def apply(
    tx: Optimizer, grads: Params, opt_state: Any, params: Params
) -> tuple[Params, Any]:
  """Updates parameters by their gradients.

  Args:
    tx: the optimizer.
    grads: gradients, of the shapes of `params`.
    opt_state: of the optimizer.
    params: dicts of arrays.

  Returns:
    The new (params, opt_state).
  """
  updates, opt_state = tx.update(grads, opt_state, params)
  return optax.apply_updates(params, updates), opt_state


def matching(
    params: Params, patterns: Sequence[str], *, where: str = 'method.freeze'
) -> Params:
  """Finds the parameters whose names match patterns.

  Args:
    params: dicts of arrays.
    patterns: glob patterns of names joined by '/': of a parameter, or of a
      module for all of its parameters. * matches any letters, also '/'.
    where: the place of the patterns in the config, for the message.

  Returns:
    A tree of bools like `params`.

  Raises:
    UserError: no name matches a pattern.
  """
  flat = traverse_util.flatten_dict(params, sep='/')
  matches = lambda name, pattern: any(
      fnmatch.fnmatchcase(name, form) for form in (pattern, f'{pattern}/*'))
  for pattern in patterns:
    if not any(matches(name, pattern) for name in flat):
      # The different names of the same depth.
      depth = str(pattern).strip('/').count('/') + 1
      known = dict.fromkeys('/'.join(name.split('/')[:depth]) for name in flat)
      raise errors.UserError(
          f'{where}: no parameter matches {pattern!r}; there are '
          f'{", ".join(list(known)[:3])}, ....{errors.suggest(pattern, known)}')
  return traverse_util.unflatten_dict(
      {name: any(matches(name, pattern) for pattern in patterns)
       for name in flat}, sep='/')


def keep(new: Params, old: Params, held: Params) -> Params:
  """Selects `old` where `held`, a tree of `matching`, is true, else `new`."""
  return jax.tree.map(lambda n, o, h: o if h else n, new, old, held)


def fade(
    params: Params, kept: Params, *, step: Array, steps: int) -> Params:
  """Shrinks all values that are not `kept` to zero within `steps`.

  The network learns to work without them. Then a smaller network starts from
  the kept weights.

  Args:
    params: dicts of arrays.
    kept: the same tree of bools that broadcast to the parameters.
    step: the number of the step.
    steps: the step from which on the other values are zero.

  Returns:
    The shrunk parameters.
  """
  share = jnp.clip(1 - step / steps, 0, 1)
  return jax.tree.map(
      lambda leaf, keeps: leaf * jnp.where(keeps, 1, share), params, kept)


def warm_decay(decay: float, step: Array) -> Array:
  """The decay of a moving average at step t: min(decay, (1 + t) / (10 + t)).

  With the full decay from the first step on, the start would keep a share of
  decay^t: 0.41 after 900 steps of 0.999.

  Args:
    decay: in [0, 1).
    step: t, the number of finished steps.

  Returns:
    A scalar.
  """
  return jnp.minimum(decay, (1 + step) / (10 + step))


def average(new: Params, old: Params, *, decay: float | Array) -> Params:
  """Computes the moving average decay * old + (1 - decay) * new."""
  return optax.incremental_update(new, old, 1 - decay)


def _step(lr, steps, *, boundaries, factor):
  at = {round(fraction * steps): factor for fraction in boundaries}
  return optax.piecewise_constant_schedule(lr, at)


def _polynomial(lr, steps, *, boundaries, end_lr, power=1.0):
  start = _constant_steps(steps, boundaries)
  return optax.polynomial_schedule(
      lr, end_lr, power, max(steps - start, 1), start)


def _cosine(lr, steps, *, boundaries, end_lr):
  start = _constant_steps(steps, boundaries)
  decay = optax.cosine_decay_schedule(lr, max(steps - start, 1), end_lr / lr)
  return lambda step: decay(jnp.maximum(step - start, 0))


def _constant_steps(steps, boundaries):
  return round((boundaries[0] if boundaries else 0.0) * steps)


def _constant(lr, steps):
  del steps
  return optax.constant_schedule(lr)


def _adam(rate, *, b1, b2, eps, weight_decay):
  del weight_decay
  return optax.adam(rate, b1=b1, b2=b2, eps=eps)


SCHEDULES = {
    'constant': Schedule(_constant),
    'cosine': Schedule(_cosine, ('boundaries', 'end_lr')),
    'linear': Schedule(_polynomial, ('boundaries', 'end_lr')),
    'polynomial': Schedule(_polynomial, ('boundaries', 'end_lr', 'power')),
    'step': Schedule(_step, ('boundaries', 'factor')),
}
OPTIMIZERS = {'adam': _adam, 'adamw': optax.adamw}
