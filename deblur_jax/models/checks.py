"""What all networks refuse, each in one line."""

import jax.numpy as jnp

from deblur_jax import types

DTYPES = ('float32', 'bfloat16', 'float16')


def images(blur: types.Array, *, least: int = 1) -> None:
  """Refuses what is not [n, h, w, 3], or less than `least` high or wide."""
  if blur.ndim != 4 or blur.shape[-1] != 3:
    raise types.UserError(
        f'The network takes images [n, h, w, 3], got {blur.shape}.')
  if min(blur.shape[1:3]) < least:
    raise types.UserError(
        f'The critic takes images of at least {least} x {least} pixels, got '
        f'{blur.shape[1]} x {blur.shape[2]}: raise data.loader.crop.')


def dtype(value) -> None:
  """Refuses a dtype to compute in that is none of `DTYPES`."""
  name = value if isinstance(value, str) else jnp.dtype(value).name
  if name not in DTYPES:
    raise types.UserError(
        f'The dtype must be one of {", ".join(DTYPES)}, got {name}.'
        f'{types.suggest(name, DTYPES)}')


def at_least(least: int, **options) -> None:
  """Refuses options of a network that are smaller than `least`."""
  for name, value in options.items():
    if value < least:
      raise types.UserError(
          f"The network's {name} must be at least {least}, got {value}.")


def share(**options) -> None:
  """Refuses options that are not in [0, 1)."""
  for name, value in options.items():
    if not 0 <= value < 1:
      raise types.UserError(
          f"The network's {name} must be in [0, 1), got {value}.")
