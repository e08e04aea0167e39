"""Optimizers from a config, gradients in parts, and weight averages."""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from deblur_jax import errors
from deblur_jax.state import Array, Batch, Metrics, Params


class Optimizer(NamedTuple):
  """An optax transformation (init, update) that can tell its rate.

  lr: finished steps -> learning rate of the next step.
  updates_per_step: how often a step of the run updates by it.
  """

  init: Callable[..., Any]
  update: Callable[..., Any]
  lr: Callable[[Array], Array]
  updates_per_step: int = 1


def build(
    *, total_steps: int, lr: float, name: str = 'adam',
    schedule: str = 'constant', warmup_steps: int = 0,
    boundaries: tuple[float, ...] = (), factor: float = 0.5,
    end_lr: float = 0.0, clip_norm: float = 0.0, b1: float = 0.9,
    b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0,
    updates_per_step: int = 1) -> Optimizer:
  """An optimizer with its schedule.

  Args:
    total_steps: steps of the run, to which the schedule is fitted.
    lr: the (highest) learning rate.
    name: a row of OPTIMIZERS.
    schedule: a row of SCHEDULES.
    warmup_steps: first go linearly from 0 to lr in so many steps.
    boundaries: for 'step': fractions of the steps after the warm-up; at each,
      lr *= factor. For 'linear': the one up to which lr stays constant.
    factor: see boundaries.
    end_lr: where 'cosine' and 'linear' end.
    clip_norm: clip gradients to this global norm; 0 leaves them alone.
    b1: decay of Adam's first moment.
    b2: decay of Adam's second moment.
    eps: Adam's epsilon.
    weight_decay: decoupled decay, for 'adamw'.
    updates_per_step: above 1 for a discriminator that moves several times a
      step; the schedule is still fitted to the steps of the run.

  Returns:
    The optimizer.

  Raises:
    UserError: unknown names, or values out of range.
  """
  if lr <= 0:
    raise errors.UserError(f'optim: lr must be positive, got {lr}.')
  if any(not 0 <= fraction <= 1 for fraction in boundaries):
    raise errors.UserError(
        'optim: boundaries are fractions of total_steps in [0, 1], '
        f'got {tuple(boundaries)}.')
  if weight_decay and name != 'adamw':
    raise errors.UserError(
        f'optim: weight_decay needs name=adamw, got name={name}.')
  if updates_per_step < 1:
    raise errors.UserError(
        f'optim: updates_per_step must be 1 or more, got {updates_per_step}.')
  decay_steps = max(total_steps - warmup_steps, 1)
  make = errors.look_up(SCHEDULES, schedule, what='optim schedule')
  rate = make(lr, decay_steps, boundaries, factor, end_lr)
  if warmup_steps:
    rate = optax.join_schedules(
        [optax.linear_schedule(0.0, lr, warmup_steps), rate], [warmup_steps])
  make = errors.look_up(OPTIMIZERS, name, what='optimizer')
  tx = make(lambda updates: rate(updates // updates_per_step), b1=b1, b2=b2,
            eps=eps, weight_decay=weight_decay)
  if clip_norm:
    tx = optax.chain(optax.clip_by_global_norm(clip_norm), tx)
  return Optimizer(tx.init, tx.update, rate, updates_per_step)


def value_and_grad(
    loss_fn: Callable[[Params, Batch], tuple[Array, Metrics]],
    params: Params, batch: Batch, *, parts: int = 1
) -> tuple[tuple[Array, Metrics], Params]:
  """jax.value_and_grad(loss_fn, has_aux=True), in `parts` to save memory.

  The batch is split into equal parts that are worked off one after another;
  losses, metrics and gradients are averaged, so for losses that are means over
  the batch the result is that of the whole batch.

  Raises:
    UserError: where the batch does not divide into the parts.
  """
  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  if parts == 1:
    return grad_fn(params, batch)
  split = in_parts(batch, parts, what='method.accumulate')

  def body(total, part):
    return jax.tree.map(jnp.add, total, grad_fn(params, part)), None

  zeros = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype),
      jax.eval_shape(grad_fn, params, jax.tree.map(lambda x: x[0], split)))
  total, _ = jax.lax.scan(body, zeros, split)
  return jax.tree.map(lambda x: x / parts, total)


