"""Images in, images out: batches of one size through a trained method."""

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from deblur_jax import loop, parallel, types
from deblur_jax.types import Method, TrainState


class Restored(NamedTuple):
  """A restored image, float32 [h, w, 3] in [0, 1], and what it took."""

  image: np.ndarray
  seconds: float  # share of its batch's time, warm and synchronised


def restore_images(
    method: Method, state: TrainState, images: Iterable[np.ndarray],
    mesh: Mesh, *, batch_size: int | None = None
) -> Iterator[Restored]:
  """Restores images one after another, in their order.

  Neighbours of one size go through the network together; a program is compiled
  for each size, so folders of few sizes are the quickest.

  Args:
    method: a method that does not fit each image anew.
    state: its trained state, on `mesh`.
    images: float32 [h, w, 3] in [0, 1].
    mesh: devices of this process.
    batch_size: a multiple of the devices; by default one image a device.

  Yields:
    A `Restored` for each image.
  """
  if method.per_image:
    raise types.UserError('This method fits each image anew.')
  batch_size = batch_size or mesh.size
  parallel.check_batch_size(batch_size, mesh)
  restore = loop.on_mesh(method.restore, mesh)
  split = parallel.split_batch(mesh)
  known = set()
  for shape, group in itertools.groupby(images, key=np.shape):
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
