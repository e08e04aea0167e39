"""Evaluates the predictions of a run about blur: its kernels and its types.

Held-out photos are blurred by known kernels and types. Kernels come from files,
so they may be those of real cameras. Blind methods find a kernel up to a shift,
so the best shift counts.
"""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import blur as blurs
from deblur_jax import errors
from deblur_jax.blur import estimate, exposure, operators
from deblur_jax.blur import kernels as kernels_lib
from deblur_jax.data import images, kernel_files, sampler
from deblur_jax.evaluation import test_sets
from deblur_jax.methods import kernel_estimation as kernel_method
from deblur_jax.models import blur_classifier
from deblur_jax.ops import bit_depth
from deblur_jax.training import loop, workdir

Path = str | os.PathLike
DRAWS = 4      # random blurs of a photo
FAINT = 0.01   # share of a kernel's maximum: borders below it are cut off


def kernels(
    config: Mapping[str, Any], folder: pathlib.Path, *, photos: Path,
    kernels: Path, crop: int = 128, gamma: float = 1.0,
    limit: int | None = None, classical: bool = False, seed: int = 0,
    which: str = 'last', on_kernel: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
  """The similarity of the kernels that a run predicts to the true ones.

  Args:
    config: the run's config, plain dicts.
    folder: the run's folder; it gets kernels.json.
    photos: folder of sharp pictures that are not in its training set; kernel i
      blurs the middle of the i-th.
    kernels: see `kernel_files.read_all`. Kernels that are larger than the run's
      size, without their faint borders, are left out and counted.
    crop: side of the middle, in pixels.
    gamma: exponent of the camera's response: kernels blur light.
    limit: at least 1: how many kernels, evenly spaced over all.
    classical: whether `estimate.kernel_of` is evaluated too.
    seed: of the order of the photos.
    which: 'last' or 'best' checkpoint, or a step.
    on_kernel: called with the number of kernels done.

  Returns:
    The content of kernels.json: 'rows' of 'name', 'photo', 'likeness' (see
    `blur.kernels.likeness`) and, if chosen, 'classical'; the medians of both;
    'kernels' and 'left_out', their numbers.

  Raises:
    UserError: a run that predicts no kernels, no kernel that fits, pictures
      smaller than `crop`, or an error of a file.
  """
  method, state, mesh, shape = _run(config, folder, 'kernel', which)
  size = shape.kernels.shape[-1]
  named = kernel_files.read_all(kernels)
  fitting = {name: fitted for name, kernel in named.items()
             if (fitted := _fit(kernel, size)) is not None}
  if not fitting:
    raise errors.UserError(
        f'{kernels}: none of {len(named)} kernels fits into {size}x{size}.')
  chosen = _evenly(list(fitting), limit)
  paths = images.require(photos)
  order = np.random.default_rng(seed).permutation(len(paths))
  compare = loop.on_mesh(
      lambda state, sharp, kernel: _compare(
          method, state, sharp, kernel, gamma, size if classical else None),
      mesh)
  rows = []
  for number, name in enumerate(chosen):
    photo = list(paths)[order[number % len(paths)]]
    sharp = middle(images.read(paths[photo]), crop, where=paths[photo])
    predicted = compare(state, sharp[None], fitting[name][None])
    rows.append({'name': name, 'photo': photo,
                 **{key: float(value) for key, value in predicted.items()}})
    on_kernel(len(rows))
  result = {key: float(np.median([row[key] for row in rows]))
            for key in rows[0] if key not in ('name', 'photo')} | {
                'rows': rows, 'kernels': len(rows),
                'left_out': len(named) - len(fitting), 'size': size,
                'crop': crop, 'step': int(state.step)}
  workdir.write_json(folder / 'kernels.json', result)
  return result


def blur_types(
    config: Mapping[str, Any], folder: pathlib.Path, *, photos: Path,
    labelled: bool = False, blur: Mapping[str, Any] | None = None,
    crop: int = 128, limit: int | None = None, seed: int = 0,
    which: str = 'last', on_picture: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
  """The confusion matrix of a run that predicts types of blur.

  Args:
    config: the run's config, plain dicts.
    folder: the run's folder; it gets blur_types.json.
    photos: folder of sharp pictures that are not in its training set. The run
      classifies the middle of each as it is, and DRAWS times with a blur of a
      random type.
    labelled: whether the pictures have known types, in folders named by their
      types: motion, defocus, gaussian, mixed, none.
    blur: how the types are drawn: keywords of `blur.build` of kind 'any'
      without `weights`; by default the run's size and gamma.
    crop: side of the middle, in pixels.
    limit: at least 1: how many pictures, evenly spaced over all.
    seed: of the random blur.
    which: 'last' or 'best' checkpoint, or a step.
    on_picture: called with the number of pictures done.

  Returns:
    The content of blur_types.json: 'names'; 'confusion', counts with the true
    type as the row and the predicted one as the column; 'accuracy' of each type
    that occurs, and of 'all'.

  Raises:
    UserError: a run that predicts no types, a folder that names no type,
      pictures smaller than `crop`, or an error of a file.
  """
  method, state, mesh, _ = _run(config, folder, 'blur_type', which)
  paths = images.require(photos)
  truths = _labels(paths, photos) if labelled else None
  estimate = loop.on_mesh(lambda state, pictures: method.estimate_blur(
      state, pictures)['blur_type'].argmax(-1), mesh)
  draw = loop.on_mesh(drawing(config, blur), mesh)
  confusion = np.zeros((len(blur_classifier.NAMES),) * 2, int)
  for number, name in enumerate(_evenly(list(paths), limit)):
    sharp = middle(images.read(paths[name]), crop, where=paths[name])
    if labelled:
      pictures, labels = sharp[None], [truths[name]]
    else:
      key = jax.random.fold_in(jax.random.key(seed), number)
      pictures, labels = draw(key, sharp)
    predicted = np.asarray(estimate(state, pictures))
    np.add.at(confusion, (np.asarray(labels), predicted), 1)
    on_picture(number + 1)
  right, counts = confusion.diagonal(), confusion.sum(1)
  accuracy = {name: float(right[i] / counts[i])
              for i, name in enumerate(blur_classifier.NAMES) if counts[i]}
  result = {
      'names': list(blur_classifier.NAMES), 'confusion': confusion.tolist(),
      'accuracy': accuracy | {'all': float(right.sum() / counts.sum())},
      'crop': crop, 'step': int(state.step)}
  workdir.write_json(folder / 'blur_types.json', result)
  return result


def middle(picture: np.ndarray, crop: int, *, where: Path) -> np.ndarray:
  """The middle of a picture.

  Args:
    picture: uint8 [h, w, 3].
    crop: side of the middle, in pixels.
    where: the picture's path, for the message.

  Returns:
    float32 [crop, crop, 3] in [0, 1].

  Raises:
    UserError: the picture is smaller.
  """
  height, width = picture.shape[:2]
  if min(height, width) < crop:
    raise errors.UserError(
        f'{where}: {width}x{height} is below the crop of {crop}; give a '
        'smaller --crop.')
  return bit_depth.to_float(images.crop_centre(picture, size=(crop, crop)))


def _run(config, folder, wanted, which):
  """(method, state, mesh of one device, shapes of the wanted prediction)."""
  method, state, mesh = test_sets.load_on_one_device(
      config, folder, which=which)
  shapes = test_sets.estimates(method, state, config)
  if wanted not in shapes:
    methods = {'kernel': 'kernel_estimation or cycle_physics', 'blur_type':
               'blur_classification, or cycle_physics with '
               'method.weights.blur_type'}
    raise errors.UserError(
        f'The run of {folder} predicts no {wanted}: its method is '
        f'{config["method"]["name"]}, wanted is {methods[wanted]}.')
  return method, state, mesh, shapes[wanted]


def _compare(method, state, sharp, kernel, gamma, classical_size):
  light = exposure.to_light(sharp, gamma=gamma)
  light = operators.uniform(kernel).forward(light)
  blurry = exposure.to_stored(light.clip(0, 1), gamma=gamma)
  predicted = method.estimate_blur(state, blurry)['kernel']
  found = {'likeness': kernel_method.mean_kernel(predicted)}
  if classical_size:
    found['classical'] = estimate.kernel_of(blurry, size=classical_size)
  return {name: kernels_lib.likeness(one, kernel)[0]
          for name, one in found.items()}


def _fit(kernel, size):
  """The kernel in the middle of [size, size], or None if it is larger."""
  rows, columns = np.nonzero(kernel > FAINT * kernel.max())
  kernel = kernel[rows.min():rows.max() + 1, columns.min():columns.max() + 1]
  room = [size - side for side in kernel.shape]
  if min(room) < 0:
    return None
  kernel = np.pad(kernel, [(left // 2, left - left // 2) for left in room])
  return kernel / kernel.sum()


def _evenly(names, limit):
  if limit is not None and limit < 1:
    raise errors.UserError(f'limit must be at least 1, got {limit}.')
  return sampler.evenly_spaced(names, limit or len(names))


def _labels(paths, folder):
  """The type of each picture: the name of the folder above it."""
  named = {name: name.split('/')[0] if '/' in name else '' for name in paths}
  return {name: blur_classifier.place(
      label, what=f'blur type of {folder}/{name}:')
          for name, label in named.items()}


def drawing(config: Mapping[str, Any], blur: Mapping[str, Any] | None = None):
  """A function that draws random blurs of known types.

  Args:
    config: of a run: its size and gamma are the default.
    blur: these and further options instead, see `blur_types`.

  Returns:
    (key, sharp [h, w, 3]) -> (pictures [DRAWS + 1, h, w, 3], less the margin
    of the blur, and their types [DRAWS + 1]). The last picture is sharp.

  Raises:
    UserError: options that do not fit.
  """
  own = config['data'].get('blur') or config['method'].get('blur') or {}
  options = blur or {key: own[key] for key in ('size', 'gamma') if key in own}
  one = blurs.build(**dict(options, kind='any'), weights=(1.0, 1.0, 1.0, 1.0))

  def draw(key, sharp):
    made = one(key, jnp.broadcast_to(sharp, (DRAWS, *sharp.shape)))
    none = jnp.array([blur_classifier.place(blur_classifier.NONE)])
    return (jnp.concatenate([made['blur'], made['sharp'][:1]]),
            jnp.concatenate([made['blur_type'], none]))

  return draw
