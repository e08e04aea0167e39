"""Supervised, coarse-to-fine learning on pairs (Nah et al., CVPR 2017).

  min over f of  sum_k l(f_k(B), S_k),   k = 1..K scales, S_k the pyramid of S

with l = MSE / 2K in the paper (eq. 4) and l = L1 in the authors' later code.
A network of one scale is the case K = 1. One of several stages may learn by the
images of all of them (deep supervision: MAXIM, Tu et al. 2022, section 3.4):

  sum_s sum_k l(f_sk(B), S_k),   s = 1..the stages
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from deblur_jax import errors, losses, models
from deblur_jax.config import require
from deblur_jax.methods import fading, pretrained
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array, Batch, Method, Metrics, TrainState
from deblur_jax.training import optim


def make(
    nets, txs, *, loss: str, over_scales: str = 'sum',
    pyramid: str = 'deepdeblur_pytorch', all_stages: bool = False,
    ema: float = 0.0, accumulate: int = 1,
    init_from: Mapping[str, Any] | None = None,
    freeze: Sequence[str] = (),
    fade: Mapping[str, Any] | None = None) -> Method:
  """The method.

  Args:
    nets: {'net': blur -> list of restored images, finest first}.
    txs: {'net': its optimizer}.
    loss: rows of `losses.PIXEL` with weights: 'l1', 'l1 + 0.1*fft_l1'.
    over_scales: a row of `losses.OVER_SCALES`.
    pyramid: a row of `pyramids.PYRAMIDS`, which makes S_k; the same as in the
      network, so that both live on one grid.
    all_stages: whether the images of every stage are compared, of a network
      that has the method `all_stages`; others have one stage.
    ema: decay of the averaged weights that restore; 0 restores with the last.
    accumulate: parts into which the batch is split to save memory.
    init_from: the weights to begin with, see `pretrained.Start`; random by
      default.
    freeze: glob patterns of parameters that stay as they are, without update
      and weight decay, see `optim.matching`: 'stage_0_encoder_block_*'.
    fade: how the network becomes a smaller one, see `fading.Fade`.
  """
  if accumulate < 1:
    raise errors.UserError(
        f'method.accumulate must be at least 1, got {accumulate}.')
  if isinstance(freeze, str):
    raise errors.UserError(
        f'method.freeze must be a tuple of patterns, such as ({freeze!r},).')
  net = require(nets, 'net', where='nets')
  models.check_kind(net, models.MODELS, where='nets.net.name')
  tx = require(txs, 'net', where='optim')
  content = losses.content(loss, over_scales=over_scales)
  faded = fading.build(net, fade)
  known = init_from and pretrained.weights(
      net, pretrained.read(init_from), incomplete=True)
  of_stages = (
      'all_stages' if all_stages and hasattr(net, 'all_stages') else None)
  to_pyramid = errors.look_up(pyramids.PYRAMIDS, pyramid, what='method.pyramid')

  def init(key: Array, batch: Batch) -> TrainState:
    models.check_scales(net, batch['blur'].shape[1:3])
    params = pretrained.begin(net, known, key)
    optim.matching(params, freeze)    # before the first step, what is wrong
    return TrainState(
        step=jnp.zeros((), jnp.int32), params={'net': params},
        opt_state={'net': tx.init(params)},
        extra={'ema': {'net': params}} if ema else {})

  def objective(
      params, batch: Batch, key: Array, at: Array) -> tuple[Array, Metrics]:
    params = faded(optim.keep(
        params, jax.lax.stop_gradient(params),
        optim.matching(params, freeze)), at)
    stages = net.apply({'params': params}, batch['blur'], train=True,
                       rngs={'dropout': key}, method=of_stages)
    stages = stages if of_stages else [stages]
    sharp = to_pyramid(batch['sharp'], levels=len(stages[-1]))
    # PSNR of the finest scale, as a curve that people can read.
    psnr = losses.psnr(stages[-1][0], sharp[0])
    return sum(content(images, sharp) for images in stages), {'psnr': psnr}

  def step(state: TrainState, batch: Batch, key: Array):
    params = old = state.params['net']
    held = optim.matching(params, freeze)
    (value, metrics), grads = optim.value_and_grad(
        functools.partial(objective, key=key, at=state.step), params, batch,
        parts=accumulate)
    params, opt_state = optim.apply(tx, grads, state.opt_state['net'], params)
    params = optim.keep(params, old, held)    # weight decay moves them, too
    extra = state.extra
    if ema:
      averaged = optim.average(params, extra['ema']['net'], decay=ema)
      extra = extra | {'ema': {'net': optim.keep(averaged, params, held)}}
    metrics = {'loss': value, 'grad_norm': optax.tree.norm(grads),
               'lr': tx.lr(state.step), **metrics}
    state = state.replace(step=state.step + 1, params={'net': params},
                          opt_state={'net': opt_state}, extra=extra)
    return state, metrics

  def restore(state: TrainState, blur: Array) -> Array:
    params = state.extra['ema']['net'] if ema else state.params['net']
    return net.apply({'params': faded(params, state.step)}, blur)[0]

  return Method(init, step, restore, window=models.window(net),
                splits={'method.accumulate': accumulate})
