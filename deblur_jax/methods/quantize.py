"""Quantizes a trained network to int8, by calibration or by further training.

A step measures the inputs of each convolution and keeps their largest values.
With learn=True the network also learns through the rounding, as in
methods/supervised.py. It restores as int8 arithmetic would, see
models/quantization.py.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import losses, models
from deblur_jax.config import require
from deblur_jax.methods import learner, pretrained, targets
from deblur_jax.models import quantization
from deblur_jax.state import Array, Batch, Method, Params, TrainState


def make(
    nets, txs, *, init_from: Mapping[str, Any], loss: str = 'l1',
    learn: bool = False, over_scales: str = 'sum',
    pyramid: str | None = None,
    features: Mapping[str, Any] | None = None) -> Method:
  """The method.

  Args:
    nets: {'net': the network of the run}.
    txs: {'net': its optimizer}.
    init_from: the run, see `pretrained.Start`.
    loss: see `supervised.make`.
    over_scales: see `supervised.make`.
    pyramid: see `supervised.make`.
    features: see `supervised.make`.
    learn: whether the weights move, or stay those of the run: calibration
      alone, a few hundred steps.

  Raises:
    UserError: no such run, or another network.
  """
  net = require(nets, 'net', where='nets')
  models.check_kind(net, models.MODELS, where='nets.net.name')
  tx = require(txs, 'net', where='optim')
  content = losses.build(loss, over_scales=over_scales, features=features)
  targets_of = targets.build(net, pyramid)
  known = pretrained.weights(
      net, pretrained.read(init_from), incomplete=True)

  def start(key: Array, batch: Batch) -> learner.Start:
    models.check_scales(net, batch['blur'].shape[1:3])
    params = pretrained.begin(net, known, key)
    names = jax.eval_shape(
        lambda params, blur: quantization.observe(net, params, blur), params,
        jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    ranges = {name: jnp.zeros((), jnp.float32) for name in names}
    return learner.Start(
        {'net': params}, content.frozen, {'ranges': ranges})

  def objective(params: Params, state: TrainState, batch: Batch, key: Array):
    restored = quantization.apply(
        net, params['net'], state.buffers['ranges'], batch['blur'], train=True,
        rngs={'dropout': key})
    sharp = targets_of(batch['sharp'])
    psnr = losses.psnr(restored[0], sharp[0])
    return content.loss(restored, sharp, state.frozen), {'psnr': psnr}

  def restore(state: TrainState, blur: Array) -> Array:
    return quantization.apply(
        net, state.params['net'], state.buffers['ranges'], blur)[0]

  method = learner.make(
      {'net': tx}, objective, start=start, restore=restore)

  def step(state: TrainState, batch: Batch, key: Array):
    ranges = jax.tree.map(
        jnp.maximum, state.buffers['ranges'],
        quantization.observe(net, state.params['net'], batch['blur']))
    state = state.replace(buffers={'ranges': ranges})
    if learn:
      return method.step(state, batch, key)
    value, metrics = objective(state.params, state, batch, key)
    return state.replace(step=state.step + 1), {'loss': value, **metrics}

  return method._replace(step=step)
