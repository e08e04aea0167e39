"""A network turns unknown blur into blur that a trained network removes.

  min over T of  w_a L_G(D, T(y))          discriminator: looks like h * x
                 + w_c l(S T(y), S y)      content: shrunk, it stays the same
                 + w_i l(T(h * x), h * x)  identity: leaves known blur alone

y are blurry, x sharp pictures of other scenes; h is the known blur, of `blur/`,
drawn in each step. S shrinks until neither blur shows. R(T(y)) restores: R, the
network of a run that learned to undo h, stays as it is. So T has less to do
than a network that makes y sharp: it only moves y to where R was trained. The
idea is that of Blur2Blur (Pham et al., CVPR 2024), which uses a separate
extractor of kernels instead of this content term.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax import errors, losses, models
from deblur_jax.config import call, require
from deblur_jax.methods import learner, pretrained, unpaired
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.state import Array, Batch, Method, TrainState


class Weights(NamedTuple):
  """Weights of the terms above; 0 leaves one out.

  Attributes:
    adversarial: of the adversarial term.
    content: of the content term.
    identity: of the identity term.
  """

  adversarial: float = 1.0
  content: float = 10.0
  identity: float = 5.0


def make(
    nets, txs, *, blur: Mapping[str, Any], restorer: Mapping[str, Any],
    discriminator: Mapping[str, Any], weights: Mapping[str, float],
    distance: str = 'l1', pyramid: str = 'average', shrink: int = 4,
    buffer_size: int = 50,
    features: Mapping[str, Any] | None = None) -> Method:
  """The method.

  Args:
    nets: {'to_known': a generator, whose finest scale is used;
      'is_known': a discriminator; 'restorer': R; where the config does not have
      it, `methods.build` takes it from the run}.
    txs: {'to_known', 'discriminator': optimizers}.
    blur: h: keyword arguments of `blur.build`, those that R was trained with.
    restorer: where R's weights are, see `pretrained.Start`.
    discriminator: keyword arguments of `discriminator.make`.
    weights: fields of `Weights`.
    distance: l, as of `losses.content`.
    pyramid: how S shrinks, a row of `pyramids.PYRAMIDS`.
    shrink: of S: a power of two, 2 or more.
    buffer_size: pictures T(y) that are kept for the discriminator.
    features: where VGG19's weights are, keyword arguments of `vgg.build`; for
      losses with 'perceptual'.

  Raises:
    UserError: a network is missing or of another kind, or an optimizer is
      missing; weights are unknown, negative or all 0; shrink is no power of
      two; what `blur.build` refuses, or a margin; a name in `discriminator`,
      `distance` or `pyramid` is unknown; or `restorer` has no such network.
  """
  _check_networks(nets)
  weights = unpaired.check_weights(
      call(Weights, weights, where='method.weights'))
  levels = _levels(shrink)
  txs = {name: require(txs, role, where='optim') for name, role in (
      ('to_known', 'to_known'), ('is_known', 'discriminator'))}
  is_known = unpaired.discriminator(
      nets['is_known'], txs['is_known'], discriminator, name='is_known',
      buffer_size=buffer_size)
  synthesise = unpaired.known_blur(blur)
  compare = losses.build(distance, features=features)
  to_pyramid = errors.look_up(pyramids.PYRAMIDS, pyramid, what='method.pyramid')
  known = pretrained.weights(
      nets['restorer'], pretrained.read(restorer, where='method.restorer'),
      where='nets.restorer')

  def init(key: Array, batch: Batch) -> TrainState:
    keys = jax.random.split(key, 3)
    crop = batch['blur'].shape[1:3]
    models.check_scales(nets['to_known'], crop)
    params = {'to_known': models.init(nets['to_known'], keys[0])}
    params['is_known'], buffer = is_known.init(keys[1], crop=crop)
    frozen = known or models.init(nets['restorer'], keys[2])
    return learner.begin(learner.Start(
        params, compare.frozen | {'restorer': frozen},
        {'is_known': buffer}), txs)

  def objective(params, state: TrainState, batch: Batch, made: Array, key):
    translate = lambda x: nets['to_known'].apply(
        {'params': params['to_known']}, x, train=True, rngs={'dropout': key})
    (moved, *_), (same, *_) = unpaired.together(translate, batch['blur'], made)
    shrunk, wanted = (to_pyramid(image, levels=levels)[-1:]
                      for image in (moved, batch['blur']))
    terms = {
        'adversarial': is_known.generator_loss(
            state.params['is_known'], made, moved),
        'content': compare.loss(shrunk, wanted, state.frozen),
        'identity': compare.loss([same], [made], state.frozen)}
    total = sum(weight * terms[name]
                for name, weight in weights._asdict().items())
    return total, (moved, terms | unpaired.likeness(moved, batch['blur']))

  def step(state: TrainState, batch: Batch, key: Array):
    key_blur, key_learn, key_discriminator = jax.random.split(key, 3)
    made = synthesise(key_blur, batch['sharp'])['blur']
    # ---- the translator
    (loss, (moved, metrics)), grads = jax.value_and_grad(
        objective, has_aux=True)(
            {'to_known': state.params['to_known']}, state, batch, made,
            key_learn)
    metrics |= learner.logged(loss, grads, txs['to_known'].lr(state.step))
    state = learner.update(state, txs, grads)
    # ---- the discriminator
    state, seen = is_known.update(state, made, moved, key_discriminator)
    return learner.finish(state, ema=0.0), metrics | seen

  def restore(state: TrainState, blur: Array) -> Array:
    moved = nets['to_known'].apply(
        {'params': state.params['to_known']}, blur)[0]
    return nets['restorer'].apply(
        {'params': state.frozen['restorer']}, jnp.clip(moved, 0, 1))[0]

  return Method(
      init, step, restore, unpaired=True,
      watches=(unpaired.watch_pictures, is_known.watch))


def _check_networks(nets):
  for name, table in (('to_known', models.MODELS), ('restorer', models.MODELS),
                      ('is_known', models.DISCRIMINATORS)):
    net = require(nets, name, where='nets')
    models.check_kind(net, table, where=f'nets.{name}.name')


def _levels(shrink):
  levels = int(shrink).bit_length()
  if shrink < 2 or 1 << (levels - 1) != shrink:
    raise errors.UserError(
        f'method.shrink must be 2, 4, 8, ..., got {shrink}.')
  return levels
