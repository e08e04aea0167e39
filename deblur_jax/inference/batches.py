"""Images in, images out: through a trained method, or by a fit to each."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from deblur_jax import errors
from deblur_jax.ops import frames, statistics
from deblur_jax.state import Array, Batch, Method, TrainState
from deblur_jax.training import loop, parallel


class Restored(NamedTuple):
  """A restored image, float32 [h, w, 3] in [0, 1], and what it took."""

  image: np.ndarray
  seconds: float  # share of its batch's time, warm and synchronised


class Fitted(NamedTuple):
  """The fit of a method to each of n images, so far.

  state: of the method, see `priors.fitting`.
  curve: metric -> [steps, n].
  seconds: of a step, all images together, without the first chunk, which
    compiles; NaN where there was only that.
  """

  state: TrainState
  curve: dict[str, np.ndarray]
  seconds: float


def local(method: Method, window: int) -> Method:
  """The method with means over `window` pixels around each, not all of them.

  For networks that learnt on crops and take means over the image: see
  `ops/statistics.py`. A window of 0 leaves the method as it is.
  """
  if not window:
    return method

  def restore(state: TrainState, blur: Array) -> Array:
    with statistics.local(window, height=blur.shape[1]):
      return method.restore(state, blur)

  identity = method.identity and f'{method.identity} local={window}'
  return method._replace(restore=restore, identity=identity)


def restore_images(
    method: Method, state: TrainState, images: Iterable[np.ndarray],
    mesh: Mesh, *, batch_size: int | None = None
) -> Iterator[Restored]:
  """Restores images one after another, in their order.

  Neighbours of one size go through the network together; a program is compiled
  for each size, so folders of few sizes are the quickest.

  Args:
    method: a method without `per_image`.
    state: its trained state, on `mesh`.
    images: float32 [h, w, 3] in [0, 1]; for a method of several frames these,
      [h, w, 3 * window], or a picture that stands for all of them.
    mesh: devices of this process.
    batch_size: a multiple of the devices; by default one image a device.

  Yields:
    A `Restored` for each image.
  """
  if method.per_image:
    raise errors.UserError('This method is fitted to each image.')
  batch_size = batch_size or mesh.size
  parallel.check_batch_size(batch_size, mesh)
  restore = loop.on_mesh(method.restore, mesh)
  split = parallel.split_batch(mesh)
  known = set()
  blurs = (frames.still(image, window=method.window) for image in images)
  for shape, group in itertools.groupby(blurs, key=np.shape):
    while batch := list(itertools.islice(group, batch_size)):
      # The last batch of a size is filled up with its first image.
      filled = [*batch] + [batch[0]] * (batch_size - len(batch))
      blur = parallel.put(np.stack(filled), split)
      if shape not in known:
        jax.block_until_ready(restore(state, blur))
        known.add(shape)
      start = time.perf_counter()
      sharp = jax.block_until_ready(restore(state, blur))
      seconds = (time.perf_counter() - start) / batch_size
      for image in np.asarray(sharp)[:len(batch)]:
        yield Restored(np.clip(image, 0, 1), seconds)


def fit_images(
    method: Method, batch: Batch, key: Array, num_steps: int, mesh: Mesh, *,
    on_chunk: Callable[[int], None] | None = None, **options) -> Fitted:
  """Fits a method to each image of a batch, until all fits have stopped.

  Args:
    method, batch, key, num_steps, mesh, **options: see `fit_in_chunks`.
    on_chunk: called with the finished steps.

  Raises:
    UserError: see `fit_in_chunks`.
  """
  for fitted in fit_in_chunks(
      method, batch, key, num_steps, mesh, **options):
    if on_chunk:
      on_chunk(len(fitted.curve['loss']))
  return fitted


def fit_in_chunks(
    method: Method, batch: Batch, key: Array, num_steps: int, mesh: Mesh, *,
    chunk: int = 50, run_chunk: Callable | None = None,
    state: TrainState | None = None) -> Iterator[Fitted]:
  """Fits a method to each image of a batch, and gives the fit so far.

  Args:
    method: one with `per_image`.
    batch: its arrays, a row for each image.
    key: of the run; one key and one image give the same result in a batch of
      any size.
    num_steps: at most, a multiple of `chunk`.
    mesh: the devices, over which the images are spread.
    chunk: steps from one look at the stops to the next.
    run_chunk: `loop.make_chunk(method, steps=chunk, mesh=mesh)`, to compile it
      once for many batches of one shape.
    state: the first one; by default the method's.

  Yields:
    The fit after each chunk. Its state is donated to the next chunk: read it
    before the next fit is asked for.

  Raises:
    UserError: a method that learns from pairs, images that cannot be spread
      evenly over the devices.
  """
  if not method.per_image:
    raise errors.UserError('This method does not fit images one by one.')
  if num_steps < 1 or num_steps % chunk:
    raise errors.UserError(
        f'{num_steps} steps are not a multiple of the chunk of {chunk}.')
  parallel.check_batch_size(len(batch['observed']), mesh)
  if state is None:
    state = method.init(key, batch)
  state = loop.spread(state, mesh)
  batch = parallel.put(
      jax.tree.map(np.asarray, dict(batch)), parallel.split_batch(mesh))
  run = run_chunk or loop.make_chunk(method, steps=chunk, mesh=mesh)
  key = parallel.put_key(key, mesh)
  curves, seconds = [], []
  for _ in range(num_steps // chunk):
    start = time.perf_counter()
    state, curve = run(state, batch, key)
    curves.append(jax.tree.map(np.asarray, curve))
    seconds.append((time.perf_counter() - start) / chunk)
    yield Fitted(
        state, jax.tree.map(lambda *parts: np.concatenate(parts), *curves),
        float(np.mean(seconds[1:]) if seconds[1:] else np.nan))
    if curves[-1]['stopped'][-1].all():
      break


def receptive_field(
    method: Method, state: TrainState, mesh: Mesh, *, block: int = 32,
    longest: int = 2048) -> int | None:
  """How many pixels away from a pixel the result still depends on it.

  What is not a number goes wherever a pixel goes: one column of the picture is
  that, `block` pixels wide, so that steps of the network do not count.

  Args:
    method: a method without `per_image`.
    state: its trained state.
    mesh: one device.
    block: a multiple of the steps.
    longest: width of a picture.

  Returns:
    None where it is all of the picture.
  """
  left = longest // 2
  picture = np.zeros((1, 2 * block, longest, 3), np.float32)
  picture[:, :, left:left + block] = np.nan
  blur = frames.still(picture, window=method.window)
  result = loop.on_mesh(method.restore, mesh)(state, blur)
  touched = np.flatnonzero(np.isnan(np.asarray(result)).any((0, 1, 3)))
  if touched[0] == 0 and touched[-1] == longest - 1:
    return None
  return int(max(left - touched[0], touched[-1] - left - block + 1))
