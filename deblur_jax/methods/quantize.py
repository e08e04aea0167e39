"""Makes a trained network int8: by calibration, or by learning on besides.

A step looks at what enters each convolution and remembers the largest values;
with learn=True the network also learns, through the rounding, as in
methods/supervised.py. It restores as int8 arithmetic would, see
models/quantization.py.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from deblur_jax import errors, losses, models
from deblur_jax.config import require
from deblur_jax.methods import pretrained
from deblur_jax.models import quantization
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array, Batch, Method, TrainState
from deblur_jax.training import optim


def make(
    nets, txs, *, init_from: Mapping[str, Any], loss: str = 'l1',
    learn: bool = False, over_scales: str = 'sum',
    pyramid: str = 'deepdeblur_pytorch') -> Method:
  """The method.

  Args:
    nets: {'net': the network of the run}.
    txs: {'net': its optimizer}.
    init_from: the run, see `pretrained.Start`.
    loss, over_scales, pyramid: as of `supervised.make`.
    learn: whether the weights move, or stay those of the run: calibration
      alone, a few hundred steps.

  Raises:
    UserError: no such run, or another network.
  """
  net = require(nets, 'net', where='nets')
  models.check_kind(net, models.MODELS, where='nets.net.name')
  tx = require(txs, 'net', where='optim')
  content = losses.content(loss, over_scales=over_scales)
  to_pyramid = errors.look_up(pyramids.PYRAMIDS, pyramid, what='method.pyramid')
  known = pretrained.weights(
      net, pretrained.read(init_from), incomplete=True)

  def init(key: Array, batch: Batch) -> TrainState:
    models.check_scales(net, batch['blur'].shape[1:3])
    params = pretrained.begin(net, known, key)
    names = jax.eval_shape(
        lambda params, blur: quantization.observe(net, params, blur), params,
        jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    ranges = {name: jnp.zeros((), jnp.float32) for name in names}
    return TrainState(
        step=jnp.zeros((), jnp.int32), params={'net': params},
        opt_state={'net': tx.init(params)}, extra={'ranges': ranges})

  def objective(params, ranges, batch: Batch, key: Array):
    restored = quantization.apply(
        net, params, ranges, batch['blur'], train=True,
        rngs={'dropout': key})
    sharp = to_pyramid(batch['sharp'], levels=len(restored))
    psnr = losses.psnr(restored[0], sharp[0])
    return content(restored, sharp), {'psnr': psnr}

  def step(state: TrainState, batch: Batch, key: Array):
    params, opt_state = state.params['net'], state.opt_state['net']
    ranges = jax.tree.map(
        jnp.maximum, state.extra['ranges'],
        quantization.observe(net, params, batch['blur']))
    if learn:
      (value, metrics), grads = jax.value_and_grad(objective, has_aux=True)(
          params, ranges, batch, key)
      params, opt_state = optim.apply(tx, grads, opt_state, params)
      metrics |= {'grad_norm': optax.tree.norm(grads), 'lr': tx.lr(state.step)}
    else:
      value, metrics = objective(params, ranges, batch, key)
    metrics = {'loss': value, **metrics}
    return state.replace(
        step=state.step + 1, params={'net': params},
        opt_state={'net': opt_state}, extra={'ranges': ranges}), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    return quantization.apply(
        net, state.params['net'], state.extra['ranges'], blur)[0]

  return Method(init, step, restore)
