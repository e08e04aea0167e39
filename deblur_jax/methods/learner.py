"""The skeleton of methods that learn by gradients: init, step, averages.

  grad = d objective(params, batch) / d params
  params = optimizer(params, grad),   ema = a_t ema + (1 - a_t) params

with a_t of `optim.warm_decay`.

`make` builds a whole method from an objective. Methods with several players,
such as generator and discriminator, build their step from `begin`, `update`
and `finish`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from deblur_jax import errors
from deblur_jax.state import Array, Batch, Method, Metrics, Params, TrainState
from deblur_jax.training import optim

# (params by network, state before the step, batch, key) -> (loss, metrics).
Objective = Callable[..., tuple[Array, Metrics]]


class Start(NamedTuple):
  """Parts of the first `TrainState`, with its field names.

  Attributes:
    params: what the method learns, by network.
    frozen: what it only reads.
    buffers: other arrays that steps change.
  """

  params: Mapping[str, Params]
  frozen: Mapping[str, Params] = {}
  buffers: Mapping[str, Any] = {}


def make(
    txs: Mapping[str, optim.Optimizer], objective: Objective, *,
    start: Callable[[Array, Batch], Start],
    restore: Callable[[TrainState, Array], Array], ema: float = 0.0,
    accumulate: int = 1, held: Callable[[Params], Params] | None = None,
    **fields) -> Method:
  """Makes a method whose networks all learn by one objective.

  Args:
    txs: network name -> optimizer; the logged rate is that of the first.
    objective: see `Objective`; the loss is a mean over the batch.
    start: (key, batch) -> `Start`; it reads only shapes of the batch.
    restore: see `Method`.
    ema: decay of the averaged weights, in [0, 1); 0 keeps none.
    accumulate: parts into which a batch is split, to save memory.
    held: parameters by network -> the same tree of bools, true where they stay
      as they are, without update and weight decay.
    **fields: further ones of `Method`.

  Returns:
    The method.

  Raises:
    UserError: `ema` is not in [0, 1), or `accumulate` below 1.
  """
  check_ema(ema)
  if accumulate < 1:
    raise errors.UserError(
        f'method.accumulate must be at least 1, got {accumulate}.')

  def init(key: Array, batch: Batch) -> TrainState:
    return begin(start(key, batch), txs, ema=tuple(txs) if ema else ())

  def step(state: TrainState, batch: Batch, key: Array):
    still = held and held(state.params)
    keep = lambda new, old: optim.keep(new, old, still) if held else new

    def loss(params: Params, batch: Batch, key: Array):
      return objective(keep(params, state.params), state, batch, key)

    (value, metrics), grads = optim.value_and_grad(
        loss, state.params, batch, key, parts=accumulate)
    new = update(state, txs, grads)
    # Weight decay moves them, too.
    new = finish(new.replace(params=keep(new.params, state.params)), ema=ema)
    if ema:
      new = new.replace(ema=keep(new.ema, new.params))
    rate = next(iter(txs.values())).lr(state.step)
    return new, metrics | logged(value, grads, rate)

  return Method(init, step, restore, splits={'method.accumulate': accumulate},
                **fields)


def begin(
    start: Start, txs: Mapping[str, optim.Optimizer], *,
    ema: Sequence[str] = ()) -> TrainState:
  """The state before the first step.

  Args:
    start: see `Start`.
    txs: network name -> optimizer, of all networks that learn.
    ema: names of the networks whose weights are averaged.
  """
  params = dict(start.params)
  return TrainState(
      step=jnp.zeros((), jnp.int32), params=params,
      opt_state={name: txs[name].init(params[name]) for name in params},
      ema={name: params[name] for name in ema},
      frozen=dict(start.frozen), buffers=dict(start.buffers))


def update(
    state: TrainState, txs: Mapping[str, optim.Optimizer],
    grads: Mapping[str, Params]) -> TrainState:
  """The state after one update of the networks that have a gradient."""
  params, opt_state = dict(state.params), dict(state.opt_state)
  for name, grad in grads.items():
    params[name], opt_state[name] = optim.apply(
        txs[name], grad, opt_state[name], params[name])
  return state.replace(params=params, opt_state=opt_state)


def finish(state: TrainState, *, ema: float) -> TrainState:
  """The state with its averages brought up to date and one step counted."""
  decay = optim.warm_decay(ema, state.step)
  averaged = {
      name: optim.average(state.params[name], old, decay=decay)
      for name, old in state.ema.items()}
  return state.replace(step=state.step + 1, ema=averaged)


def check_ema(ema: float) -> None:
  """Refuses a decay of averaged weights that is not in [0, 1).

  Args:
    ema: `method.ema`; 0 keeps no averages.

  Raises:
    UserError: out of range.
  """
  if not 0 <= ema < 1:
    raise errors.UserError(f'method.ema must be in [0, 1), got {ema}.')


def logged(loss: Array, grads: Params, lr: Array) -> Metrics:
  """What every method logs of a step."""
  return {'loss': loss, 'grad_norm': optax.tree.norm(grads), 'lr': lr}
