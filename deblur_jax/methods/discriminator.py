"""The discriminator of an adversarial method: its loss, update and alarms.

  L = L_D(D(S), D(F)) + penalty * P(D; S, F) + drift * mean D(S)^2

S are real pictures, F those of a generator, D(.) a map of values. P is of
Gulrajani et al. (2017, eq. 3), the last term of Karras et al. (2018, app. A.1).
P is computed in float32 and on pictures in [-1, 1], for every dtype of D.
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

DRIFT = 1e4       # of mean values: far above the weight of any content loss
COLLAPSE = 1e-2   # of the loss: a discriminator that is never wrong reaches 0
LINES = 5         # consecutive logged steps that an alarm needs


class Discriminator(NamedTuple):
  """Functions of a discriminator; images are [n, h, w, 3] in [0, 1].

  Attributes:
    init: (key, crop [height, width]) -> params.
    update: ((params, opt_state), (real, fake, key)) -> (the new both, metrics).
    generator_loss: (params, real, fake) -> (L_G, its gradient to `fake`).
    update_jointly: as `update`, and also what `generator_loss` gives with the
      parameters before the update; the two share a forward pass, and in a
      zero-sum game the backward pass.
    watch: logged metrics, the newest last -> an alarm in one line, or None.
  """

  init: Callable[..., Params]
  update: Callable[..., tuple[tuple[Params, Any], Metrics]]
  generator_loss: Callable[..., tuple[Array, Array]]
  update_jointly: Callable[..., Any]
  watch: Callable[[Sequence[Metrics]], str | None]


def make(
    net, tx: optim.Optimizer, *, gan: str, penalty: float = 0.0,
    penalty_form: str = 'sample', drift: float = 0.0) -> Discriminator:
  """A discriminator.

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
  game = errors.look_up(
      losses.ADVERSARIAL, gan, what='method.discriminator.gan')
  gradient_penalty = errors.look_up(
      losses.PENALTIES, penalty_form, what='method.discriminator.penalty_form')
  for name, weight in (('penalty', penalty), ('drift', drift)):
    if weight < 0:
      raise errors.UserError(
          f'method.discriminator.{name} must be 0 or more, got {weight}.')
  exact = net.clone(dtype='float32')

  def init(key: Array, *, crop: tuple[int, int]) -> Params:
    params = models.init(net, key)
    crops = jax.ShapeDtypeStruct((1, *crop, 3), jnp.float32)
    jax.eval_shape(values, params, crops)    # refuses crops that are too small
    return params

  def values(params: Params, images: Array) -> Array:
    return net.apply({'params': params}, images)

  def constraints(params: Params, real: Array, fake: Array, key: Array):
    """The terms of L beside L_D: their sum, and each."""
    terms = {}
    if penalty:
      of_scaled = lambda x: exact.apply({'params': params}, (x + 1) / 2)
      terms['penalty'] = penalty * gradient_penalty(
          of_scaled, 2 * real - 1, 2 * fake - 1, key)
    if drift:
      terms['drift'] = drift * jnp.mean(jnp.square(values(params, real)))
    return sum(terms.values(), jnp.float32(0)), terms

  def move(params, opt_state, grads, of_real, of_fake, terms):
    metrics = {'discriminator_loss': game.discriminator(of_real, of_fake),
               'discriminator_real': of_real.mean(),
               'discriminator_fake': of_fake.mean(),
               'discriminator_grad_norm': optax.tree.norm(grads), **terms}
    return optim.apply(tx, grads, opt_state, params), metrics

  def update(carry: tuple[Params, Any], inputs: tuple[Array, Array, Array]):
    (params, opt_state), (real, fake, key) = carry, inputs

    def objective(params):
      of_real, of_fake = values(params, real), values(params, fake)
      value, terms = constraints(params, real, fake, key)
      return (game.discriminator(of_real, of_fake) + value,
              (of_real, of_fake, terms))

    grads, seen = jax.grad(objective, has_aux=True)(params)
    return move(params, opt_state, grads, *seen)

  def generator_loss(params: Params, real: Array, fake: Array):
    of_real = values(params, real) if game.relative else None
    return jax.value_and_grad(
        lambda fake: game.generator(of_real, values(params, fake)))(fake)

  def update_jointly(carry, inputs):
    (params, opt_state), (real, fake, key) = carry, inputs
    of_real, pull_real = jax.vjp(lambda params: values(params, real), params)
    of_fake, pull_fake = jax.vjp(values, params, fake)
    by_real, by_fake = jax.grad(
        game.discriminator, argnums=(0, 1))(of_real, of_fake)
    of_game, to_fake = pull_fake(by_fake)
    loss, by_fake = jax.value_and_grad(
        game.generator, argnums=1)(of_real, of_fake)
    # In a zero-sum game each player loses what the other wins, image by image:
    # one gradient is the other with its sign changed.
    to_fake = -to_fake if game.zero_sum else pull_fake(by_fake)[1]
    of_terms, terms = jax.grad(constraints, has_aux=True)(
        params, real, fake, key)
    grads = jax.tree.map(lambda *parts: sum(parts), of_game,
                         pull_real(by_real)[0], of_terms)
    carry, metrics = move(params, opt_state, grads, of_real, of_fake, terms)
    return carry, (loss, to_fake), metrics

  return Discriminator(
      init, update, generator_loss, update_jointly,
      functools.partial(
          _watch, zero_is_perfect=game.zero_is_perfect, penalty=penalty))


def _watch(
    lines: Sequence[Metrics], *, zero_is_perfect: bool, penalty: float
) -> str | None:
  last = lines[-1]
  real, fake = last['discriminator_real'], last['discriminator_fake']
  if max(abs(real), abs(fake)) > DRIFT:
    return (f'The discriminator drifts: its mean value is {real:.4g} for real '
            f'pictures and {fake:.4g} for restored ones; '
            'method.discriminator.drift=1e-3 holds its values near zero.')
  newest = lines[-LINES:]
  seen = [line['discriminator_loss'] for line in newest]
  if zero_is_perfect and len(seen) == LINES and max(seen) < COLLAPSE:
    return ('The discriminator is never wrong (its loss is below '
            f'{max(seen):.4g} in {LINES} logged steps), so the generator '
            'learns nothing from it: lower its learning rate, or take gan=wgan '
            'with a penalty.')
  # Without any slope the penalty is all of its weight: (0 - 1)^2.
  flat = penalty and all(line['penalty'] > (1 - COLLAPSE) * penalty
                         for line in newest)
  if flat and len(newest) == LINES and max(map(abs, seen)) < COLLAPSE:
    return (f'The discriminator has collapsed: its value is {real:.4g} for '
            f'every picture, and its penalty is {last["penalty"]:.4g} of '
            f'{penalty:g} in {LINES} logged steps, so the generator learns '
            'nothing from it: lower its learning rate, or '
            'method.discriminator.penalty.')
  return None
