"""Pruning: makes a trained network smaller, and trains it further.

There are two ways, alone or together. (1) The network of the config has fewer
channels than that of the run: the strongest channels stay, which means smaller
kernels, fewer multiplications and less time (Li et al., ICLR 2017). (2) A share
of the smallest weights becomes zero and stays zero (Han et al., 2015): a sparse
network, which is not faster on ordinary devices. The remaining weights learn on
pairs as in methods/supervised.py.
"""

from collections.abc import Mapping
from typing import Any

from deblur_jax import errors, models
from deblur_jax.methods import pretrained, supervised
from deblur_jax.models import channel_groups, pruning
from deblur_jax.state import Array, Batch, Method, TrainState


def make(
    nets, txs, *, init_from: Mapping[str, Any], loss: str, share: float = 0.0,
    per_layer: bool = False, over_scales: str = 'sum',
    pyramid: str | None = None, ema: float = 0.0, accumulate: int = 1,
    features: Mapping[str, Any] | None = None) -> Method:
  """The method.

  Args:
    nets: {'net': the pruned network: that of the run, or one with fewer
      features, and for a NAFNet with less expansion}.
    txs: {'net': its optimizer}.
    init_from: the run to prune, see `pretrained.Start`.
    loss: see `supervised.make`.
    over_scales: see `supervised.make`.
    pyramid: see `supervised.make`.
    ema: see `supervised.make`.
    accumulate: see `supervised.make`.
    features: see `supervised.make`.
    share: of all kernels' values, which part is zero, in [0, 1).
    per_layer: whether each kernel loses this share, or all kernels together.

  Raises:
    UserError: no such run, another network, a share out of range.
  """
  if not 0 <= share < 1:
    raise errors.UserError(
        f'method.share must be in [0, 1), got {share}: a network without '
        'weights restores nothing.')
  method = supervised.make(
      nets, txs, loss=loss, over_scales=over_scales, pyramid=pyramid, ema=ema,
      accumulate=accumulate, features=features)
  known = _cut(nets['net'], pretrained.read(init_from))

  def init(key: Array, batch: Batch) -> TrainState:
    state = method.init(key, batch)
    params = {'net': known or state.params['net']}
    masks = pruning.magnitude(params['net'], share=share, per_layer=per_layer)
    return _masked(state.replace(
        params=params, ema=params if ema else {},
        frozen=state.frozen | {'masks': {'net': masks}}))

  def step(state: TrainState, batch: Batch, key: Array):
    state, metrics = method.step(state, batch, key)
    state = _masked(state)
    zeros = pruning.share_of_zeros(state.params['net'])
    return state, metrics | {'zeros': zeros}

  return method._replace(init=init, step=step)


def _masked(state: TrainState) -> TrainState:
  """Zeros where the masks say so, also in the averaged weights."""
  zero = lambda params: pruning.apply(params, state.frozen['masks'])
  return state.replace(
      params=zero(state.params), ema=zero(state.ema) if state.ema else {})


def _cut(net, start: pretrained.Start):
  """The run's parameters, cut to the width of `net`; None without a path."""
  if start.path is None:
    return None
  wide = pretrained.check_alike(net, start, but=(channel_groups.width(net),))
  params = pretrained.weights(wide, start)
  if models.count_parameters(params) == models.count_parameters(
      models.shapes(net)):
    return params
  wires = channel_groups.wires(wide)
  kept = pruning.choose(params, wires, models.shapes(net))
  return pruning.cut(params, wires, kept)
