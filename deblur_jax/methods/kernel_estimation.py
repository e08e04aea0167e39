"""A network learns to estimate the kernel that blurred a picture.

  min over K of  KL(h, K(h * x))

x are sharp pictures, h the known kernels by which `data.blur` blurs them. The
pictures are restored by classical deconvolution with K's kernel. To look at the
estimator alone is some ten times quicker than `cycle_physics`, whose other
networks do not help it.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from deblur_jax import errors, models
from deblur_jax.blur import deconvolve, kernels
from deblur_jax.config import require
from deblur_jax.methods import learner
from deblur_jax.models import kernel_estimator
from deblur_jax.state import Array, Batch, Method, Params, TrainState


def make(
    nets, txs, *, deconvolution: Mapping[str, Any], ema: float = 0.0,
    accumulate: int = 1) -> Method:
  """The method.

  Args:
    nets: {'kernel': a row of `models.KERNEL_ESTIMATORS`}.
    txs: {'kernel': its optimizer}.
    deconvolution: name and options of a row of `deconvolve.DECONVOLUTIONS`,
      which restores.
    ema: decay of the averaged weights, which predict; 0: the last.
    accumulate: parts into which the batch is split to save memory.

  Raises:
    UserError: nets or optim have no 'kernel', or it is no kernel estimator;
      `deconvolution` names none, or has unknown options; at the first step,
      batches without kernels, or with kernels of another size.
  """
  net = require(nets, 'kernel', where='nets')
  tx = require(txs, 'kernel', where='optim')
  models.check_kind(net, models.KERNEL_ESTIMATORS, where='nets.kernel.name')
  solve = deconvolve.from_config(deconvolution, where='method.deconvolution')

  def start(key: Array, batch: Batch) -> learner.Start:
    models.check_crop(net, batch['blur'].shape[1:3], where='nets.kernel')
    return learner.Start({'kernel': models.init(net, key)})

  def objective(params: Params, state: TrainState, batch: Batch, key: Array):
    del state, key
    check(batch, net.size)
    predicted = net.apply({'params': params['kernel']}, batch['blur'])
    likeness = kernels.likeness(mean_kernel(predicted), batch['kernel'])
    return divergence(predicted, batch['kernel']), {
        'likeness': jnp.mean(likeness)}

  def estimate_blur(state: TrainState, blur: Array) -> dict[str, Any]:
    return {'kernel': net.apply({'params': state.weights('kernel')}, blur)}

  def restore(state: TrainState, blur: Array) -> Array:
    return solve(blur, mean_kernel(estimate_blur(state, blur)['kernel']))

  return learner.make(
      {'kernel': tx}, objective, start=start, restore=restore, ema=ema,
      accumulate=accumulate, estimate_blur=estimate_blur)


def divergence(predicted: kernel_estimator.Estimate, true: Array) -> Array:
  """mean KL(h, k) of the true kernels h [n, s, s], in nats.

  Of a mixture k is its mean over the picture.
  """
  log = lambda k: jnp.log(jnp.maximum(k, 1e-12))
  each = true * (log(true) - log(mean_kernel(predicted)))
  return jnp.mean(jnp.sum(each, axis=(1, 2)))


def mean_kernel(predicted: kernel_estimator.Estimate) -> Array:
  """One kernel for each picture, [n, s, s]; of a mixture its mean over it."""
  if predicted.weights is None:
    return predicted.kernels
  weights = predicted.weights
  return jnp.einsum('nhwb,nbyx->nyx', weights, predicted.kernels) / (
      weights.shape[1] * weights.shape[2])


def check(batch: Batch, size: int, *, where: str = 'data.blur') -> None:
  """A UserError where a batch's blur was not by one kernel of that size.

  Args:
    batch: with 'kernel', if that is known.
    size: of an estimator's kernels.
    where: the place of the blur in the config.
  """
  if 'kernel' not in batch:
    raise errors.UserError(
        f'The kernels must be known: {where} must blur by one kernel for the '
        "whole picture, such as dict(kind='any').")
  if batch['kernel'].shape[-1] != size:
    raise errors.UserError(
        f'{where}.size={batch["kernel"].shape[-1]} must be '
        f'nets.kernel.size={size}: kernels are compared tap by tap.')
