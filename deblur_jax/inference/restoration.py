"""Restores batches of images by a trained method, or by a fit to each."""

import collections
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from deblur_jax import errors
from deblur_jax.ops import frames, local_pooling
from deblur_jax.state import Array, Batch, Method, TrainState
from deblur_jax.training import loop, parallel


class Restored(NamedTuple):
  """A restored image and its time.

  Attributes:
    image: float32 [h, w, 3] in [0, 1].
    seconds: the batch's time divided by the batch size, warm and synchronised.
  """

  image: np.ndarray
  seconds: float


class Fitted(NamedTuple):
  """The fit of a method to each of n images, so far.

  Attributes:
    state: of the method, see `priors.fitting`.
    curve: metric -> [steps, n].
    seconds: of a step for all images, without the first chunk, which includes
      the compilation; NaN if there was only one chunk.
  """

  state: TrainState
  curve: dict[str, np.ndarray]
  seconds: float


def local(method: Method, window: int) -> Method:
  """Makes a method whose networks average over local windows.

  For networks that were trained on crops and average over the image, see
  `ops/local_pooling.py`.

  Args:
    method: with a trained network.
    window: side of the window around each pixel, in pixels; 0 returns the
      method unchanged.

  Returns:
    The method with another `restore`, which raises a UserError where no layer
    averages over the image.
  """
  if not window:
    return method

  def restore(state: TrainState, blur: Array) -> Array:
    with local_pooling.local(window, height=blur.shape[1]) as is_used:
      image = method.restore(state, blur)
    if not is_used():
      raise errors.UserError(
          f'local={window} changes nothing: no layer of this network averages '
          'over the image; leave it out.')
    return image

  identity = method.identity and f'{method.identity} local={window}'
  return method._replace(restore=restore, identity=identity)


def restore_images(
    method: Method, state: TrainState, images: Iterable[np.ndarray],
    mesh: Mesh, *, batch_size: int | None = None
) -> Iterator[Restored]:
  """Restores images in order.

  Consecutive images of one size form batches. A program is compiled for each
  size, so folders of few sizes are faster.

  Args:
    method: a method without `per_image`.
    state: its trained state, on `mesh`.
    images: float32 [h, w, 3] in [0, 1]. A method of several frames takes
      [h, w, 3 * window], or a picture that is repeated for all frames.
    mesh: devices of this process.
    batch_size: a multiple of the number of devices; by default one image for
      each device.

  Yields:
    A `Restored` for each image.

  Raises:
    UserError: the method is fitted to each image, the devices do not divide the
      batch size, or an image has another number of frames.
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
      # The first image fills the last batch of a size.
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
    method: Method, batch: Batch, key: Array, num_steps: int, mesh: Mesh,
    **options) -> Fitted:
  """Fits a method to each image of a batch until all fits have stopped.

  Args:
    method: see `fit_in_chunks`.
    batch: see `fit_in_chunks`.
    key: see `fit_in_chunks`.
    num_steps: see `fit_in_chunks`.
    mesh: see `fit_in_chunks`.
    **options: see `fit_in_chunks`.

  Returns:
    The fit.

  Raises:
    UserError: see `fit_in_chunks`.
  """
  fits = fit_in_chunks(method, batch, key, num_steps, mesh, **options)
  return collections.deque(fits, maxlen=1).pop()


def fit_in_chunks(
    method: Method, batch: Batch, key: Array, num_steps: int, mesh: Mesh, *,
    chunk: int = 50, run_chunk: Callable | None = None,
    state: TrainState | None = None,
    curve: Mapping[str, np.ndarray] | None = None) -> Iterator[Fitted]:
  """Fits a method to each image of a batch, and yields the fit so far.

  Args:
    method: one with `per_image`.
    batch: its arrays, [n, ...].
    key: a PRNG key. The result for an image depends only on the key and the
      image, not on the batch size.
    num_steps: greatest number of steps, a multiple of `chunk`.
    mesh: the devices, over which the images are distributed.
    chunk: number of steps between checks of the stopping rule.
    run_chunk: `loop.make_chunk(method, steps=chunk, mesh=mesh)`, compiled once
      for many batches of one shape.
    state: the initial state; by default from the method's `init`.
    curve: where `state` is of a resumed fit, the curve of its finished steps,
      fewer than `num_steps`.

  Yields:
    The fit after each chunk. Its state is donated to the next chunk: read it
    before the next iteration.

  Raises:
    UserError: the method learns from pairs, `num_steps` is no multiple of
      `chunk`, or the devices do not divide the number of images.
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
  curves, seconds = [dict(curve)] if curve else [], []
  finished = len(curve['loss']) if curve else 0
  for _ in range((num_steps - finished) // chunk):
    start = time.perf_counter()
    state, part = run(state, batch, key)
    curves.append(jax.tree.map(np.asarray, part))
    seconds.append((time.perf_counter() - start) / chunk)
    yield Fitted(
        state, jax.tree.map(lambda *parts: np.concatenate(parts), *curves),
        float(np.mean(seconds[1:]) if seconds[1:] else np.nan))
    if curves[-1]['stopped'][-1].all():
      break


def receptive_field(
    method: Method, state: TrainState, mesh: Mesh, *, block: int = 32,
    longest: int = 2048) -> int | None:
  """Measures the radius of a network's receptive field.

  NaN spreads to every pixel that depends on it. A column of NaN, `block` pixels
  wide, makes the result independent of the network's strides.

  Args:
    method: a method without `per_image`.
    state: its trained state.
    mesh: one device.
    block: width of the column, a multiple of the network's strides.
    longest: width of the picture, in pixels.

  Returns:
    The radius in pixels; None if it is the whole picture.
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
