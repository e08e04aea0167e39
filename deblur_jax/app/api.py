"""The Python function `deblur_jax.restore`."""

import numbers
import os
import warnings
from typing import Any

import jax
import numpy as np
from PIL import Image

from deblur_jax import errors
from deblur_jax.app import blending, restoring
from deblur_jax.media import output_files, pictures

_SPELLING = output_files.Spelling(
    out='out', overwrite='overwrite=True', skip_existing='', suffix='',
    blur_threshold='blur_threshold=0')


def restore(
    x: Any, *, model: str = restoring.Network().model, tile: int | None = None,
    overlap: int = restoring.Network().overlap, ensemble: bool = False,
    dtype: str | None = restoring.Network().dtype, local: int = 0,
    blur_threshold: float | None = None, region: Any = None,
    strength: float = 1.0,
    out: str | os.PathLike | None = None,
    overwrite: bool = False) -> Any:
  """Restores a picture.

  It warns about properties of the picture that are lost, and about tiles whose
  result was rejected.

  Args:
    x: a path; a Pillow image; or an array of NumPy or JAX, [h, w], [h, w, 1],
      [h, w, 3] or [h, w, 4], of uint8 or uint16, or of floats in [0, 1]. Masked
      values are part of the picture. A memory map is not changed.
    model: a name that `deblur models` lists, or the folder of a run.
    tile: see `tiling.build`.
    overlap: see `tiling.build`.
    ensemble: see `tiling.build`.
    dtype: of the computation, 'float32', 'bfloat16' or 'auto'; see `zoo.load`.
    local: window of `restoration.local`, for networks that average over the
      image.
    blur_threshold: a picture with a lower blur effect is not changed, see
      `restoring.Network`; by default the value on the model's card.
    region: (x, y, width, height) in pixels of the upright picture, or several
      such: only these parts are restored, all other pixels keep their values.
    strength: in [0, 1]: 0 is the original picture, 1 the restored one.
    out: the file for the result, if x is a path; by default in the folder of x.
    overwrite: whether the result may replace a file, if x is a path.

  Returns:
    The restored picture in the form of x; for a path, the path of the result.

  Raises:
    UserError: there is no such file or model, x is no picture, a region is not
      inside of it, or an option has another type or is out of range.
  """
  network = _network(
      model=model, tile=tile, overlap=overlap, ensemble=ensemble, dtype=dtype,
      local=local, blur_threshold=blur_threshold)
  blend = blending.build(region, strength)
  if isinstance(x, str) and '://' in x:
    raise errors.UserError(f'{x} is an address: save the picture first.')
  if isinstance(x, str | os.PathLike):
    return _file(os.fspath(x), network, blend, out, overwrite)
  if out is not None or overwrite:
    raise errors.UserError('out and overwrite are for paths; x is none.')
  if isinstance(x, Image.Image):
    picture = pictures.from_pil(x)
    return pictures.to_pil(picture, _image(picture, network, blend))
  if not isinstance(x, np.ndarray | jax.Array):
    raise errors.UserError(
        f'x is a {type(x).__name__}; restore takes a path, a Pillow image, or '
        'an array.')
  array = np.asarray(x)
  picture = pictures.from_array(array)
  restored = pictures.to_array(
      picture, _image(picture, network, blend), like=array)
  # A conversion may round or clip floats: unchanged pixels are copied.
  unchanged = ~blending.mask(blend, array.shape[:2])
  restored[unchanged] = array[unchanged]
  if isinstance(x, jax.Array):
    return jax.device_put(restored, x.sharding)
  if isinstance(x, np.ma.MaskedArray):
    return np.ma.masked_array(restored, mask=x.mask)
  return np.asmatrix(restored) if isinstance(x, np.matrix) else restored


# Option -> its types, and their description in messages.
_TYPES = {
    'model': ((str, os.PathLike), 'a name or a path'),
    'tile': ((numbers.Integral, type(None)),
             'a whole number, or None, which chooses it'),
    'overlap': (numbers.Integral, 'a whole number'),
    'ensemble': (bool, 'True or False'),
    'dtype': ((str, type(None)), 'a name or None'),
    'local': (numbers.Integral, 'a whole number'),
    'blur_threshold': ((numbers.Real, type(None)), 'a number or None')}


def _network(**options) -> restoring.Network:
  """The network options, after a check of their types."""
  for name, value in options.items():
    types, text = _TYPES[name]
    if not isinstance(value, types) or (
        isinstance(value, bool) and types is not bool):
      raise errors.UserError(f'{name} must be {text}, got {value!r}.')
  return restoring.Network(**options | {'model': os.fspath(options['model'])})


def _image(picture, network, blend):
  image, notes = restoring.restored(
      picture.image, network, blend=blend, spelling=_SPELLING)
  _warn((*picture.notes, *notes))
  return image


def _file(path, network, blend, out, overwrite):
  if os.path.isdir(path):
    raise errors.UserError(
        f'{path} is a folder: give one file, or use `deblur restore`.')
  outcome, = restoring.run(
      [path], out=out and os.fspath(out), network=network, blend=blend,
      written=restoring.Written(overwrite=overwrite, spelling=_SPELLING))
  if outcome.error:
    raise errors.UserError(outcome.error)
  _warn(outcome.notes)
  return outcome.target


def _warn(notes):
  for note in notes:
    warnings.warn(note, stacklevel=4)
