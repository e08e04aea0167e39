"""One call: `deblur_jax.restore(x)`."""

import os
from typing import Any

import numpy as np

from deblur_jax import errors
from deblur_jax.app import restoring
from deblur_jax.io import pictures


def restore(
    x: Any, *, model: str = restoring.Network().model, tile: int | None = None,
    overlap: int = restoring.Network().overlap, ensemble: bool = False,
    dtype: str | None = None, local: int = 0,
    out: str | os.PathLike | None = None,
    overwrite: bool = False) -> Any:
  """Restores a picture, and gives back what it was given.

  Args:
    x: a path, whose result is written beside it (its path comes back); a Pillow
      image; or an array [h, w], [h, w, 1], [h, w, 3] or [h, w, 4], of uint8 or
      uint16, or of floats in [0, 1].
    model: a name that `deblur models` lists, or the folder of a run.
    tile, overlap, ensemble: see `tiling.build`.
    dtype: what the network computes in, 'float32' or 'bfloat16'.
    local: window of `inference.local`, for networks that take means.
    out: for a path: where the result goes.
    overwrite: for a path: whether it may replace a file.

  Raises:
    UserError: no such file or model, or no picture.
  """
  network = restoring.Network(model, tile, overlap, ensemble, dtype, local)
  if isinstance(x, str | os.PathLike):
    return _file(os.fspath(x), network, out, overwrite)
  if out is not None or overwrite:
    raise errors.UserError('out and overwrite are for paths; x is none.')
  picture = (pictures.from_array(x) if isinstance(x, np.ndarray)
             else pictures.from_pil(x))
  image = restoring.opened(network)(picture.image).image
  if isinstance(x, np.ndarray):
    return pictures.to_array(picture, image, like=x)
  return pictures.to_pil(picture, image)


def _file(path, network, out, overwrite):
  outcome, = restoring.run(
      [path], out=out and os.fspath(out), network=network,
      written=restoring.Written(overwrite=overwrite))
  if outcome.error:
    raise errors.UserError(outcome.error)
  return outcome.target
