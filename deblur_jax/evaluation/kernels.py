"""How right is what a run tells of blur: of kernels, and of its types.

On blur made of held-back photos, of which kernel and type are known. Kernels
come from files, so that they may be real cameras'. Blind methods find them up
to a shift, so the best shift counts.
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
DRAWS = 4
FAINT = 0.01   # of a kernel's maximum: borders below it are cut off


def kernels(
    config: Mapping[str, Any], folder: pathlib.Path, *, photos: Path,
    kernels: Path, crop: int = 128, gamma: float = 1.0,
    limit: int | None = None, classical: bool = False, seed: int = 0,
    which: str = 'last', on_kernel: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
  """Likeness of the kernels that a run tells to those that blurred.

  Args:
    config: the run's config, plain dicts.
    folder: the run's folder; it gets kernels.json.
    photos: folder of sharp pictures of which it has not learned; kernel i
      blurs the middle of the i-th.
    kernels: see `kernel_files.read_all`. Those that do not fit into the run's
      size once their faint borders are cut off are left out, and counted.
    crop: side of the middle.
    gamma: of the camera: light is what kernels blur.
    limit: so many kernels only, evenly over all.
    classical: whether `estimate.kernel_of` is measured beside.
    seed: of the order of the photos.
    which: 'last' or 'best' checkpoint, or a step.
    on_kernel: called with the number of kernels done.

  Returns:
    What kernels.json holds: 'rows' of 'name', 'photo', 'likeness' and perhaps
    'classical', the medians of both, 'kernels' and 'left_out', their numbers.

  Raises:
    UserError: a run that predicts no kernels, nothing to measure by, crops that
      are too small, or what a file refuses.
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
  look = loop.on_mesh(
      lambda state, sharp, kernel: _compare(
          method, state, sharp, kernel, gamma, size if classical else None),
      mesh)
  rows = []
  for number, name in enumerate(chosen):
    photo = list(paths)[order[number % len(paths)]]
    sharp = middle(images.read(paths[photo]), crop, where=paths[photo])
    predicted = look(state, sharp[None], fitting[name][None])
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
  """The confusion matrix of a run that tells types of blur.

  Args:
    config, folder: of the run; the folder gets blur_types.json.
    photos: folder of sharp pictures of which it has not learned: the middle of
      each is looked at as it is, and blurred DRAWS times by a type drawn anew.
    labelled: the pictures have known types, in folders named by their
      types: motion, defocus, gaussian, mixed, none.
    blur: how the types are drawn, keywords of `blur.build` of kind 'any' but
      `chances`; by default the run's size and gamma.
    crop, limit, seed, which, on_picture: as above, of pictures.

  Returns:
    What blur_types.json holds: 'names'; 'confusion', rows of counts: what it is
    is the row, the prediction the column; 'accuracy' of each name that there
    was, and of 'all'.

  Raises:
    UserError: a run that predicts no types, a folder of no type, or as above.
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
      shown, labels = sharp[None], [truths[name]]
    else:
      key = jax.random.fold_in(jax.random.key(seed), number)
      shown, labels = draw(key, sharp)
    predicted = np.asarray(estimate(state, shown))
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
  """The middle [crop, crop, 3] of a picture, float32; UserError if smaller."""
  height, width = picture.shape[:2]
  if min(height, width) < crop:
    raise errors.UserError(
        f'{where}: {width}x{height} is below the crop of {crop}; give a '
        'smaller --crop.')
  return bit_depth.to_float(images.crop_centre(picture, size=(crop, crop)))


def _run(config, folder, wanted, which):
  """(method, state, mesh of one device, shapes of what the run predicts)."""
  method, state, mesh = test_sets.load_on_one_device(
      config, folder, which=which)
  shapes = test_sets.estimates(method, state, config)
  if wanted not in shapes:
    takes = {'kernel': 'kernel_estimation or cycle_physics', 'blur_type':
             'blur_classification, or cycle_physics with '
             'method.weights.blur_type'}
    raise errors.UserError(
        f'The run of {folder} predicts no {wanted}: its method is '
        f'{config["method"]["name"]}, wanted is {takes[wanted]}.')
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
  """The kernel in the middle of [size, size], or None where it is larger."""
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
  """The type of each picture, which is the name of a folder above it."""
  named = {name: name.split('/')[0] if '/' in name else '' for name in paths}
  return {name: blur_classifier.place(
      label, what=f'blur type of {folder}/{name}:')
          for name, label in named.items()}


def drawing(config: Mapping[str, Any], blur: Mapping[str, Any] | None = None):
  """(key, sharp [h, w, 3]) -> (DRAWS of it blurred and itself, their types).

  Args:
    config: of a run, whose size and gamma are taken.
    blur: these and further options instead, see `blur_types`.
  """
  own = config['data'].get('blur') or config['method'].get('blur') or {}
  options = blur or {key: own[key] for key in ('size', 'gamma') if key in own}
  one = blurs.build(**dict(options, kind='any'), chances=(1.0, 1.0, 1.0, 1.0))

  def draw(key, sharp):
    made = one(key, jnp.broadcast_to(sharp, (DRAWS, *sharp.shape)))
    none = jnp.array([blur_classifier.place(blur_classifier.NONE)])
    return (jnp.concatenate([made['blur'], sharp[None]]),
            jnp.concatenate([made['blur_type'], none]))

  return draw
