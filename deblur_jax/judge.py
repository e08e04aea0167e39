"""A run on real blurry photos, of which nobody has the sharp ones.

No single number can tell here: sharpness prefers ringing, naturalness prefers
what was left blurry, and a picture that did not change explains itself. So
three of them side by side, always with the untouched input, and the pictures.

  reblur    mean |k * x - y|: does the result, blurred again, give the photo?
            k is told by the run, or else estimated classically from y
  natural   distance of x's gradients from those of natural photos
  niqe      the metric of that name; needs its file
"""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from deblur_jax import (
    data,
    evaluate,
    loop,
    methods,
    parallel,
    restore,
    types,
    workdir,
)
from deblur_jax import metrics as metrics_lib
from deblur_jax.blur import estimate
from deblur_jax.data import images
from deblur_jax.methods import cycle_physics
from deblur_jax.metrics import natural
from deblur_jax.models import blur_type, kernel_estimator

Path = str | os.PathLike


def run(
    config: Mapping[str, Any], folder: pathlib.Path, *, photos: Path,
    niqe: Path | None = None, natural_photos: Path | None = None,
    size: int = 31, gamma: float = 1.0, which: str = 'last',
    limit: int | None = None, name: str = 'judge',
    on_picture: Callable[[str, Mapping[str, np.ndarray]], None] = (
        lambda name, shown: None)
) -> dict[str, Any]:
  """Restores the photos of a folder and judges them without their truth.

  Args:
    config: the run's config, plain dicts.
    folder: the run's folder; it gets NAME.json and the restored photos in
      NAME_pictures.
    photos: the folder.
    niqe: file of that metric, see `metrics.niqe`; without it, it is left out.
    natural_photos: folder of sharp photos whose gradients are natural; by
      default those of the built-in test set, which are few.
    size: of the kernels where the run tells none; larger than the blur.
    gamma: of the camera: light is what kernels blur.
    which: 'last' or 'best' checkpoint, or a step.
    limit: look at the first so many photos only.
    name: of the file.
    on_picture: called with each name and its 'blur' and 'restored' picture,
      float32 [h, w, 3].

  Returns:
    What NAME.json holds: 'input' and 'mean', the means of the untouched photos
    and of the restored ones; 'natural', the mean distance of natural photos
    from their mean; 'rows', each photo, with the types of blur that the run
    tells of it before and after, if it tells any; 'kernels', whose they are.

  Raises:
    UserError: no photos, or what a file, a metric or the run refuses.
  """
  paths = _first(images.find(photos), limit, where=photos)
  method = methods.build(config, from_checkpoint=True)
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  state = parallel.put(
      jax.tree.map(np.asarray, evaluate.load(
          config, method, folder, which=which)), parallel.replicated(mesh))
  reference, spread = _reference(natural_photos)
  measure = loop.on_mesh(_measure(niqe, reference, gamma), mesh)
  look, own = _look(method, state, config, size)
  look = loop.on_mesh(look, mesh)
  pictures = types.make_folder(folder / f'{name}_pictures')
  read = lambda path: images.to_float(images.read(path))
  rows = []
  for (photo, path), restored in zip(paths.items(), restore.restore_images(
      method, state, map(read, paths.values()), mesh), strict=True):
    shown = {'blur': read(path), 'restored': restored.image}
    told = {'blur': look(state, shown['blur'][None])}
    if 'blur_type' in told['blur']:
      told['restored'] = look(state, restored.image[None])
    row = {'name': photo}
    for side, image in shown.items():
      found = measure(image[None], shown['blur'][None], told['blur']['kernel'])
      row[side] = {key: float(value) for key, value in found.items()}
      if 'blur_type' in told['blur']:
        row[side]['blur_type'] = blur_type.NAMES[
            int(told[side]['blur_type'].argmax())]
    rows.append(row)
    evaluate.save_pictures(pictures, photo, {'restored': restored.image})
    on_picture(photo, shown)
  result = {
      'input': _means([row['blur'] for row in rows]),
      'mean': _means([row['restored'] for row in rows]),
      'natural': spread, 'rows': rows, 'photos': str(photos),
      'kernels': 'run' if own else 'classical', 'step': int(state.step)}
  workdir.write_json(folder / f'{name}.json', result)
  return result


def _measure(niqe, reference, gamma):
  """(image, blur, kernels) -> the columns of a photo, [1, h, w, 3] each."""
  columns = metrics_lib.choose({'niqe': {'path': niqe}} if niqe else {})

  def measure(image, blur, kernels):
    told = {
        'reblur': cycle_physics.reblur(image, blur, kernels, gamma=gamma),
        'natural': natural.distance(image, reference)[0]}
    return told | {key: column(image, image)[0]
                   for key, column in columns.items()}

  return measure


def _look(method, state, config, size):
  """((state, blur) -> what is told of its blur, whether the run tells k)."""
  crop = config['data']['loader']['crop']
  shape = jax.ShapeDtypeStruct((1, crop, crop, 3), np.float32)
  if method.tell and 'kernel' in jax.eval_shape(method.tell, state, shape):
    return method.tell, True

  def look(state, blur):
    told = method.tell(state, blur) if method.tell else {}
    return told | {'kernel': kernel_estimator.Estimate(
        estimate.kernel_of(blur, size=size))}

  return look, False


def _reference(folder):
  """(mean quantiles of natural photos, their mean distance from them)."""
  if folder is None:
    source = data.open_source(name='builtin', split='test')
    photos = (source.read(i)['sharp'] for i in range(len(source.names)))
  else:
    photos = map(images.read, _first(
        images.find(folder), None, where=folder).values())
  each = np.stack([np.asarray(natural.quantiles(
      images.to_float(photo)[None]))[0] for photo in photos])
  mean = each.mean(axis=0)
  return mean, float(np.abs(each - mean[None]).mean())


def _first(found, limit, *, where):
  if limit is not None and limit < 1:
    raise types.UserError(f'limit must be at least 1, got {limit}.')
  if not found:
    raise types.UserError(f'{where}: no pictures there.')
  return dict(list(found.items())[:limit])


def _means(rows):
  return {key: float(np.mean([row[key] for row in rows]))
          for key, value in rows[0].items() if not isinstance(value, str)}
