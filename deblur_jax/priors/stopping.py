"""Stopping rules: when the fit of a deep image prior to one image ends.

A prior fits the picture before it fits the noise. A rule gives each step a
score without the truth, lower where the reconstruction is better:

  emv         variance of the last reconstructions, by two moving averages
              (ES-EMV; Wang et al., TMLR 2023, eq. 6)
  wmv         the same over a window of them (ES-WMV; eq. 4)
  held_out    error at values of the picture that the fit does not see
  discrepancy |MSE to the picture - sigma^2|   (Morozov 1966)
  sure        |Stein's unbiased estimate of the MSE|, with the loss 'sure'
              (Jo et al., ICCV 2021: it crosses zero)
  fixed       the last step is the best

The fit of an image stops when the score has had no new minimum for `patience`
steps, and the reconstruction at the minimum is the result. All functions are
for one image, without a batch axis; methods map them over the images.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.config import call
from deblur_jax.state import Array

Memory = dict[str, Array]


class Seen(NamedTuple):
  """What a rule sees of a step.

  Attributes:
    image: the reconstruction [h, w, c].
    fit: scalar, MSE to the values of the picture that the fit sees.
    held_out: scalar, MSE at the values that it does not see.
    sure: scalar, Stein's estimate.
    step: int, number of finished steps before this one.
  """

  image: Array
  fit: Array
  held_out: Array
  sure: Array
  step: Array


class Rule(NamedTuple):
  """A rule.

  Attributes:
    init: zeros of the image's shape -> memory.
    score: (memory, Seen) -> (memory, score); infinite while there is no score.
    patience: steps without a new minimum after which the fit stops; None:
      never.
    held_out: share of the picture's values that the fit must not see, 0 to 1.
  """

  init: Callable[[Array], Memory]
  score: Callable[[Memory, Seen], tuple[Memory, Array]]
  patience: int | None
  held_out: float = 0.0


def build(*, name: str, **options) -> Rule:
  """Makes a rule.

  Args:
    name: a row of RULES.
    **options: of that row.

  Raises:
    UserError: an unknown name or option, a value out of range.
  """
  make = errors.look_up(RULES, name, what='method.stopping.name')
  return call(make, options, where='method.stopping')


def emv(
    *, rate: float = 0.1, warmup: int = 100, patience: int = 1000) -> Rule:
  """m <- m + a d, V <- (1 - a) (V + a |d|^2), with d = x - m.

  Args:
    rate: a, between 0 and 1; about 1 / a steps count.
    warmup: first steps without a score, at least 1: V is that of the start.
    patience: steps, at least 1, see the top of this file.

  Raises:
    UserError: a value out of range.
  """
  _check(patience=patience, warmup=warmup)
  if not 0 < rate < 1:
    raise errors.UserError(
        f'method.stopping.rate must lie between 0 and 1, got {rate}.')

  def init(image: Array) -> Memory:
    return {'mean': jnp.zeros_like(image), 'variance': jnp.zeros(())}

  def score(memory: Memory, seen: Seen):
    # The mean begins as the first image, not as black.
    mean = jnp.where(seen.step == 0, seen.image, memory['mean'])
    away = seen.image - mean
    variance = (1 - rate) * (
        memory['variance'] + rate * jnp.mean(jnp.square(away)))
    memory = {'mean': mean + rate * away, 'variance': variance}
    return memory, jnp.where(seen.step < warmup, jnp.inf, variance)

  return Rule(init, score, patience)


def wmv(*, window: int = 100, patience: int = 1000) -> Rule:
  """1 / W sum over w of |x_w - mean of x|^2, over the last W outputs.

  It keeps W outputs for each image and copies them in every step, which is slow
  for large images. The variance follows from sums of the outputs and of their
  squares, which are computed from the outputs every W steps.

  Args:
    window: W, at least 1.
    patience: steps, at least 1, see the top of this file.

  Raises:
    UserError: a value out of range.
  """
  _check(patience=patience, window=window)

  def init(image: Array) -> Memory:
    return {'images': jnp.zeros((window, *image.shape)),
            'sum': jnp.zeros_like(image), 'square': jnp.zeros(())}

  def score(memory: Memory, seen: Seen):
    place = seen.step % window
    # Around mid-grey the squares and their rounding errors are four times
    # smaller.
    image = seen.image - 0.5
    old = memory['images'][place]
    images = memory['images'].at[place].set(image)
    moved = (memory['sum'] + image - old,
             memory['square'] + _energy(image) - _energy(old))
    total, square = jax.lax.cond(
        place == window - 1,
        lambda: (images.sum(axis=0), jnp.square(images).sum() / image.size),
        lambda: moved)
    variance = square / window - _energy(total / window)
    memory = {'images': images, 'sum': total, 'square': square}
    return memory, jnp.where(seen.step < window - 1, jnp.inf, variance)

  return Rule(init, score, patience)


def held_out(
    *, share: float = 0.1, rate: float = 0.1, warmup: int = 20,
    patience: int = 500) -> Rule:
  """A moving average of the error at a share of the picture's values.

  Args:
    share: of the values, between 0 and 1, drawn once for each image.
    rate: of the average, between 0 and 1; it smooths the effect of the jitter.
    warmup: see `emv`.
    patience: see `emv`.

  Raises:
    UserError: a value out of range.
  """
  _check(patience=patience, warmup=warmup)
  for name, value in (('share', share), ('rate', rate)):
    if not 0 < value < 1:
      raise errors.UserError(
          f'method.stopping.{name} must lie between 0 and 1, got {value}.')
  return Rule(*_moving(lambda seen: seen.held_out, rate, warmup), patience,
              share)


def discrepancy(
    *, sigma: float, rate: float = 0.1, patience: int = 200) -> Rule:
  """Stops where the error is as large as the noise.

  Args:
    sigma: standard deviation of the noise, for values in [0, 1], above 0.
    rate: of the moving average of the MSE, between 0 and 1.
    patience: steps, at least 1, see the top of this file.

  Raises:
    UserError: a value out of range.
  """
  _check(patience=patience)
  if sigma <= 0:
    raise errors.UserError(
        f'method.stopping.sigma must be above 0, got {sigma}.')
  init, fit = _moving(lambda seen: seen.fit, rate, 0)

  def score(memory: Memory, seen: Seen):
    memory, value = fit(memory, seen)
    return memory, jnp.abs(value - sigma**2)

  return Rule(init, score, patience)


def sure(*, rate: float = 0.02, patience: int = 500) -> Rule:
  """Stops where Stein's estimate crosses zero; for the loss 'sure' only.

  Args:
    rate: of the moving average of the estimate, between 0 and 1.
    patience: steps, at least 1, see the top of this file.

  Raises:
    UserError: a value out of range.
  """
  _check(patience=patience)
  init, estimate = _moving(lambda seen: seen.sure, rate, 0)

  def score(memory: Memory, seen: Seen):
    memory, value = estimate(memory, seen)
    return memory, jnp.abs(value)

  return Rule(init, score, patience)


def fixed() -> Rule:
  """Never stops; the last step is the best."""
  return Rule(lambda image: {},
              lambda memory, seen: (memory, -seen.step.astype(jnp.float32)),
              None)


def _moving(pick: Callable[[Seen], Array], rate: float, warmup: int):
  """(init, score) of the moving average of a number."""
  def init(image: Array) -> Memory:
    del image
    return {'value': jnp.zeros(())}

  def score(memory: Memory, seen: Seen):
    old = jnp.where(seen.step == 0, pick(seen), memory['value'])
    value = old + rate * (pick(seen) - old)
    return {'value': value}, jnp.where(seen.step < warmup, jnp.inf, value)

  return init, score


def _energy(image: Array) -> Array:
  return jnp.mean(jnp.square(image))


def _check(**counts: int) -> None:
  for name, count in counts.items():
    if count < 1:
      raise errors.UserError(
          f'method.stopping.{name} must be at least 1, got {count}.')


RULES: Mapping[str, Callable[..., Any]] = {
    'discrepancy': discrepancy,
    'emv': emv,
    'fixed': fixed,
    'held_out': held_out,
    'sure': sure,
    'wmv': wmv,
}
