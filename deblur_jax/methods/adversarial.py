"""Adversarial learning on pairs: DeblurGAN (Kupyn et al., CVPR 2018) and kin.

  critic     min over D of  L_D(D(S), D(G(B))) + what holds it  (critic.py)
  generator  min over G of  w_c L_content(G(B), S) + w_a L_G(D(S), D(G(B)))

G restores the blurry B, S is sharp. DeblurGAN: WGAN with the penalty of
Gulrajani et al. (2017), five critic steps, w_c = 100 with VGG19's features,
w_a = 1. Coarse-to-fine (Nah et al., CVPR 2017, eq. 6): binary cross entropy,
one critic step, eq. 4 as content, w_a = 1e-4; the critic sees the finest scale.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from deblur_jax import errors, losses, models
from deblur_jax.config import call, require
from deblur_jax.methods import critic as critics
from deblur_jax.ops import pyramid as pyramids
from deblur_jax.ops import vgg
from deblur_jax.state import Array, Batch, Method, Params, TrainState
from deblur_jax.training import optim


def make(
    nets, txs, *, critic: Mapping[str, Any], content: str,
    content_weight: float = 1.0, adversarial_weight: float = 1.0,
    critic_steps: int = 1, fresh: bool = False, at_once: bool = False,
    features: Mapping[str, Any] | None = None, over_scales: str = 'sum',
    pyramid: str = 'deepdeblur_pytorch', ema: float = 0.0) -> Method:
  """The method.

  Args:
    nets: {'gen': blur -> list of restored images, finest first; 'critic':
      image -> map of values}.
    txs: {'gen', 'critic': their optimizers}.
    critic: keyword arguments of `critic.make`: gan, penalty, ...
    content: as of `losses.content`: 'perceptual', 'l1 + 0.1*fft_l1'.
    content_weight, adversarial_weight: of the two terms of the generator.
    critic_steps: updates of the critic in a step, before the generator's.
    fresh: whether each of them gets crops of its own: the batch is then split
      into so many parts, of which the generator learns from the last. False
      shows all the same crops, as DeblurGAN's code does.
    at_once: both networks move against each other as they were before the
      step, and share a forward pass; needs critic_steps = 1.
    features: keyword arguments of `vgg.build`, where content has 'perceptual'.
    over_scales: a row of `losses.OVER_SCALES`.
    pyramid: a row of `pyramids.PYRAMIDS`; the same as in a multi-scale network.
    ema: decay of the generator's averaged weights, which restore; 0: the last.

  Raises:
    UserError: what does not go together.
  """
  gen_net, critic_net = _networks(nets)
  gen_tx, critic_tx = _optimizers(
      txs, critic_steps, fresh=fresh, at_once=at_once)
  rival = call(
      critics.make, critic, args=(critic_net, critic_tx), where='method.critic')
  to_pyramid = errors.look_up(pyramids.PYRAMIDS, pyramid, what='method.pyramid')
  frozen = features and call(vgg.build, features, where='method.features')
  content_loss = losses.content(
      content, over_scales=over_scales,
      frozen=frozen and {'perceptual': losses.perceptual(frozen.apply)})

  def init(key: Array, batch: Batch) -> TrainState:
    key_gen, key_critic = jax.random.split(key)
    crop = batch['blur'].shape[1:3]
    models.check_scales(gen_net, crop)
    params = {'gen': models.init(gen_net, key_gen),
              'critic': rival.init(key_critic, crop=crop)}
    extra = {'ema': {'gen': params['gen']}} if ema else {}
    if frozen:
      extra['features'] = frozen.params
    opt_state = {'gen': gen_tx.init(params['gen']),
                 'critic': critic_tx.init(params['critic'])}
    return TrainState(
        step=jnp.zeros((), jnp.int32), params=params, opt_state=opt_state,
        extra=extra)

  def generate(params: Params, blur: Array, key: Array) -> list[Array]:
    return gen_net.apply(
        {'params': params}, blur, train=True, rngs={'dropout': key})

  def contend(state: TrainState, pairs, keys):
    """The critic's updates, then what the generator hears from it.

    Returns:
      (the critic's params, its optimizer's state), (L_G, gradient of L_G to
      the last fakes), metrics.
    """
    carry = state.params['critic'], state.opt_state['critic']
    if at_once:
      return rival.update_and_persuade(carry, (*pairs[0], keys[0]))
    if fresh:
      inputs = (*jax.tree.map(lambda *parts: jnp.stack(parts), *pairs), keys)
      carry, logged = jax.lax.scan(rival.update, carry, inputs)
    else:
      carry, logged = jax.lax.scan(
          lambda carry, key: rival.update(carry, (*pairs[0], key)), carry, keys)
    return (carry, rival.persuade(carry[0], *pairs[-1]),
            jax.tree.map(lambda x: x[-1], logged))

  def content_of(restored: list[Array], sharp: Array, features: Params):
    targets = to_pyramid(sharp, levels=len(restored))
    psnr = losses.psnr(restored[0], targets[0])
    return content_loss(restored, targets, features), {'psnr': psnr}

  def step(state: TrainState, batch: Batch, key: Array):
    gen = state.params['gen']
    keys_gen, keys_critic = (
        jax.random.split(part, critic_steps) for part in jax.random.split(key))
    parts = critic_steps if fresh else 1
    split = optim.in_parts(batch, parts, what='method.critic_steps')
    *others, own = (_part(split, j) for j in range(parts))
    # ---- restored crops, and the way back from them to the generator
    restored, pull = jax.vjp(
        lambda gen: generate(gen, own['blur'], keys_gen[-1]), gen)
    pairs = [(part['sharp'], generate(gen, part['blur'], key)[0])
             for part, key in zip(others, keys_gen, strict=False)]
    # ---- the critic
    (critic, critic_opt), (adversarial, by_image), metrics = contend(
        state, [*pairs, (own['sharp'], restored[0])], keys_critic)
    # ---- the generator
    (content, seen), toward = jax.value_and_grad(content_of, has_aux=True)(
        restored, own['sharp'], state.extra.get('features'))
    toward = [content_weight * gradient for gradient in toward]
    toward[0] += adversarial_weight * by_image
    grads, = pull(toward)
    gen, gen_opt = optim.apply(gen_tx, grads, state.opt_state['gen'], gen)
    extra = state.extra
    if ema:
      averaged = optim.average(gen, extra['ema']['gen'], decay=ema)
      extra = extra | {'ema': {'gen': averaged}}
    metrics |= {
        'loss': content_weight * content + adversarial_weight * adversarial,
        'content': content, 'adversarial': adversarial,
        'grad_norm': optax.tree.norm(grads), 'lr': gen_tx.lr(state.step),
        **seen}
    return state.replace(
        step=state.step + 1, params={'gen': gen, 'critic': critic},
        opt_state={'gen': gen_opt, 'critic': critic_opt}, extra=extra), metrics

  def restore(state: TrainState, blur: Array) -> Array:
    params = state.extra['ema']['gen'] if ema else state.params['gen']
    return gen_net.apply({'params': params}, blur)[0]

  return Method(init, step, restore, watches=(rival.watch,),
                splits={'method.critic_steps': critic_steps if fresh else 1})


def _networks(nets):
  gen, critic = _two(nets, where='nets')
  models.check_kind(gen, models.MODELS, where='nets.gen.name')
  models.check_kind(critic, models.CRITICS, where='nets.critic.name')
  return gen, critic


def _two(table, *, where):
  return [require(table, name, where=where) for name in ('gen', 'critic')]


def _part(split: Batch, j: int) -> Batch:
  return jax.tree.map(lambda x: x[j], split)


def _optimizers(txs, critic_steps, *, fresh, at_once):
  gen_tx, critic_tx = _two(txs, where='optim')
  if critic_steps < 1:
    raise errors.UserError(
        f'method.critic_steps must be at least 1, got {critic_steps}.')
  if at_once and critic_steps > 1:
    raise errors.UserError(
        f'method.at_once needs critic_steps=1, got {critic_steps}: the '
        'generator cannot learn from a critic that moves meanwhile.')
  if fresh and critic_steps == 1:
    raise errors.UserError(
        'method.fresh shares a batch out over several critic steps; set '
        'fresh=False, or critic_steps above 1.')
  if critic_tx.updates_per_step != critic_steps:
    raise errors.UserError(
        f'optim.critic.updates_per_step={critic_tx.updates_per_step} must be '
        f'method.critic_steps={critic_steps}, so that its schedule ends with '
        'the run.')
  return gen_tx, critic_tx
