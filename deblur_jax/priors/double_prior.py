"""Two pictures in one: Double-DIP (Gandelsman, Shocher and Irani, CVPR 2019).

  y = m f1 + (1 - m) f2                                                  (eq. 1)

  min  l(m f1 + (1 - m) f2, y) + w_x X(f1, f2) + w_m B(m)

f1, f2 and m are the outputs of three networks, each with its own code, of the
size of the image: two priors fit two simple layers more easily than one prior
fits their sum. X is large for edges in both layers (Zhang, Ng and Chen, CVPR
2018, eq. 5). B = 1 - mean |2 m - 1| makes the mask 0 or 1, as for an opaque
object before a background; without B layers may be transparent.

With batch['hint'], 1 where a pixel belongs to the first layer, 0 where it
belongs to the second and 0.5 where this is not known, the mask is pulled to the
hint in the first `hint_steps`. Without it the order of the layers is random.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deblur_jax import errors, losses, models
from deblur_jax.config import require
from deblur_jax.priors import fit_record, fitting
from deblur_jax.priors import stopping as rules
from deblur_jax.state import Array, Batch, Method, Params

LAYERS = ('first', 'second')


def make(
    nets, txs, *, stopping: Mapping[str, Any], loss: str = 'mse',
    exclusion: float = 0.1, binary: float = 0.01, hint: float = 1.0,
    hint_steps: int = 500, code_scale: float = 0.1, jitter: float = 1 / 30,
    average: float = 0.99, backtrack: float = 5.0, check_every: int = 100,
    result: str = 'last') -> Method:
  """Makes the method.

  A batch has 'observed' [n, h, w, c], the blends, and may have 'hint'
  [n, h, w, 1] and, for the metrics, 'sharp', the blends without noise.
  `restore` returns the blends m f1 + (1 - m) f2. After the fit
  `state.buffers['found']` has 'first' and 'second' [n, h, w, c] and 'mask'
  [n, h, w, 1].

  Args:
    nets: {'first', 'second', 'mask': networks of `models.PRIORS`, the mask
      with one channel}.
    txs: their optimizers.
    stopping: keyword arguments of `stopping.build`.
    loss: l, see `losses.content`.
    exclusion: w_x.
    binary: w_m.
    hint: weight of the squared distance to the hint where it is not 0.5.
    hint_steps: the first steps, in which the hint counts.
    code_scale: see `deep_prior.make`.
    jitter: see `deep_prior.make`.
    average: see `deep_prior.make`.
    backtrack: see `deep_prior.make`.
    check_every: see `deep_prior.make`.
    result: see `fitting.make`.

  Raises:
    UserError: unknown names, a mask of more than one channel.
  """
  names = (*LAYERS, 'mask')
  nets = {name: require(nets, name, where='nets') for name in names}
  txs = {name: require(txs, name, where='optim') for name in names}
  for name, net in nets.items():
    models.check_kind(net, models.PRIORS, where=f'nets.{name}.name')
  if nets['mask'].channels != 1:
    raise errors.UserError(
        f'nets.mask.channels must be 1, got {nets["mask"].channels}.')
  rule = fitting.build_rule(stopping)
  content = losses.content(loss)

  def begin(key: Array, item: Batch) -> fitting.Fit:
    fitting.check_channels(item, **{name: nets[name] for name in LAYERS})
    keys = jax.random.split(jax.random.fold_in(key, item['seed']), 6)
    height, width, _ = shape = item['observed'].shape
    codes = {name: code_scale * jax.random.uniform(
        one, net.code((height, width)))
        for one, (name, net) in zip(keys[:3], nets.items(), strict=True)}
    params = {name: models.init(net, one)
              for one, (name, net) in zip(keys[3:], nets.items(), strict=True)}
    opt_state = {name: tx.init(params[name]) for name, tx in txs.items()}
    zeros = {name: jnp.zeros(shape) for name in LAYERS}
    return {'params': params, 'opt_state': opt_state, 'code': codes,
            'found': zeros | {'mask': jnp.zeros((height, width, 1))},
            'record': fit_record.init(rule, jnp.zeros(shape), params)}

  def advance(fit: fitting.Fit, item: Batch, key: Array, step: Array,
              frozen_params: Params):
    del frozen_params
    keys = jax.random.split(jax.random.fold_in(key, item['seed']), 3)
    y, size = item['observed'][None], item['observed'].shape[:2]
    codes = {name: z + jitter * jax.random.normal(one, z.shape)
             for one, (name, z) in zip(keys, fit['code'].items(), strict=True)}

    def objective(params: Params):
      first, second, mask = (
          nets[name].apply({'params': params[name]}, codes[name][None],
                           size=size) for name in names)
      blend = mask * first + (1 - mask) * second
      value = content([blend], [y])
      total = value + exclusion * excluded(first, second) + binary * (
          1 - jnp.mean(jnp.abs(2 * mask - 1)))
      if 'hint' in item:
        pull = hint * _hinted(mask, item['hint'][None])
        total += jnp.where(step < hint_steps, pull, 0)
      return total, (value, blend, {
          'first': first[0], 'second': second[0], 'mask': mask[0]})

    (_, (value, blend, found)), grads = jax.value_and_grad(
        objective, has_aux=True)(fit['params'])
    seen = rules.Seen(
        image=blend[0], fit=losses.mse(blend, y), held_out=jnp.nan,
        sure=jnp.nan, step=step)
    return fitting.finish(
        rule, txs, fit | {'found': found}, grads, seen, value,
        sharp=item.get('sharp'), average=average, backtrack=backtrack,
        check_every=check_every)

  return fitting.make(begin, advance, result=result)


def excluded(first: Array, second: Array, *, levels: int = 3) -> Array:
  """X: mean |tanh(g1 |df1|) tanh(g2 |df2|)|^2, over axes and scales.

  g1 = sqrt(|df2| / |df1|) and g2 = 1 / g1 make the edges of both layers equally
  strong (eq. 6 of Zhang, Ng and Chen).

  Args:
    first: the first layer [n, h, w, c].
    second: the second layer, of the same shape.
    levels: scales, each of half the size.

  Returns:
    A scalar, 0 if no edge of one layer is at an edge of the other.
  """
  total = []
  for level in range(levels):
    for axis in (1, 2):
      if first.shape[axis] < 2:
        continue
      edges = [jnp.abs(jnp.diff(x, axis=axis)) for x in (first, second)]
      strength = [jnp.mean(edge) + 1e-6 for edge in edges]
      ratio = jnp.sqrt(strength[1] / strength[0])
      both = jnp.tanh(ratio * edges[0]) * jnp.tanh(edges[1] / ratio)
      total.append(jnp.mean(jnp.square(both)))
    if level + 1 < levels:
      first, second = (_halved(x) for x in (first, second))
  return sum(total) / max(1, len(total))


def _halved(x: Array) -> Array:
  """The mean of each 2x2 pixels, without an odd last row or column."""
  block = tuple(min(side, 2) for side in x.shape[1:3])
  return nn.avg_pool(x, block, strides=block)


def _hinted(mask: Array, hint: Array) -> Array:
  """Squared distance to the hint, weighted by how far the hint is from 0.5."""
  sure = jnp.abs(2 * hint - 1)
  return jnp.mean(sure * jnp.square(mask - jnp.round(hint)))
