"""Classical blind deblurring as a method, to stand beside the learned ones.

  k = argmin |k * grad x - grad y|^2, x with few gradients   (blur/estimate.py)
  sharp = deconvolve(y, k)                                 (blur/deconvolve.py)

One kernel for the whole picture. Nothing is learned: a step only measures.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from deblur_jax import errors, losses
from deblur_jax.blur import deconvolve, estimate
from deblur_jax.state import Array, Batch, Method, TrainState


def make(
    nets, txs, *, size: int, sparse: float,
    deconvolution: Mapping[str, Any] = estimate.DECONVOLUTION) -> Method:
  """The method.

  Args:
    nets: {}; it has no networks.
    txs: {}; it has no optimizers.
    size: side of the kernel in pixels, odd; see `estimate.kernel_of`.
    sparse: weight of the sparse gradients, see `estimate.kernel_of`.
    deconvolution: name and options, see `estimate.deblur`.

  Raises:
    UserError: networks or optimizers are given, or an option is refused.
  """
  if nets or txs:
    raise errors.UserError(
        'The method blind_deconvolution learns nothing: leave nets and optim '
        'empty.')
  # It refuses its options here, not at the first step.
  deconvolve.from_config(deconvolution, where='method.deconvolution')
  options = dict(deconvolution=deconvolution, size=size, sparse=sparse)

  def init(key: Array, batch: Batch) -> TrainState:
    del key, batch
    return TrainState(
        step=jnp.zeros((), jnp.int32), params={}, opt_state={})

  def step(state: TrainState, batch: Batch, key: Array):
    del key
    restored = restore(state, batch['blur'])
    metrics = {'loss': losses.l1(restored, batch['sharp']),
               'psnr': losses.psnr(restored, batch['sharp'])}
    return state.replace(step=state.step + 1), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    del state
    return estimate.deblur(blur, **options)

  return Method(init, step, restore)
