"""Methods that fit networks to each image: many fits as one state.

Such a method is two functions for one image, without a batch axis:

  begin    (key, item) -> fit, a dict with 'params' and 'opt_state' (both by
           the names of the networks), 'record' (see `fit_record`), and other
           arrays; 'found' has what it estimates beside the image, by name
  advance  (fit, item, key, step, parameters of a frozen network) ->
           (fit, metrics)

`make` maps them over the images of a batch. Each item has a 'seed', and its fit
depends on nothing else in the batch: after it has stopped, nothing of it
changes while others continue. Copies of one image with different seeds
are different fits of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from deblur_jax import errors
from deblur_jax.priors import fit_record, stopping
from deblur_jax.state import Array, Batch, Method, Metrics, Params, TrainState
from deblur_jax.training import optim

Fit = dict[str, Any]


def make(
    begin: Callable[[Array, Batch], Fit],
    advance: Callable[..., tuple[Fit, Metrics]], *, result: str,
    frozen_params: Params = None) -> Method:
  """Makes a method of two such functions.

  Args:
    begin: see the top of this file.
    advance: see the top of this file.
    result: the row of `fit_record.KEPT` that `restore` returns.
    frozen_params: of a network that is not fitted, or None.

  Returns:
    The method, with `per_image`.

  Raises:
    UserError: an unknown `result`.
  """
  errors.look_up(fit_record.KEPT, result, what='method.result')

  def init(key: Array, batch: Batch) -> TrainState:
    fits = jax.vmap(lambda item: begin(key, item))(_with_seeds(batch))
    params, opt_state = fits.pop('params'), fits.pop('opt_state')
    frozen = {} if frozen_params is None else {'features': frozen_params}
    return TrainState(
        step=jnp.zeros((), jnp.int32), params=params, opt_state=opt_state,
        frozen=frozen, buffers=fits)

  def step(state: TrainState, batch: Batch, key: Array):
    fits = dict(state.buffers, params=state.params, opt_state=state.opt_state)
    features = state.frozen.get('features')

    def one(fit: Fit, item: Batch):
      new, metrics = advance(fit, item, key, state.step, features)
      stopped = fit['record']['stopped']
      return jax.tree.map(
          lambda a, b: jnp.where(stopped, a, b), fit, new), metrics

    fits, metrics = jax.vmap(one)(fits, _with_seeds(batch))
    params, opt_state = fits.pop('params'), fits.pop('opt_state')
    return state.replace(
        step=state.step + 1, params=params, opt_state=opt_state,
        buffers=fits), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    del blur
    return state.buffers['record']['kept'][result]

  return Method(init, step, restore, per_image=True)


def finish(
    rule: stopping.Rule, txs: Mapping[str, Any], fit: Fit, grads: Params,
    seen: stopping.Seen, loss: Array, *, sharp: Array | None, average: float,
    backtrack: float, check_every: int) -> tuple[Fit, Metrics]:
  """Ends a step: updates parameters and record, or goes back to a checkpoint.

  Args:
    rule: the stopping rule.
    txs: optimizers by network.
    fit: before the step.
    grads: of its parameters, by network.
    seen: the step.
    loss: scalar, of the step.
    sharp: the truth [h, w, c] for the metrics, or None.
    average: decay of the moving average of the outputs, 0 to less than 1.
    backtrack: decibels, see `fit_record.backtrack`.
    check_every: steps, see `fit_record.backtrack`.

  Returns:
    The fit after the step, and its metrics, scalars by name.

  Raises:
    UserError: an average out of range.
  """
  params, opt_state = {}, {}
  for name, tx in txs.items():
    params[name], opt_state[name] = optim.apply(
        tx, grads[name], fit['opt_state'][name], fit['params'][name])
  record = fit_record.add(rule, fit['record'], seen, average=average)
  finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(grads))
  params, opt_state, record, back = fit_record.backtrack(
      record, seen, (fit['params'], fit['opt_state']), (params, opt_state),
      finite, decibels=backtrack, every=check_every)
  metrics = {'loss': loss, 'fit': seen.fit, 'back': back,
             **fit_record.metrics(record, seen, sharp)}
  return fit | {'params': params, 'opt_state': opt_state,
                'record': record}, metrics


def build_rule(options: Mapping[str, Any]) -> stopping.Rule:
  """A stopping rule for methods without held-out values and without SURE.

  Args:
    options: keyword arguments of `stopping.build`.

  Raises:
    UserError: a rule that needs one of them, or see `stopping.build`.
  """
  rule = stopping.build(**options)
  if rule.held_out or options['name'] == 'sure':
    raise errors.UserError(
        f'method.stopping.name={options["name"]} is for the method deep_prior '
        'only; take emv, wmv, discrepancy or fixed.')
  return rule


def check_channels(item: Batch, **nets: Any) -> None:
  """Raises a UserError for networks with other channels than the picture.

  Args:
    item: of one image.
    **nets: networks by name.
  """
  for name, net in nets.items():
    if net.channels != item['observed'].shape[-1]:
      raise errors.UserError(
          f'nets.{name}.channels = {net.channels}, and the picture has '
          f"{item['observed'].shape[-1]}; set them equal, or give --gray.")


def _with_seeds(batch: Batch) -> Batch:
  """The batch with a seed for each image, by default 0."""
  count = len(batch['observed'])
  return {'seed': jnp.zeros(count, jnp.int32)} | dict(batch)
