"""Traces a restoring function for pictures of all sizes.

JAX traces it with the symbolic sizes n, h and w. Some networks can be traced
only for sizes from a bound on. Their program enlarges smaller pictures to this
bound by repeating the last row and column, and crops the result.
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

MULTIPLES = tuple(2**i for i in range(8))


class Traced(NamedTuple):
  """A restoring function and the shape of its input.

  Attributes:
    fn: [n, h, w, 3 * window] -> [n, h, w, 3].
    blur: shape and dtype of the input; sizes may be symbolic.
    least: fn enlarges sides below this.
  """

  fn: Restore
  blur: jax.ShapeDtypeStruct
  least: int

  @property
  def restored(self) -> tuple:
    """The shape of the result."""
    return *self.blur.shape[:3], 3


def trace(
    restore: Restore, *, size: tuple[int, int] | None = None,
    window: int = 1) -> Traced:
  """Traces a function for pictures of all sizes, or of one.

  Args:
    restore: blur [n, h, w, 3 * window] -> [n, h, w, 3], with its weights.
    size: (h, w) for a single picture of one size; None is all sizes.
    window: number of frames of a video network.

  Returns:
    The traced function.

  Raises:
    UserError: it cannot be traced with symbolic sizes, or its result has
      another shape.
  """
  if size is not None:
    blur = jax.ShapeDtypeStruct((1, *size, 3 * window), jnp.float32)
    found = Traced(restore, blur, 1)
    _check(found)
    return found
  reason = _problem(found := _free(restore, MULTIPLES[0], window))
  if reason:
    # If the largest bound does not help, no bound does.
    reason = _problem(_free(restore, MULTIPLES[-1], window))
    if reason:
      raise errors.UserError(
          'This network cannot be traced for pictures of every size '
          f'({reason}); give one size.')
    found = next(one for least in MULTIPLES[1:]
                 if not _problem(one := _free(restore, least, window)))
  return found


def _problem(found: Traced) -> str | None:
  """Why a function cannot be traced with symbolic sizes; None if it can."""
  try:
    _check(found)
    return None
  except errors.UserError:
    raise
  # The class of the error depends on the operation that fails.
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
        'Only functions that restore pictures can be exported: for '
        f'{found.blur.shape} this one returns '
        f'{jax.tree.map(jnp.shape, restored)}.')


def with_layers(
    fn: Restore, rows: Mapping[type, Callable[..., Array]]) -> Restore:
  """Replaces layers of a network by other functions.

  Args:
    fn: a function that applies modules.
    rows: class of module -> function (module, x), which finds its parameters in
      `module.variables['params']`.

  Returns:
    The function with these layers.
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
  """Computes `layers.Depthwise` as one grouped convolution.

  Args:
    module: the layer.
    x: [n, h, w, c].

  Returns:
    [n, ceil(h / stride), ceil(w / stride), c].
  """
  x, weights = x.astype(module.dtype), module.variables['params']
  y = lax.conv_general_dilated(
      x, weights['kernel'].astype(module.dtype)[:, :, None],
      (module.stride,) * 2, ((1, 1), (1, 1)),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=x.shape[3])
  if not module.use_bias:
    return y
  return y + weights['bias'].astype(module.dtype)[None, None, None, :]
