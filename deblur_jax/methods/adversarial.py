"""Adversarial learning on pairs: DeblurGAN (Kupyn et al., CVPR 2018) and kin.

  discriminator  min over D of  L_D(D(S), D(G(B))) + constraints
  generator      min over G of  w_c L_content(G(B), S) + w_a L_G(D(S), D(G(B)))

G restores the blurry B, S is sharp. The constraints are in discriminator.py.
DeblurGAN: WGAN with the penalty of Gulrajani et al. (2017), five discriminator
steps, w_c = 100 with VGG19's features, w_a = 1. Coarse-to-fine (Nah et al.,
CVPR 2017, eq. 6): binary cross entropy, one discriminator step, eq. 4 as
content, w_a = 1e-4; the discriminator sees the finest scale.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deblur_jax import errors, losses, models
from deblur_jax.config import call, require
from deblur_jax.methods import discriminator as discriminators
from deblur_jax.methods import learner, targets
from deblur_jax.state import Array, Batch, Method, Params, TrainState
from deblur_jax.training import optim


def make(
    nets, txs, *, discriminator: Mapping[str, Any], content: str,
    content_weight: float = 1.0, adversarial_weight: float = 1.0,
    discriminator_steps: int = 1, fresh: bool = False,
    simultaneous: bool = False,
    features: Mapping[str, Any] | None = None, over_scales: str = 'sum',
    pyramid: str | None = None, ema: float = 0.0) -> Method:
  """The method.

  Args:
    nets: {'generator': blur -> list of restored images, finest first;
      'discriminator': image -> map of values}.
    txs: {'generator', 'discriminator': their optimizers}.
    discriminator: keyword arguments of `discriminator.make`: gan, penalty, ...
    content: as of `losses.content`: 'perceptual', 'l1 + 0.1*fft_l1'.
    content_weight: w_c.
    adversarial_weight: w_a.
    discriminator_steps: updates of the discriminator in a step, before the
      generator's.
    fresh: whether each update sees crops of its own: the batch is then split
      into as many parts, and the generator learns from the last. False shows
      the same crops to all, as DeblurGAN's code does.
    simultaneous: both networks move against each other as they were before the
      step, and share a forward pass; needs discriminator_steps = 1.
    features: where VGG19's weights are, keyword arguments of `vgg.build`; for
      losses with 'perceptual'.
    over_scales: a row of `losses.OVER_SCALES`.
    pyramid: as of `supervised.make`.
    ema: decay of the generator's averaged weights, which restore; 0: the last.

  Raises:
    UserError: a network is missing or of another kind, or an optimizer is
      missing; discriminator_steps is below 1, above 1 with `simultaneous`, 1
      with `fresh`, or not the `updates_per_step` of the discriminator's
      optimizer; or a name in `discriminator`, `content`, `over_scales` or
      `pyramid` is unknown.
  """
  learner.check_ema(ema)
  net, disc_net = _networks(nets)
  txs = _optimizers(
      txs, discriminator_steps, fresh=fresh, simultaneous=simultaneous)
  disc = call(
      discriminators.make, discriminator, args=(disc_net, txs['discriminator']),
      where='method.discriminator')
  targets_of = targets.build(net, pyramid, where='nets.generator')
  by_truth = losses.build(content, over_scales=over_scales, features=features)

  def init(key: Array, batch: Batch) -> TrainState:
    key_generator, key_discriminator = jax.random.split(key)
    crop = batch['blur'].shape[1:3]
    models.check_scales(net, crop)
    params = {'generator': models.init(net, key_generator),
              'discriminator': disc.init(key_discriminator, crop=crop)}
    return learner.begin(learner.Start(params, by_truth.frozen), txs,
                         ema=('generator',) if ema else ())

  def generate(params: Params, blur: Array, key: Array) -> list[Array]:
    return net.apply(
        {'params': params}, blur, train=True, rngs={'dropout': key})

  def update_discriminator(state: TrainState, pairs, keys):
    """The discriminator's updates, then the generator's adversarial term.

    Returns:
      The state, (L_G, gradient of L_G to the last fakes), metrics.
    """
    carry = state.params['discriminator'], state.opt_state['discriminator']
    if simultaneous:
      carry, game, logged = disc.update_jointly(carry, (*pairs[0], keys[0]))
    else:
      if fresh:
        inputs = (*jax.tree.map(lambda *parts: jnp.stack(parts), *pairs), keys)
        carry, logged = jax.lax.scan(disc.update, carry, inputs)
      else:
        carry, logged = jax.lax.scan(
            lambda carry, key: disc.update(carry, (*pairs[0], key)),
            carry, keys)
      game = disc.generator_loss(carry[0], *pairs[-1])
      logged = jax.tree.map(lambda x: x[-1], logged)
    return state.replace(
        params=state.params | {'discriminator': carry[0]},
        opt_state=state.opt_state | {'discriminator': carry[1]}), game, logged

  def content_of(restored: list[Array], sharp: Array, frozen: Params):
    scales = targets_of(sharp)
    psnr = losses.psnr(restored[0], scales[0])
    return by_truth.loss(restored, scales, frozen), {'psnr': psnr}

  def step(state: TrainState, batch: Batch, key: Array):
    params = state.params['generator']
    keys_generator, keys_discriminator = (
        jax.random.split(part, discriminator_steps)
        for part in jax.random.split(key))
    parts = discriminator_steps if fresh else 1
    split = optim.in_parts(batch, parts, what='method.discriminator_steps')
    *others, own = (_part(split, j) for j in range(parts))
    # ---- restored crops, and the way back from them to the generator
    restored, pull = jax.vjp(
        lambda params: generate(params, own['blur'], keys_generator[-1]),
        params)
    pairs = [(part['sharp'], generate(params, part['blur'], key)[0])
             for part, key in zip(others, keys_generator, strict=False)]
    # ---- the discriminator
    state, (adversarial, by_image), metrics = update_discriminator(
        state, [*pairs, (own['sharp'], restored[0])], keys_discriminator)
    # ---- the generator
    (content, seen), toward = jax.value_and_grad(content_of, has_aux=True)(
        restored, own['sharp'], state.frozen)
    toward = [content_weight * gradient for gradient in toward]
    toward[0] += adversarial_weight * by_image
    grads, = pull(toward)
    loss = content_weight * content + adversarial_weight * adversarial
    metrics |= seen | {'content': content, 'adversarial': adversarial}
    metrics |= learner.logged(loss, grads, txs['generator'].lr(state.step))
    state = learner.update(state, txs, {'generator': grads})
    return learner.finish(state, ema=ema), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    return net.apply({'params': state.weights('generator')}, blur)[0]

  return Method(init, step, restore, watches=(disc.watch,), splits={
      'method.discriminator_steps': discriminator_steps if fresh else 1})


def _part(split: Batch, j: int) -> Batch:
  return jax.tree.map(lambda x: x[j], split)


def _networks(nets):
  net, disc = _two(nets, where='nets').values()
  models.check_kind(net, models.MODELS, where='nets.generator.name')
  models.check_kind(
      disc, models.DISCRIMINATORS, where='nets.discriminator.name')
  return net, disc


def _two(table, *, where):
  return {name: require(table, name, where=where)
          for name in ('generator', 'discriminator')}


def _optimizers(txs, discriminator_steps, *, fresh, simultaneous):
  txs = _two(txs, where='optim')
  if discriminator_steps < 1:
    raise errors.UserError('method.discriminator_steps must be at least 1, got '
                           f'{discriminator_steps}.')
  if simultaneous and discriminator_steps > 1:
    raise errors.UserError(
        'method.simultaneous needs discriminator_steps=1, got '
        f'{discriminator_steps}: the generator cannot learn from a '
        'discriminator that moves meanwhile.')
  if fresh and discriminator_steps == 1:
    raise errors.UserError(
        'method.fresh shares a batch out over several discriminator steps; set '
        'fresh=False, or discriminator_steps above 1.')
  updates = txs['discriminator'].updates_per_step
  if updates != discriminator_steps:
    raise errors.UserError(
        f'optim.discriminator.updates_per_step={updates} must be '
        f'method.discriminator_steps={discriminator_steps}, so that its '
        'schedule ends with the run.')
  return txs
