"""What the methods without pairs share: critics with pools, and alarms.

There is no truth to compare with, so that what goes wrong shows elsewhere: a
restored picture should resemble the blurry one that it was made of. Its colours
may turn into their negatives, for which no critic of sharp pictures cares, or
it may no longer depend on the blurry picture at all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.config import call
from deblur_jax.methods import critic as critics
from deblur_jax.methods import image_buffer as pools
from deblur_jax.state import Array, Metrics, Params

STRANGE = 0.2   # correlation, below which it is another picture; natural: 0.9
LINES = critics.LINES
NOTHING = 'nothing'


class Rival(NamedTuple):
  """A critic with its pool of earlier fakes.

  init: (key, crop [height, width]) -> (params, pool).
  persuade: (params, real, fake) -> L_G, whose gradient flows to `fake` alone.
  update: ((params, opt_state, pool), real, fake, key) -> (the new three,
    metrics as 'NAME/critic_loss').
  watch: logged metrics, the newest last -> what looks wrong, in one line.
  """

  init: Callable[..., tuple[Params, pools.Pool]]
  persuade: Callable[[Params, Array, Array], Array]
  update: Callable[..., tuple[tuple[Params, Any, pools.Pool], Metrics]]
  watch: Callable[[Sequence[Metrics]], str | None]


def rival(
    net, tx, options: Mapping[str, Any], *, name: str, pool_size: int) -> Rival:
  """A critic of that name.

  Args:
    net, tx: see `critic.make`.
    options: keyword arguments of `critic.make`.
    name: of the network.
    pool_size: images that are kept; CycleGAN's are 50.

  Raises:
    UserError: what `critic.make` refuses, or a negative size.
  """
  if options is None:
    raise errors.UserError(
        "method.critic must be a dict, such as dict(gan='lsgan').")
  critic = call(
      critics.make, options, args=(net, tx), where='method.critic')
  prefix = f'{name}/'

  def init(key: Array, *, crop: tuple[int, int]):
    return critic.init(key, crop=crop), pools.init(pool_size, (*crop, 3))

  def persuade(params: Params, real: Array, fake: Array) -> Array:
    still = jax.lax.stop_gradient(fake)
    value, slope = critic.persuade(params, real, still)
    # The slope is all of L_G that a gradient has to know.
    return value + jnp.sum(slope * (fake - still))

  def update(carry, real: Array, fake: Array, key: Array):
    params, opt_state, pool = carry
    key_pool, key_critic = jax.random.split(key)
    pool, shown = pools.exchange(key_pool, pool, fake)
    (params, opt_state), seen = critic.update(
        (params, opt_state), (real, shown, key_critic))
    return ((params, opt_state, pool),
            {prefix + key: value for key, value in seen.items()})

  def watch(lines: Sequence[Metrics]) -> str | None:
    own = [{key.removeprefix(prefix): value for key, value in line.items()
            if key.startswith(prefix)} for line in lines]
    told = critic.watch(own)
    return told and f'{name}: {told}'

  return Rival(init, persuade, update, watch)


def together(
    fn: Callable[[Array], list[Array]], *images: Array) -> list[list[Array]]:
  """fn of several batches [n, ...] in one pass: fewer, larger convolutions."""
  # Row beside row, so that each device keeps its own.
  rows = jnp.stack(images, axis=1)
  made = [x.reshape(len(rows), len(images), *x.shape[1:])
          for x in fn(rows.reshape(-1, *rows.shape[2:]))]
  return [[x[:, i] for x in made] for i in range(len(images))]


def likeness(restored: Array, blur: Array) -> Metrics:
  """How much restored pictures are like the blurry ones, for `watch_pictures`.

  correlation: of the values of each channel about their mean, over a picture;
  change: mean |restored - blur|.
  """
  a, b = (x - x.mean(axis=(1, 2), keepdims=True) for x in (restored, blur))
  total = lambda x: x.sum(axis=(1, 2, 3))
  # A flat picture is like none.
  scale = jnp.sqrt(total(a * a) * total(b * b)) + 1e-6
  return {'correlation': jnp.mean(total(a * b) / scale),
          'change': jnp.mean(jnp.abs(restored - blur))}


def watch_pictures(lines: Sequence[Metrics]) -> str | None:
  """Logged metrics, the newest last -> inverted colours or a collapse."""
  seen = [line['correlation'] for line in lines[-LINES:]]
  if len(seen) < LINES or max(seen) >= STRANGE:
    return None
  if max(seen) < -STRANGE:
    return (f'The colours are inverted: restored and blurry pictures correlate '
            f'by {seen[-1]:.2f} in {LINES} logged steps; begin anew with '
            'another seed, or with more of method.weights.identity.')
  return (f'The generator has collapsed: its pictures do not resemble what it '
          f'is given (a correlation of {seen[-1]:.2f}, below {STRANGE} in '
          f'{LINES} logged steps); lower its learning rate, or '
          'method.weights.adversarial.')


def leave_out(term: str, weights: NamedTuple) -> NamedTuple:
  """The weights with 0 for a term; as they are for NOTHING."""
  zeros = {name: {name: 0.0} for name in weights._fields} | {NOTHING: {}}
  return weights._replace(**errors.look_up(zeros, term, what='method.without'))


def check_weights(weights: NamedTuple) -> NamedTuple:
  """The weights, or a UserError where one is negative or all are 0."""
  for name, weight in weights._asdict().items():
    if weight < 0:
      raise errors.UserError(
          f'method.weights.{name} must be 0 or more, got {weight}.')
  if not any(weights):
    raise errors.UserError('All of method.weights are 0: nothing to learn.')
  return weights
