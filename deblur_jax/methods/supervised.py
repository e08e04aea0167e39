"""Supervised, coarse-to-fine learning on pairs (Nah et al., CVPR 2017).

  min over f of  sum_k l(f_k(B), S_k),   k = 1..K scales, S_k the pyramid of S

with l = MSE / 2K in the paper (eq. 4) and l = L1 in the authors' later code.
A network of one scale is the case K = 1. One of several stages may learn by the
images of all of them (deep supervision: MAXIM, Tu et al. 2022, section 3.4):

  sum_s sum_k l(f_sk(B), S_k),   s = 1..the stages
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deblur_jax import errors, losses, models
from deblur_jax.config import require
from deblur_jax.methods import learner, pretrained, targets, weight_fading
from deblur_jax.state import Array, Batch, Method, Params, TrainState
from deblur_jax.training import optim


def make(
    nets, txs, *, loss: str, over_scales: str = 'sum',
    pyramid: str | None = None, all_stages: bool = False,
    features: Mapping[str, Any] | None = None,
    ema: float = 0.0, accumulate: int = 1,
    init_from: Mapping[str, Any] | None = None,
    freeze: Sequence[str] = (),
    fade: Mapping[str, Any] | None = None) -> Method:
  """The method.

  Args:
    nets: {'net': blur -> list of restored images, finest first}.
    txs: {'net': its optimizer}.
    loss: l, see `losses.content`: 'l1', 'l1 + 0.1*fft_l1 + 0.01*perceptual'.
    over_scales: a row of `losses.OVER_SCALES`.
    features: where VGG19's weights are, keyword arguments of `vgg.build`; for
      losses with 'perceptual'.
    pyramid: which makes S_k, see `targets.build`; that of the network.
    all_stages: whether the images of every stage are compared, of a network
      that has the method `all_stages`; others have one stage.
    ema: decay of the averaged weights that restore; 0 restores with the last.
    accumulate: parts into which the batch is split to save memory.
    init_from: the first weights, see `pretrained.Start`; random by default.
    freeze: glob patterns of parameters that stay as they are, without update
      and weight decay, see `optim.matching`: 'stage_0_encoder_block_*'.
    fade: how the network becomes a smaller one, see `weight_fading.Fade`.
  """
  if isinstance(freeze, str):
    raise errors.UserError(
        f'method.freeze must be a tuple of patterns, such as ({freeze!r},).')
  net = require(nets, 'net', where='nets')
  models.check_kind(net, models.MODELS, where='nets.net.name')
  tx = require(txs, 'net', where='optim')
  content = losses.build(loss, over_scales=over_scales, features=features)
  faded = weight_fading.build(net, fade)
  known = init_from and pretrained.weights(
      net, pretrained.read(init_from), incomplete=True)
  of_stages = (
      'all_stages' if all_stages and hasattr(net, 'all_stages') else None)
  targets_of = targets.build(net, pyramid)

  def start(key: Array, batch: Batch) -> learner.Start:
    models.check_scales(net, batch['blur'].shape[1:3])
    params = pretrained.begin(net, known, key)
    optim.matching(params, freeze)    # refuses unknown patterns before a step
    return learner.Start({'net': params}, content.frozen)

  def held(params: Params) -> Params:
    return {'net': optim.matching(params['net'], freeze)}

  def objective(params: Params, state: TrainState, batch: Batch, key: Array):
    weights = faded(params['net'], state.step)
    stages = net.apply({'params': weights}, batch['blur'], train=True,
                       rngs={'dropout': key}, method=of_stages)
    stages = stages if of_stages else [stages]
    sharp = targets_of(batch['sharp'])
    # PSNR of the finest scale, as a curve that people can read.
    psnr = losses.psnr(stages[-1][0], sharp[0])
    total = sum(content.loss(images, sharp, state.frozen) for images in stages)
    return total, {'psnr': psnr}

  def restore(state: TrainState, blur: Array) -> Array:
    weights = faded(state.weights('net'), state.step)
    return net.apply({'params': weights}, blur)[0]

  return learner.make(
      {'net': tx}, objective, start=start, restore=restore, ema=ema,
      accumulate=accumulate, held=held if freeze else None,
      window=models.window(net))
