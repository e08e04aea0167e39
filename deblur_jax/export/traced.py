"""A restoring function as a program for pictures of every size.

JAX follows its sizes as symbols, n, h and w. What is smaller than a network can
be followed for is made that large at its lower and right edge, by repeating the
last row and column, as networks themselves do up to their multiples; a part of
the same program cuts it off again.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import export, lax

from deblur_jax import errors
from deblur_jax.models import layers
from deblur_jax.ops import pad
from deblur_jax.state import Array

Restore = Callable[[Array], Array]

LEAST = tuple(2**i for i in range(8))


class Traced(NamedTuple):
  """restore(blur) as it goes out.

  fn: [n, h, w, 3 * window] to [n, h, w, 3]; sizes may be symbols.
  blur: shape and dtype of its input.
  least: sides below this are enlarged inside.
  """

  fn: Restore
  blur: jax.ShapeDtypeStruct
  least: int

  @property
  def restored(self) -> tuple:
    """Shape of its result."""
    return *self.blur.shape[:3], 3


def trace(
    restore: Restore, *, size: tuple[int, int] | None = None,
    window: int = 1) -> Traced:
  """The function for pictures of every size, or of one.

  Args:
    restore: blur [n, h, w, 3 * window] -> [n, h, w, 3]; weights inside.
    size: (h, w) where only one picture of one size is to be taken.
    window: the frames of a video that it takes.

  Raises:
    UserError: its sizes cannot be followed, or it gives another shape.
  """
  if size is not None:
    blur = jax.ShapeDtypeStruct((1, *size, 3 * window), jnp.float32)
    found = Traced(restore, blur, 1)
    _check(found)
    return found
  reason = _problem(found := _free(restore, LEAST[0], window))
  if reason:
    # Where the largest does not help, none does.
    reason = _problem(_free(restore, LEAST[-1], window))
    if reason:
      raise errors.UserError(
          'This network cannot be followed for pictures of every size '
          f'({reason}); give one size.')
    found = next(one for least in LEAST[1:]
                 if not _problem(one := _free(restore, least, window)))
  return found


def _problem(found: Traced) -> str | None:
  """Why the sizes of a function cannot be followed; None where they can."""
  try:
    _check(found)
    return None
  except errors.UserError:
    raise
  # What it is depends on where the sizes first meet.
  except Exception as error:
    return str(error).splitlines()[0]


def _free(restore, least, window):
  n, h, w, height, width = export.symbolic_shape(
      f'n, h, w, max(h, {least}), max(w, {least})')

  def fn(blur):
    if least == 1:
      return restore(blur)
    blur = jnp.pad(
        blur, ((0, 0), (0, height - h), (0, width - w), (0, 0)), mode='edge')
    return pad.crop(restore(blur), size=(h, w))

  blur = jax.ShapeDtypeStruct((n, h, w, 3 * window), jnp.float32)
  return Traced(fn, blur, least)


def _check(found: Traced):
  restored = jax.eval_shape(found.fn, found.blur)
  if getattr(restored, 'shape', None) != found.restored:
    raise errors.UserError(
        f'Only what restores pictures goes out: of {found.blur.shape} it makes '
        f'{jax.tree.map(jnp.shape, restored)}.')


def with_layers(
    fn: Restore, rows: Mapping[type, Callable[..., Array]]) -> Restore:
  """fn with other programs in the place of some layers.

  Args:
    fn: a function that applies modules.
    rows: kind of module -> fn(module, x), its parameters in
      `module.variables['params']`.
  """
  def intercept(call, args, kwargs, context):
    row = rows.get(type(context.module))
    if row is None or context.method_name != '__call__':
      return call(*args, **kwargs)
    return row(context.module, *args)

  def changed(blur):
    with nn.intercept_methods(intercept):
      return fn(blur)

  return changed


def depthwise(module: layers.Depthwise, x: Array) -> Array:
  """`layers.Depthwise` as one convolution, which other programs know."""
  x, weights = x.astype(module.dtype), module.variables['params']
  y = lax.conv_general_dilated(
      x, weights['kernel'].astype(module.dtype)[:, :, None],
      (module.stride,) * 2, ((1, 1), (1, 1)),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=x.shape[3])
  if not module.use_bias:
    return y
  return y + weights['bias'].astype(module.dtype)[None, None, None, :]
