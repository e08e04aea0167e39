"""What the methods without pairs share: discriminators and alarms.

There is no truth to compare with, so errors show elsewhere. A restored picture
should resemble the blurry one from which it was made. But its colours may be
inverted, which a discriminator of sharp pictures does not see, or it may no
longer depend on the blurry picture at all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax import blur as blurs
from deblur_jax import errors
from deblur_jax.config import call
from deblur_jax.methods import discriminator as discriminators
from deblur_jax.methods import image_buffer
from deblur_jax.state import Array, Metrics, Params, TrainState

STRANGE = 0.2   # below this correlation it is another picture; natural: 0.9
LINES = discriminators.LINES
NOTHING = 'nothing'


class Discriminator(NamedTuple):
  """A discriminator with its buffer of earlier fakes, both by one name.

  Attributes:
    init: (key, crop [height, width]) -> (params, buffer).
    generator_loss: (params, real, fake) -> L_G, whose gradient flows to `fake`
      alone.
    update: (state, real, fake, key) -> (the state with its new parameters,
      optimizer and buffer, metrics as 'NAME/discriminator_loss').
    watch: logged metrics, the newest last -> an alarm in one line, or None.
  """

  init: Callable[..., tuple[Params, image_buffer.Buffer]]
  generator_loss: Callable[[Params, Array, Array], Array]
  update: Callable[..., tuple[TrainState, Metrics]]
  watch: Callable[[Sequence[Metrics]], str | None]


def discriminator(
    net, tx, options: Mapping[str, Any], *, name: str, buffer_size: int
) -> Discriminator:
  """A discriminator with a buffer.

  Args:
    net: images -> map of values.
    tx: its optimizer.
    options: keyword arguments of `discriminator.make`.
    name: of the network.
    buffer_size: images that are kept; CycleGAN keeps 50.

  Raises:
    UserError: what `discriminator.make` refuses, or a negative size.
  """
  if options is None:
    raise errors.UserError(
        "method.discriminator must be a dict, such as dict(gan='lsgan').")
  plain = call(discriminators.make, options, args=(net, tx),
               where='method.discriminator')
  prefix = f'{name}/'

  def init(key: Array, *, crop: tuple[int, int]):
    return (plain.init(key, crop=crop),
            image_buffer.init(buffer_size, (*crop, 3)))

  def generator_loss(params: Params, real: Array, fake: Array) -> Array:
    fixed = jax.lax.stop_gradient(fake)
    value, slope = plain.generator_loss(params, real, fixed)
    # The value of L_G, with its gradient to the fakes alone.
    return value + jnp.sum(slope * (fake - fixed))

  def update(state: TrainState, real: Array, fake: Array, key: Array):
    key_buffer, key_update = jax.random.split(key)
    buffer, fakes = image_buffer.exchange(
        key_buffer, state.buffers[name], fake)
    (params, opt_state), seen = plain.update(
        (state.params[name], state.opt_state[name]), (real, fakes, key_update))
    state = state.replace(
        params=state.params | {name: params},
        opt_state=state.opt_state | {name: opt_state},
        buffers=state.buffers | {name: buffer})
    return state, {prefix + key: value for key, value in seen.items()}

  def watch(lines: Sequence[Metrics]) -> str | None:
    own = [{key.removeprefix(prefix): value for key, value in line.items()
            if key.startswith(prefix)} for line in lines]
    alarm = plain.watch(own)
    return alarm and f'{name}: {alarm}'

  return Discriminator(init, generator_loss, update, watch)


def known_blur(options: Mapping[str, Any]):
  """Builds h of `method.blur`.

  Args:
    options: keyword arguments of `blur.build`.

  Returns:
    The function that `blur.build` returns.

  Raises:
    UserError: `blur.build` refuses the options, or they have a margin.
  """
  synthesise = blurs.from_config(options, where='method.blur')
  if options.get('margin'):
    raise errors.UserError(
        'method.blur.margin makes the pictures smaller than the blurry ones '
        'beside them; leave it out.')
  return synthesise


def together(
    fn: Callable[[Array], list[Array]], *images: Array) -> list[list[Array]]:
  """Applies fn to several batches in one pass: fewer, larger convolutions.

  Args:
    fn: images [m, ...] -> list of images [m, ...], row by row.
    *images: batches [n, ...] of one shape.

  Returns:
    The result of fn for each batch.
  """
  # Row beside row, so that each device keeps its own.
  rows = jnp.stack(images, axis=1)
  made = [x.reshape(len(rows), len(images), *x.shape[1:])
          for x in fn(rows.reshape(-1, *rows.shape[2:]))]
  return [[x[:, i] for x in made] for i in range(len(images))]


def likeness(restored: Array, blur: Array) -> Metrics:
  """Measures how similar restored and blurry pictures are.

  Args:
    restored: [n, h, w, c] in [0, 1].
    blur: the same shape.

  Returns:
    'correlation' of the values of each channel about their mean, averaged over
    pictures, in [-1, 1]; 'change', mean |restored - blur|.
  """
  a, b = (x - x.mean(axis=(1, 2), keepdims=True) for x in (restored, blur))
  total = lambda x: x.sum(axis=(1, 2, 3))
  # The correlation of a flat picture is 0.
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
            f'by {seen[-1]:.2f} in {LINES} logged steps; start again with '
            'another seed, or raise method.weights.identity.')
  return ('The generator has collapsed: its pictures differ from its input '
          f'(a correlation of {seen[-1]:.2f}, below {STRANGE} in {LINES} '
          'logged steps); lower its learning rate, or '
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
