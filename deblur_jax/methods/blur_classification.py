"""A network learns from weak labels: the type of a blur.

  min over C of  sum over the types t of  w_t mean -log C(h_t * x)_t

x are sharp pictures, whose type is 'none'; the labels of the others come free
from `blur/`. The method classifies and does not restore: pictures come back as
they were. `cycle_physics` uses the classifier too: a restored picture should be
classified as without blur, whatever its type was.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from deblur_jax import errors, models
from deblur_jax.config import require
from deblur_jax.methods import learner
from deblur_jax.models import blur_classifier
from deblur_jax.state import Array, Batch, Method, Params, TrainState


def make(nets, txs, *, ema: float = 0.0) -> Method:
  """The method.

  Args:
    nets: {'blur_type': a row of `models.CLASSIFIERS`}.
    txs: {'blur_type': its optimizer}.
    ema: decay of the averaged weights, which classify; 0: the last.

  Raises:
    UserError: nets or optim have no 'blur_type', or it is no classifier; at the
      first step, batches without labels.
  """
  net = require(nets, 'blur_type', where='nets')
  tx = require(txs, 'blur_type', where='optim')
  models.check_kind(net, models.CLASSIFIERS, where='nets.blur_type.name')

  def start(key: Array, batch: Batch) -> learner.Start:
    del batch
    return learner.Start({'blur_type': models.init(net, key)})

  def objective(params: Params, state: TrainState, batch: Batch, key: Array):
    del state, key
    check(batch)
    return loss(net, params['blur_type'], batch)

  def estimate_blur(state: TrainState, blur: Array) -> dict[str, Any]:
    return {'blur_type': net.apply(
        {'params': state.weights('blur_type')}, blur)}

  def restore(state: TrainState, blur: Array) -> Array:
    del state
    return blur

  return learner.make(
      {'blur_type': tx}, objective, start=start, restore=restore, ema=ema,
      estimate_blur=estimate_blur)


def loss(net, params: Params, batch: Batch) -> tuple[Array, dict[str, Array]]:
  """sum_t w_t mean -log C(h_t * x)_t, and the accuracy.

  Args:
    net: the classifier C.
    params: its parameters.
    batch: 'blur' and 'sharp' [n, h, w, 3]; 'blur_type' int32 [n].

  Returns:
    The loss, {'accuracy': share of right answers in [0, 1]}.
  """
  pictures = jnp.concatenate([batch['blur'], batch['sharp']])
  none = jnp.full_like(
      batch['blur_type'], blur_classifier.place(blur_classifier.NONE))
  labels = jnp.concatenate([batch['blur_type'], none])
  predicted = net.apply({'params': params}, pictures)
  each = optax.softmax_cross_entropy_with_integer_labels(predicted, labels)
  right = (jnp.argmax(predicted, axis=-1) == labels).astype(jnp.float32)
  blurred, sharp = jnp.split(each, 2)
  # Sharp ones count as much as one of several equally frequent types.
  share = 1 / len(blur_classifier.NAMES)
  value = (1 - share) * jnp.mean(blurred) + share * jnp.mean(sharp)
  return value, {'accuracy': jnp.mean(right)}


def no_blur_loss(net, params: Params, image: Array) -> Array:
  """mean -log C(image)_none, to be minimised over the image [n, h, w, 3]."""
  predicted = jax.nn.log_softmax(net.apply({'params': params}, image))
  return -jnp.mean(predicted[:, blur_classifier.place(blur_classifier.NONE)])


def check(batch: Batch, *, where: str = 'data.blur') -> None:
  """Raises a UserError if a batch has no types of blur.

  Args:
    batch: with 'blur_type', if that is known.
    where: the place of the blur in the config.
  """
  if 'blur_type' not in batch:
    raise errors.UserError(
        f'The type of blur must be known: {where} must blur by one kernel for '
        "the whole picture, such as dict(kind='any').")
