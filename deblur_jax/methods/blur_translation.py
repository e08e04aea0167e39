"""Blur that nobody knows becomes blur that a trained network undoes.

  min over T of  w_a L_G(D, T(y))          critic: looks like pictures of h * x
                 + w_c l(S T(y), S y)      content: shrunk, it stays what it was
                 + w_i l(T(h * x), h * x)  identity: leaves known blur alone

y are blurry, x sharp pictures of other scenes; h is the known blur, of `blur/`,
drawn anew in each step. S shrinks until neither blur shows. What restores is
R(T(y)): R, the network of a run that learned to undo h, stays as it is. So T
has less to do than a network that has to make y sharp: it only moves y to where
R was trained. The idea is that of Blur2Blur (Pham et al., CVPR 2024), which
asks a separate extractor of kernels for what our content term does.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deblur_jax import blur as blurs
from deblur_jax import errors, losses, models
from deblur_jax.config import call, require
from deblur_jax.methods import pretrained, unpaired
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array, Batch, Method, TrainState
from deblur_jax.training import optim


class Weights(NamedTuple):
  """Of the terms above; 0 leaves one out."""

  adversarial: float = 1.0
  content: float = 10.0
  identity: float = 5.0


def make(
    nets, txs, *, blur: Mapping[str, Any], restorer: Mapping[str, Any],
    critic: Mapping[str, Any], weights: Mapping[str, float],
    distance: str = 'l1', pyramid: str = 'average', shrink: int = 4,
    pool_size: int = 50) -> Method:
  """The method.

  Args:
    nets: {'to_known': a generator, of which the finest scale counts;
      'is_known': a critic; 'restorer': R; where the config does not have it,
      `methods.build` takes it from the run}.
    txs: {'to_known', 'critic': optimizers}.
    blur: h: keyword arguments of `blur.build`, those that R was trained with.
    restorer: where R's weights are, see `pretrained.Start`.
    critic: keyword arguments of `critic.make`.
    weights: fields of `Weights`.
    distance: l, as of `losses.content`.
    pyramid: how S shrinks, a row of `pyramids.PYRAMIDS`.
    shrink: of S: a power of two, 2 or more.
    pool_size: pictures T(y) that are kept for the critic.

  Raises:
    UserError: no such run, or what does not go together.
  """
  _check_networks(nets)
  weights = unpaired.check_weights(
      call(Weights, weights, where='method.weights'))
  levels = _levels(shrink)
  tx, critic_tx = (require(txs, name, where='optim')
                   for name in ('to_known', 'critic'))
  rival = unpaired.rival(
      nets['is_known'], critic_tx, critic, name='is_known',
      pool_size=pool_size)
  synthesise = blurs.from_config(blur, where='method.blur')
  compare = losses.content(distance)
  to_pyramid = errors.look_up(pyramids.PYRAMIDS, pyramid, what='method.pyramid')
  known = pretrained.weights(
      nets['restorer'], pretrained.read(restorer, where='method.restorer'),
      where='nets.restorer')

  def init(key: Array, batch: Batch) -> TrainState:
    keys = jax.random.split(key, 3)
    crop = batch['blur'].shape[1:3]
    models.check_scales(nets['to_known'], crop)
    params = {'to_known': models.init(nets['to_known'], keys[0])}
    params['is_known'], pool = rival.init(keys[1], crop=crop)
    return TrainState(
        step=jnp.zeros((), jnp.int32), params=params,
        opt_state={'to_known': tx.init(params['to_known']),
                   'is_known': critic_tx.init(params['is_known'])},
        extra={'pool': pool,
               'restorer': known or models.init(nets['restorer'], keys[2])})

  def objective(params, rest, batch: Batch, made: Array, key: Array):
    translate = lambda x: nets['to_known'].apply(
        {'params': params}, x, train=True, rngs={'dropout': key})
    (moved, *_), (same, *_) = unpaired.together(translate, batch['blur'], made)
    shrunk, wanted = (to_pyramid(image, levels=levels)[-1:]
                      for image in (moved, batch['blur']))
    terms = {'adversarial': rival.persuade(rest['is_known'], made, moved),
             'content': compare(shrunk, wanted),
             'identity': compare([same], [made])}
    total = sum(weight * terms[name]
                for name, weight in weights._asdict().items())
    return total, (moved, terms | unpaired.likeness(moved, batch['blur']))

  def step(state: TrainState, batch: Batch, key: Array):
    key_blur, key_learn, key_critic = jax.random.split(key, 3)
    params, opt_state = dict(state.params), dict(state.opt_state)
    made = synthesise(key_blur, batch['sharp'])['blur']
    # ---- the translator
    (loss, (moved, metrics)), grads = jax.value_and_grad(
        objective, has_aux=True)(
            params['to_known'], params, batch, made, key_learn)
    params['to_known'], opt_state['to_known'] = optim.apply(
        tx, grads, opt_state['to_known'], params['to_known'])
    # ---- the critic
    carry = params['is_known'], opt_state['is_known'], state.extra['pool']
    (params['is_known'], opt_state['is_known'], pool), seen = rival.update(
        carry, made, moved, key_critic)
    metrics |= seen | {'loss': loss, 'grad_norm': optax.tree.norm(grads),
                       'lr': tx.lr(state.step)}
    return state.replace(
        step=state.step + 1, params=params, opt_state=opt_state,
        extra=state.extra | {'pool': pool}), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    moved = nets['to_known'].apply(
        {'params': state.params['to_known']}, blur)[0]
    return nets['restorer'].apply(
        {'params': state.extra['restorer']}, jnp.clip(moved, 0, 1))[0]

  return Method(
      init, step, restore, unpaired=True,
      watches=(unpaired.watch_pictures, rival.watch))


def _check_networks(nets):
  for name, table in (('to_known', models.MODELS), ('restorer', models.MODELS),
                      ('is_known', models.CRITICS)):
    net = require(nets, name, where='nets')
    models.check_kind(net, table, where=f'nets.{name}.name')


def _levels(shrink):
  levels = int(shrink).bit_length()
  if shrink < 2 or 1 << (levels - 1) != shrink:
    raise errors.UserError(
        f'method.shrink must be 2, 4, 8, ..., got {shrink}.')
  return levels
