"""Checks of options and inputs that the networks share."""

import flax.linen as nn
import jax.numpy as jnp

from deblur_jax import errors
from deblur_jax.state import Array

DTYPES = ('float32', 'bfloat16', 'float16')


def images(blur: Array, *, least: int = 1, window: int = 1) -> None:
  """Refuses images that a network cannot take.

  Args:
    blur: should be [n, h, w, 3 * window].
    least: the least height and width, in pixels.
    window: frames of a video.

  Raises:
    UserError: they have another shape or are smaller.
  """
  if blur.ndim != 4 or blur.shape[-1] != 3 * window:
    raise errors.UserError(
        f'The network takes images [n, h, w, {3 * window}], got {blur.shape}.')
  if any(side < least for side in blur.shape[1:3]):
    raise errors.UserError(
        f'The network takes images of at least {least} x {least} pixels, got '
        f'{blur.shape[1]} x {blur.shape[2]}: take larger crops.')


def code(net: nn.Module, z: Array) -> None:
  """Refuses codes that a prior cannot take.

  Args:
    net: the prior, with a `depth`.
    z: should be [n, h, w, depth].

  Raises:
    UserError: it has another shape.
  """
  if z.ndim != 4 or z.shape[-1] != net.depth:
    raise errors.UserError(
        f'The network takes codes [n, h, w, {net.depth}], got {z.shape}.')


def dtype(value) -> None:
  """Refuses a dtype that is not in `DTYPES`.

  Args:
    value: a name or a dtype.

  Raises:
    UserError: another one.
  """
  # A config may have a list or a number here.
  is_type = isinstance(value, type | jnp.dtype)
  name = jnp.dtype(value).name if is_type else value
  if not isinstance(name, str) or name not in DTYPES:
    raise errors.UserError(
        f'The dtype must be one of {", ".join(DTYPES)}, got '
        f'{errors.shown(name)}.'
        f'{errors.suggest(name, DTYPES)}')


def at_least(least: int, **options) -> None:
  """Refuses options that are too small.

  Args:
    least: the smallest value.
    **options: name -> value.

  Raises:
    UserError: a value is smaller.
  """
  for name, value in options.items():
    if value < least:
      raise errors.UserError(
          f"The network's {name} must be at least {least}, got {value}.")


def between(least: int, most: int, **options) -> None:
  """Refuses options that are out of a range.

  Args:
    least: the smallest value.
    most: the largest value.
    **options: name -> value.

  Raises:
    UserError: a value is not in [least, most].
  """
  for name, value in options.items():
    if not least <= value <= most:
      raise errors.UserError(
          f"The network's {name} must be between {least} and {most}, got "
          f'{value}.')


def odd(**options) -> None:
  """Refuses kernel sizes that are not odd and positive.

  Args:
    **options: name -> list of sizes.

  Raises:
    UserError: a size is even or below 1.
  """
  for name, values in options.items():
    if any(value < 1 or value % 2 == 0 for value in values):
      raise errors.UserError(
          f"The network's {name} must be odd, got {list(values)}.")


def share(**options) -> None:
  """Refuses shares that are not in [0, 1).

  Args:
    **options: name -> value.

  Raises:
    UserError: a value is not in [0, 1).
  """
  for name, value in options.items():
    if not 0 <= value < 1:
      raise errors.UserError(
          f"The network's {name} must be in [0, 1), got {value}.")
