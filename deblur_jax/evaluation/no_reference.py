"""Evaluates a run on real blurry photos without sharp originals.

No single number decides here: sharpness prefers ringing, naturalness prefers
remaining blur, and an unchanged picture has the least reblur residual. So
several numbers stand side by side, with those of the untouched input and with
the pictures.

  reblur    mean |k * x - y|: the result, blurred again, less the photo. The run
            predicts k; otherwise it is estimated classically from y
  natural   distance of x's gradients from those of natural photos
  niqe      the metric of that name; it needs its file
  objects   how many objects a detector finds with a confidence of at least 0.3,
            and `confidence`, their mean confidence; it needs a detector's file
"""

import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deblur_jax import data, errors
from deblur_jax import metrics as metrics_lib
from deblur_jax.blur import estimate
from deblur_jax.data import images
from deblur_jax.evaluation import test_sets
from deblur_jax.evaluation.detection import detector as detector_lib
from deblur_jax.inference import tiling
from deblur_jax.methods import cycle_physics
from deblur_jax.metrics import gradient_distance, means
from deblur_jax.models import blur_classifier, kernel_estimator
from deblur_jax.ops import bit_depth
from deblur_jax.training import loop, workdir

Path = str | os.PathLike
MIN_CONFIDENCE = 0.3   # of an object that counts as found


def run(
    config: Mapping[str, Any], folder: pathlib.Path, *, photos: Path,
    niqe: Path | None = None, natural_photos: Path | None = None,
    detector: Path | None = None,
    kernel_size: int = 31, gamma: float = 1.0, which: str = 'last',
    limit: int | None = None, name: str = 'no_reference',
    on_picture: Callable[[str, Mapping[str, np.ndarray]], None] = (
        lambda name, pair: None)
) -> dict[str, Any]:
  """Restores the photos of a folder and evaluates the results.

  Args:
    config: the run's config, plain dicts.
    folder: the run's folder; it gets NAME.json and the restored photos in
      NAME_pictures.
    photos: folder of the blurry photos.
    niqe: file of that metric, see `metrics.niqe`; None leaves it out.
    natural_photos: folder of sharp photos with natural gradients; by default
      the few of the built-in test set.
    detector: an ONNX file, see `detector.load`; None leaves objects out.
    kernel_size: side of the kernels if the run predicts none, in pixels; larger
      than the blur.
    gamma: exponent of the camera's response: kernels blur light.
    which: 'last' or 'best' checkpoint, or a step.
    limit: at least 1: only the first `limit` photos are evaluated.
    name: of the file.
    on_picture: called with each name and its 'blur' and 'restored' picture,
      float32 [h, w, 3].

  Returns:
    The content of NAME.json: 'input' and 'mean', the means of the untouched
    photos and of the restored ones; 'natural', the mean distance of natural
    photos from their mean; 'rows', each photo, with the types of blur that the
    run predicts before and after, if it does; 'kernels', their source.

  Raises:
    UserError: no photos, or an error of a file, a metric, the detector or the
      run.
  """
  if limit is not None and limit < 1:
    raise errors.UserError(f'limit must be at least 1, got {limit}.')
  paths = dict(list(images.require(photos).items())[:limit])
  method, state, mesh = test_sets.load_on_one_device(
      config, folder, which=which)
  reference, spread = _reference(natural_photos)
  compute = loop.on_mesh(_metrics(niqe, reference, gamma), mesh)
  detect_objects = _object_detector(detector)
  estimate_blur, is_own = _blur_estimator(
      method, state, config, kernel_size)
  small = [path for path in paths.values()
           if not is_own and min(images.size(path)) < kernel_size]
  if small:
    raise errors.UserError(
        f'{small[0]} is smaller than kernels of {kernel_size}x{kernel_size}: '
        'give a smaller kernel_size, or leave it out.')
  estimate_blur = loop.on_mesh(estimate_blur, mesh)
  restore = tiling.build(method, state, mesh)     # as `deblur` restores
  shutil.rmtree(folder / f'{name}_pictures', ignore_errors=True)
  pictures = errors.make_folder(folder / f'{name}_pictures')
  rows = []
  for photo, path in paths.items():
    blur = bit_depth.to_float(images.read(path))
    pair = {'blur': blur, 'restored': restore(blur).image}
    predicted = {'blur': estimate_blur(state, pair['blur'][None])}
    if 'blur_type' in predicted['blur']:
      predicted['restored'] = estimate_blur(state, pair['restored'][None])
    row = {'name': photo}
    for side, image in pair.items():
      found = compute(
          image[None], pair['blur'][None], predicted['blur']['kernel'])
      row[side] = {key: float(value) for key, value in found.items()}
      row[side] |= detect_objects(image)
      if 'blur_type' in predicted['blur']:
        row[side]['blur_type'] = blur_classifier.NAMES[
            int(predicted[side]['blur_type'].argmax())]
    rows.append(row)
    test_sets.save_pictures(pictures, photo, {'restored': pair['restored']})
    on_picture(photo, pair)
  result = {
      'input': means.over_rows([row['blur'] for row in rows]),
      'mean': means.over_rows([row['restored'] for row in rows]),
      'natural': spread, 'rows': rows, 'photos': str(photos),
      'kernels': 'run' if is_own else 'classical', 'step': int(state.step)}
  workdir.write_json(folder / f'{name}.json', result)
  return result


def _metrics(niqe, reference, gamma):
  """(image, blur, kernels) -> the columns of a photo, [1, h, w, 3] each."""
  columns = metrics_lib.choose({'niqe': {'path': niqe}} if niqe else {})

  def compute(image, blur, kernels):
    return {
        'reblur': cycle_physics.reblur(image, blur, kernels, gamma=gamma),
        'natural': gradient_distance.distance(image, reference)[0],
        **{key: column(image, image)[0] for key, column in columns.items()}}

  return compute


def _object_detector(detector):
  """image -> {'objects', 'confidence'}; nothing without a detector."""
  if detector is None:
    return lambda image: {}
  detect = detector_lib.load(detector, confidence=MIN_CONFIDENCE)

  def detect_objects(image):
    scores = detect(bit_depth.to_uint8(image)).scores
    return {'objects': len(scores),
            'confidence': float(scores.mean()) if len(scores) else 0.0}

  return detect_objects


def _blur_estimator(method, state, config, kernel_size):
  """((state, blur) -> predictions of its blur, whether the run predicts k)."""
  if 'kernel' in test_sets.estimates(method, state, config):
    return method.estimate_blur, True

  def estimate_blur(state, blur):
    predicted = (
        method.estimate_blur(state, blur) if method.estimate_blur else {})
    return predicted | {'kernel': kernel_estimator.Estimate(
        estimate.kernel_of(blur, size=kernel_size))}

  return estimate_blur, False


def _reference(folder):
  """(mean quantiles of natural photos, their mean distance from them)."""
  if folder is None:
    source = data.open_source(name='builtin', split='test')
    photos = (source.read(i)['sharp'] for i in range(len(source.names)))
  else:
    photos = map(images.read, images.require(folder).values())
  each = np.stack([np.asarray(gradient_distance.quantiles(
      bit_depth.to_float(photo)[None]))[0] for photo in photos])
  mean = each.mean(axis=0)
  return mean, float(np.abs(each - mean[None]).mean())
