"""Learning from weak labels: of what type a blur is.

  min over C of  sum over the types t of  w_t mean -log C(h_t * x)_t

x are sharp pictures, whose type is 'none'; the labels of the others come free
from `blur/`. By itself a method that tells and does not restore: pictures come
back as they were. As a term of another method, `teacher`: restored pictures
should be classified as without blur, whatever its type was.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deblur_jax import errors, models
from deblur_jax.config import require
from deblur_jax.models import blur_classifier
from deblur_jax.state import Array, Batch, Method, Metrics, Params, TrainState
from deblur_jax.training import optim


def make(nets, txs, *, ema: float = 0.0) -> Method:
  """The method.

  Args:
    nets: {'blur_type': a row of `models.CLASSIFIERS`}.
    txs: {'blur_type': its optimizer}.
    ema: decay of the averaged weights, which tell; 0: the last.

  Raises:
    UserError: what does not go together; at the first step, batches without
      labels.
  """
  net = require(nets, 'blur_type', where='nets')
  taught = teacher(net, require(txs, 'blur_type', where='optim'))

  def init(key: Array, batch: Batch) -> TrainState:
    del batch
    params, opt_state = taught.init(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32), params={'blur_type': params},
        opt_state={'blur_type': opt_state},
        extra={'ema': {'blur_type': params}} if ema else {})

  def step(state: TrainState, batch: Batch, key: Array):
    del key
    check(batch)
    carry = state.params['blur_type'], state.opt_state['blur_type']
    (params, opt_state), metrics = taught.update(carry, batch)
    extra = state.extra
    if ema:
      extra = {'ema': {'blur_type': optim.average(
          params, extra['ema']['blur_type'], decay=ema)}}
    metrics['lr'] = txs['blur_type'].lr(state.step)
    return state.replace(
        step=state.step + 1, params={'blur_type': params},
        opt_state={'blur_type': opt_state}, extra=extra), metrics

  def estimate_blur(state: TrainState, blur: Array) -> dict[str, Any]:
    params = (state.extra['ema'] if ema else state.params)['blur_type']
    return {'blur_type': net.apply({'params': params}, blur)}

  def restore(state: TrainState, blur: Array) -> Array:
    del state
    return blur

  return Method(init, step, restore, estimate_blur=estimate_blur)


class Teacher(NamedTuple):
  """A classifier that learns beside another network, and judges its pictures.

  init: key -> (params, opt_state).
  persuade: (params, image) -> mean -log C(image)_none, to be minimised over
    the image.
  update: ((params, opt_state), batch with 'blur', 'blur_type' and 'sharp') ->
    (the new two, metrics).
  """

  init: Callable[[Array], tuple[Params, Any]]
  persuade: Callable[[Params, Array], Array]
  update: Callable[..., tuple[tuple[Params, Any], Metrics]]


def teacher(net, tx) -> Teacher:
  """A classifier with its optimizer.

  Raises:
    UserError: a network that is none.
  """
  models.check_kind(net, models.CLASSIFIERS, where='nets.blur_type.name')

  def init(key: Array):
    params = models.init(net, key)
    return params, tx.init(params)

  def persuade(params: Params, image: Array) -> Array:
    predicted = jax.nn.log_softmax(net.apply({'params': params}, image))
    return -jnp.mean(predicted[:, blur_classifier.place(blur_classifier.NONE)])

  def objective(params: Params, batch: Batch):
    pictures = jnp.concatenate([batch['blur'], batch['sharp']])
    none = jnp.full_like(
        batch['blur_type'], blur_classifier.place(blur_classifier.NONE))
    labels = jnp.concatenate([batch['blur_type'], none])
    predicted = net.apply({'params': params}, pictures)
    loss = optax.softmax_cross_entropy_with_integer_labels(predicted, labels)
    right = (jnp.argmax(predicted, axis=-1) == labels).astype(jnp.float32)
    blurred, sharp = jnp.split(loss, 2)
    # Sharp ones as often as one type of several equally frequent ones.
    share = 1 / len(blur_classifier.NAMES)
    value = (1 - share) * jnp.mean(blurred) + share * jnp.mean(sharp)
    return value, {'accuracy': jnp.mean(right)}

  def update(carry, batch: Batch):
    params, opt_state = carry
    (value, metrics), grads = jax.value_and_grad(objective, has_aux=True)(
        params, batch)
    carry = optim.apply(tx, grads, opt_state, params)
    return carry, metrics | {
        'loss': value, 'grad_norm': optax.tree.norm(grads)}

  return Teacher(init, persuade, update)


def check(batch: Batch, *, where: str = 'data.blur') -> None:
  """A UserError where nobody knows the types of a batch's blur.

  Args:
    batch: with 'blur_type', if that is known.
    where: the place of the blur in the config.
  """
  if 'blur_type' not in batch:
    raise errors.UserError(
        f'The type of blur must be known: {where} must blur by one kernel for '
        "the whole picture, such as dict(kind='any').")
