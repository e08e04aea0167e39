"""Global operations of networks, or at test time local ones (TLC).

A network that was trained on small crops has other statistics when its layers
average over a whole photograph, or attend to all of it. Within `local` they
take a window about as large as the crops (TLC: Chu et al., ECCV 2022). The
layers' weights stay the same.
"""

import contextlib
import contextvars
import itertools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.state import Array

# (side of the window, height of the image), in pixels of the image, and a list
# that is no longer empty where a layer has asked for them.
_window = contextvars.ContextVar('window', default=None)


@contextlib.contextmanager
def local(window: int, *, height: int) -> Iterator[Callable[[], bool]]:
  """Makes the functions below local for networks traced in this context.

  Args:
    window: side in pixels of the network's input, 1 or more; TLC uses 1.5 times
      the crops' side.
    height: of the network's input; the window of coarser features is smaller by
      the power of two that is nearest to the ratio of the heights.

  Yields:
    () -> whether a layer has asked for its window.

  Raises:
    UserError: window is below 1.
  """
  if window < 1:
    raise errors.UserError(f'The window must be at least 1, got {window}.')
  asked = []
  token = _window.set((window, height, asked))
  try:
    yield lambda: bool(asked)
  finally:
    _window.reset(token)


def local_by_default(
    window: int, *, height: int) -> contextlib.AbstractContextManager:
  """`local`, except where the caller of the network has chosen a window.

  Args:
    window: as of `local`; 0 changes nothing.
    height: as of `local`.

  Returns:
    The context.
  """
  if not window or _window.get() is not None:
    return contextlib.nullcontext()
  return local(window, height=height)


def mean(x: Array) -> Array:
  """Averages over the pixels of each image.

  In `local` each pixel gets the mean of the window around it, at the border
  that of the last whole window. A window as large as the image is the image.

  Args:
    x: [n, h, w, c].

  Returns:
    float32 [n, 1, 1, c], or [n, h, w, c] in `local`.
  """
  x = x.astype(jnp.float32)
  centre = x.mean(axis=(1, 2), keepdims=True)
  side = _side(x)
  if side is None:
    return centre
  y = x - centre     # smaller sums have smaller rounding errors
  for axis in (1, 2):
    y = _box(y, min(side, x.shape[axis]), axis=axis)
  return centre + y


def maximum(x: Array) -> Array:
  """Takes the maximum over the pixels of each image, or of windows.

  Args:
    x: [n, h, w, c].

  Returns:
    The shape of `mean`.
  """
  x = x.astype(jnp.float32)
  side = _side(x)
  if side is None:
    return x.max(axis=(1, 2), keepdims=True)
  for axis in (1, 2):
    length = x.shape[axis]
    part = min(side, length)
    x = jnp.take(
        sliding(jnp.maximum, x, part, axis=axis), _firsts(length, part),
        axis=axis)
  return x


def sliding(
    fn: Callable[[Array, Array], Array], x: Array, length: int, *, axis: int
) -> Array:
  """Combines all windows along an axis, from those of half the length.

  Args:
    fn: of two arrays, element by element: jnp.maximum or jnp.minimum.
    x: any array.
    length: of the windows, 1 to the length of the axis.
    axis: of x.

  Returns:
    An array with the windows' values in the order of their first elements.
  """
  done = 1
  while done < length:
    step = min(done, length - done)
    count = x.shape[axis] - step
    x = fn(jax.lax.slice_in_dim(x, 0, count, axis=axis),
           jax.lax.slice_in_dim(x, step, step + count, axis=axis))
    done += step
  return x


def moments(x: Array) -> tuple[Array, Array]:
  """Computes means and biased variances over the pixels of each image.

  In `local` they are those of the windows of `mean`, as in TLC's instance norm:
  E[x^2] - E[x]^2.

  Args:
    x: [n, h, w, c].

  Returns:
    Mean and variance, each of the shape of `mean`.
  """
  x = x.astype(jnp.float32)
  centre = x.mean(axis=(1, 2), keepdims=True)
  y = x - centre     # the difference below loses less to rounding
  squares = mean(y**2)
  if _side(x) is None:
    return centre, squares
  shift = mean(y)
  return centre + shift, jnp.maximum(squares - shift**2, 0)


def over_squares(fn: Callable[[Array], Array], x: Array) -> Array:
  """Applies a function to images, or in `local` to squares of them.

  The squares have the side of the window and cover the image; the results are
  averaged where they overlap.

  Args:
    fn: [n, h, w, c] -> [n, h, w, d], for any h and w.
    x: [n, h, w, c].

  Returns:
    [n, h, w, d], of the dtype of fn.
  """
  side = _side(x)
  if side is None:
    return fn(x)
  sides = [min(side, length) for length in x.shape[1:3]]
  starts = [_starts(length, part)
            for length, part in zip(x.shape[1:3], sides, strict=True)]
  total, count = 0.0, np.zeros((1, *x.shape[1:3], 1), np.float32)
  for top, left in itertools.product(*starts):
    place = (slice(None), slice(top, top + sides[0]),
             slice(left, left + sides[1]))
    part = fn(x[place])
    around = ((0, 0), (top, x.shape[1] - top - sides[0]),
              (left, x.shape[2] - left - sides[1]), (0, 0))
    total = total + jnp.pad(part.astype(jnp.float32), around)
    count[place] += 1
  return (total / count).astype(part.dtype)


def _side(x):
  """The window's side in pixels of x; None if it is the whole image."""
  if _window.get() is None:
    return None
  window, height, asked = _window.get()
  asked.append(True)
  if not all(isinstance(side, int) for side in (height, *x.shape[1:3])):
    raise errors.UserError(
        f'A file for pictures of every size has no local windows: set the '
        f"network's local={window} to 0, or choose a kind for one size.")
  halvings = max(0, round(math.log2(height / x.shape[1])))
  side = max(1, window // 2**halvings)
  return side if side < max(x.shape[1:3]) else None


def _box(x, side, *, axis):
  """Means of `side` values along an axis; at its ends the last whole window."""
  length = x.shape[axis]
  sums = jnp.cumsum(x, axis=axis)
  sums = jnp.concatenate([jnp.zeros_like(
      jnp.take(sums, jnp.array([0]), axis=axis)), sums], axis=axis)
  firsts = _firsts(length, side)
  return (jnp.take(sums, firsts + side, axis=axis)
          - jnp.take(sums, firsts, axis=axis)) / side


def _firsts(length, side):
  """The first value of the window of each value of an axis.

  A window of even side has one value more after the pixel than before it.
  """
  return jnp.clip(jnp.arange(length) - (side - 1) // 2, 0, length - side)


def _starts(length, side):
  """First pixels of as few parts as cover a length, evenly spaced."""
  count = -(-length // side)
  step = -(-(length - side) // max(count - 1, 1))
  return [min(i * step, length - side) for i in range(count)]
