"""The critic of an adversarial method: its loss, its update, what it tells G.

  L = L_D(D(S), D(F)) + penalty * P(D; S, F) + drift * mean D(S)^2

S are real pictures, F those of a generator, D(.) a map of values. P is of
Gulrajani et al. (2017, eq. 3), the last term of Karras et al. (2018, app. A.1).
Whatever the critic computes in, P is float32 and of pictures in [-1, 1].
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deblur_jax import errors, losses, models
from deblur_jax.state import Array, Metrics, Params
from deblur_jax.training import optim

DRIFT = 1e4       # of its mean values: far from what any content loss weighs
COLLAPSE = 1e-2   # of its loss, where a critic that is never wrong has 0
LINES = 5         # logged one after another before a collapse is told


class Critic(NamedTuple):
  """Functions of a critic; images are [n, h, w, 3] in [0, 1].

  init: (key, crop [height, width]) -> params.
  update: ((params, opt_state), (real, fake, key)) -> (the new both, metrics).
  persuade: (params, real, fake) -> (L_G, its gradient to `fake`).
  update_and_persuade: the two of them with one set of parameters and one
    forward pass, and for a zero-sum game one backward pass too.
  watch: logged metrics, the newest last -> what looks wrong, in one line.
  """

  init: Callable[..., Params]
  update: Callable[..., tuple[tuple[Params, Any], Metrics]]
  persuade: Callable[..., tuple[Array, Array]]
  update_and_persuade: Callable[..., Any]
  watch: Callable[[Sequence[Metrics]], str | None]


def make(
    net, tx: optim.Optimizer, *, gan: str, penalty: float = 0.0,
    penalty_form: str = 'sample', drift: float = 0.0) -> Critic:
  """A critic.

  Args:
    net: images -> map of values.
    tx: its optimizer.
    gan: L_D and L_G, a row of `losses.ADVERSARIAL`.
    penalty: weight of P; 10 for WGAN-GP.
    penalty_form: P, a row of `losses.PENALTIES`.
    drift: weight of that term; 1e-3 keeps values near zero.

  Raises:
    UserError: unknown names, negative weights.
  """
  game = errors.look_up(losses.ADVERSARIAL, gan, what='method.critic.gan')
  punish = errors.look_up(
      losses.PENALTIES, penalty_form, what='method.critic.penalty_form')
  for name, weight in (('penalty', penalty), ('drift', drift)):
    if weight < 0:
      raise errors.UserError(
          f'method.critic.{name} must be 0 or more, got {weight}.')
  exact = net.clone(dtype='float32')

  def init(key: Array, *, crop: tuple[int, int]) -> Params:
    params = models.init(net, key)
    crops = jax.ShapeDtypeStruct((1, *crop, 3), jnp.float32)
    jax.eval_shape(judge, params, crops)     # refuses crops that are too small
    return params

  def judge(params: Params, images: Array) -> Array:
    return net.apply({'params': params}, images)

  def restraint(params: Params, real: Array, fake: Array, key: Array):
    """The terms of L that do not come from the game."""
    terms = {}
    if penalty:
      slope_of = lambda x: exact.apply({'params': params}, (x + 1) / 2)
      terms['penalty'] = penalty * punish(
          slope_of, 2 * real - 1, 2 * fake - 1, key)
    if drift:
      terms['drift'] = drift * jnp.mean(jnp.square(judge(params, real)))
    return sum(terms.values(), jnp.float32(0)), terms

  def move(params, opt_state, grads, of_real, of_fake, terms):
    metrics = {'critic_loss': game.critic(of_real, of_fake),
               'critic_real': of_real.mean(), 'critic_fake': of_fake.mean(),
               'critic_grad_norm': optax.tree.norm(grads), **terms}
    return optim.apply(tx, grads, opt_state, params), metrics

  def update(carry: tuple[Params, Any], inputs: tuple[Array, Array, Array]):
    (params, opt_state), (real, fake, key) = carry, inputs

    def objective(params):
      of_real, of_fake = judge(params, real), judge(params, fake)
      value, terms = restraint(params, real, fake, key)
      return game.critic(of_real, of_fake) + value, (of_real, of_fake, terms)

    grads, seen = jax.grad(objective, has_aux=True)(params)
    return move(params, opt_state, grads, *seen)

  def persuade(params: Params, real: Array, fake: Array):
    of_real = judge(params, real) if game.relative else None
    return jax.value_and_grad(
        lambda fake: game.generator(of_real, judge(params, fake)))(fake)

  def update_and_persuade(carry, inputs):
    (params, opt_state), (real, fake, key) = carry, inputs
    of_real, pull_real = jax.vjp(lambda params: judge(params, real), params)
    of_fake, pull_fake = jax.vjp(judge, params, fake)
    by_real, by_fake = jax.grad(game.critic, argnums=(0, 1))(of_real, of_fake)
    of_game, to_fake = pull_fake(by_fake)
    loss, by_fake = jax.value_and_grad(
        game.generator, argnums=1)(of_real, of_fake)
    # What the critic loses to a fake the generator wins, picture by picture:
    # one gradient is the other with its sign changed.
    to_fake = -to_fake if game.zero_sum else pull_fake(by_fake)[1]
    of_terms, terms = jax.grad(restraint, has_aux=True)(
        params, real, fake, key)
    grads = jax.tree.map(lambda *parts: sum(parts), of_game,
                         pull_real(by_real)[0], of_terms)
    carry, metrics = move(params, opt_state, grads, of_real, of_fake, terms)
    return carry, (loss, to_fake), metrics

  return Critic(
      init, update, persuade, update_and_persuade,
      functools.partial(
          _watch, zero_is_perfect=game.zero_is_perfect, penalty=penalty))


def _watch(
    lines: Sequence[Metrics], *, zero_is_perfect: bool, penalty: float
) -> str | None:
  last = lines[-1]
  value = max(abs(last['critic_real']), abs(last['critic_fake']))
  if value > DRIFT:
    return (f'The critic drifts: it gives real pictures '
            f'{last["critic_real"]:.4g} and restored ones '
            f'{last["critic_fake"]:.4g} on average; method.critic.drift=1e-3 '
            'holds its values near zero.')
  newest = lines[-LINES:]
  seen = [line['critic_loss'] for line in newest]
  if zero_is_perfect and len(seen) == LINES and max(seen) < COLLAPSE:
    return (f'The critic is never wrong (its loss is below {max(seen):.4g} in '
            f'{LINES} logged steps), so it teaches nothing any more: lower its '
            'learning rate, or take gan=wgan with a penalty.')
  # Without any slope the penalty is all of its weight: (0 - 1)^2.
  flat = penalty and all(line['penalty'] > (1 - COLLAPSE) * penalty
                         for line in newest)
  if flat and len(newest) == LINES and max(map(abs, seen)) < COLLAPSE:
    return (f'The critic has collapsed: it gives every picture '
            f'{last["critic_real"]:.4g}, and its penalty is '
            f'{last["penalty"]:.4g} of {penalty:g} in {LINES} logged steps, so '
            'it teaches nothing: lower its learning rate, or '
            'method.critic.penalty.')
  return None