def in_parts(batch: Batch, parts: int, *, what: str) -> Batch:
  """[n, ...] to [parts, n / parts, ...] in every array of a batch.

  Rows j, j + parts, ... make part j: the rows of one device stay on it.

  Raises:
    UserError: where the batch does not divide into the parts, `what` of the
      config.
  """
  size = len(jax.tree.leaves(batch)[0])
  check_parts(size, parts, what=what)
  return jax.tree.map(
      lambda x: jnp.swapaxes(
          x.reshape(size // parts, parts, *x.shape[1:]), 0, 1), batch)


def check_parts(size: int, parts: int, *, what: str) -> None:
  """A UserError where a batch of `size` does not divide into the parts."""
  if size % parts:
    raise errors.UserError(
        f'batch_size = {size} is not divisible by {what} = {parts}.')


def apply(
    tx: Optimizer, grads: Params, opt_state: Any, params: Params
) -> tuple[Params, Any]:
  """One update: (params, opt_state) after `grads`."""
  updates, opt_state = tx.update(grads, opt_state, params)
  return optax.apply_updates(params, updates), opt_state


def matching(
    params: Params, patterns: Sequence[str], *, where: str = 'method.freeze'
) -> Params:
  """Which parameters have names of such patterns: a tree of bools.

  Args:
    params: dicts of arrays.
    patterns: glob patterns of names joined by '/': a leaf's, or a module's for
      all that it has. * stands for any letters, also for '/'.
    where: their place in the config.

  Raises:
    UserError: a pattern that no name matches.
  """
  flat = traverse_util.flatten_dict(params, sep='/')
  matches = lambda name, pattern: any(
      fnmatch.fnmatchcase(name, form) for form in (pattern, f'{pattern}/*'))
  for pattern in patterns:
    if not any(matches(name, pattern) for name in flat):
      # The names of the same depth, each once.
      depth = str(pattern).strip('/').count('/') + 1
      known = dict.fromkeys('/'.join(name.split('/')[:depth]) for name in flat)
      raise errors.UserError(
          f'{where}: no parameter matches {pattern!r}; there are '
          f'{", ".join(list(known)[:3])}, ....{errors.suggest(pattern, known)}')
  return traverse_util.unflatten_dict(
      {name: any(matches(name, pattern) for pattern in patterns)
       for name in flat}, sep='/')


def keep(new: Params, old: Params, held: Params) -> Params:
  """`old` where `held`, a tree of `matching`, is true, and `new` elsewhere."""
  return jax.tree.map(lambda n, o, h: o if h else n, new, old, held)


def fade(
    params: Params, kept: Params, *, step: Array, steps: int) -> Params:
  """Shrinks all values that are not `kept` to zero within `steps`.

  So the network learns to work without them before a smaller network starts
  from its weights.

  Args:
    params: dicts of arrays.
    kept: the same tree, of bools, one for each value or broadcast.
    step: of the training.
    steps: after which only what is kept is left.
  """
  share = jnp.clip(1 - step / steps, 0, 1)
  return jax.tree.map(
      lambda leaf, keeps: leaf * jnp.where(keeps, 1, share), params, kept)


def average(new: Params, old: Params, *, decay: float) -> Params:
  """Exponential moving average of weights: decay * old + (1 - decay) * new."""
  return optax.incremental_update(new, old, 1 - decay)


def _step(lr, steps, boundaries, factor, end_lr):
  del end_lr
  at = {round(fraction * steps): factor for fraction in boundaries}
  return optax.piecewise_constant_schedule(lr, at)


def _linear(lr, steps, boundaries, factor, end_lr):
  del factor
  start = round((boundaries[0] if boundaries else 0.0) * steps)
  return optax.linear_schedule(lr, end_lr, max(steps - start, 1), start)


def _cosine(lr, steps, boundaries, factor, end_lr):
  del boundaries, factor
  return optax.cosine_decay_schedule(lr, steps, end_lr / lr)


def _constant(lr, steps, boundaries, factor, end_lr):
  del steps, boundaries, factor, end_lr
  return optax.constant_schedule(lr)


def _adam(rate, *, b1, b2, eps, weight_decay):
  del weight_decay
  return optax.adam(rate, b1=b1, b2=b2, eps=eps)


SCHEDULES = {
    'constant': _constant,
    'cosine': _cosine,
    'linear': _linear,
    'step': _step,
}
OPTIMIZERS = {'adam': _adam, 'adamw': optax.adamw}
