"""Problems for deep image priors: from files, or made from sharp pictures."""

import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deblur_jax import errors
from deblur_jax.blur import deconvolve, estimate, operators
from deblur_jax.config import call
from deblur_jax.data import images, kernel_files
from deblur_jax.ops import bit_depth, colour
from deblur_jax.priors import tasks
from deblur_jax.state import Batch

Path = str | os.PathLike
# A key of a batch -> its name in messages, where that differs.
NAMES = {'observed': 'picture', 'sharp': 'truth', 'guide': 'flash picture'}


class Problem(NamedTuple):
  """One picture and what is known about it.

  Attributes:
    name: of its file, without suffix.
    batch: of the methods, for one image and without the batch axis, NumPy:
      'observed', and where they exist 'mask', 'kernel', 'guide', 'hint',
      'sharp'.
    chroma: [h, w, 2], Cb and Cr of the picture where only its luma is fitted.
  """

  name: str
  batch: Batch
  chroma: np.ndarray | None = None


def read(
    path: Path, *, task: str, factor: int = 1, truth: Path | None = None,
    mask: Path | None = None, kernel: Path | None = None,
    guide: Path | None = None, hint: Path | None = None, gray: bool = False,
    luma: bool = False, correlation: bool | None = None) -> list[Problem]:
  """Reads the problem of a picture, or of each picture in a folder.

  Args:
    path: the picture or folder.
    task: a row of `tasks.TASKS`.
    factor: how many times larger the result is, at least 1.
    truth: a picture for all problems, or a folder with the same names.
    mask: as `truth`; white where the picture is known.
    guide: as `truth`.
    hint: as `truth`.
    kernel: see `kernel_files.read`.
    correlation: see `kernel_files.read`.
    gray: whether pictures become one channel of luma.
    luma: as `gray`, and results get the chroma of the picture.

  Returns:
    The problems, sorted by name.

  Raises:
    UserError: files that are missing or broken, sizes that differ, an input
      that the task needs or does not use.
  """
  given = {'mask': mask, 'kernel': kernel, 'guide': guide, 'hint': hint}
  tasks.check_options(task, given | {'correlation': correlation})
  for name in tasks.TASKS[task].needs:
    if given[name] is None:
      raise errors.UserError(f'The task {task} needs a {name}; give --{name}.')
  if luma and factor > 1:
    raise errors.UserError(
        '--luma needs a result of the size of the picture; fit all colours, '
        'or give --gray.')
  gray = gray or luma
  found = _find(path)
  sides = {'sharp': truth, 'mask': mask, 'guide': guide, 'hint': hint}
  sides = {key: _partners(side, found) for key, side in sides.items()}
  kernels = _kernels(kernel, found, correlation)
  problems = []
  for name, file in found.items():
    batch = {'observed': _picture(file, gray)}
    for key, files in sides.items():
      if name in files:
        batch[key] = (
            _mask(files[name]) if key == 'mask' else
            _picture(files[name], key == 'hint' or gray and key == 'sharp'))
    if name in kernels:
      batch['kernel'] = kernels[name].astype(np.float32)
    check_sizes(name, batch, factor)
    problems.append(Problem(name, batch, _chroma(file) if luma else None))
  return problems


def make(
    path: Path, *, task: str, factor: int = 1, mask: Path | None = None,
    kernel: Path | None = None, crop: int = 0, gray: bool = False,
    correlation: bool | None = None, seed: int = 0, **options: Any
) -> list[Problem]:
  """Makes problems from sharp pictures, as the papers do.

  Args:
    path: a sharp picture or a folder of sharp pictures.
    task: a row of `tasks.TASKS` that has `corrupt`.
    factor: see `read`.
    mask: see `read`.
    kernel: see `read`.
    gray: see `read`.
    correlation: see `read`.
    crop: side in pixels of a square from the middle; 0 takes the whole picture.
    seed: of random corruptions, the same for each picture.
    **options: of the task's `corrupt`.

  Returns:
    The problems, sorted by name, each with its 'sharp'.

  Raises:
    UserError: see `read`; a task whose problems are not made.
  """
  given = options | {'mask': mask, 'kernel': kernel, 'correlation': correlation}
  tasks.check_options(task, given, made=True)
  corrupt, own = tasks.TASKS[task].corrupt, tasks.TASKS[task].options(made=True)
  if 'kernel' in own and kernel is None:
    raise errors.UserError(f'The task {task} needs a kernel; give --kernel.')
  found = _find(path)
  masks, kernels = _partners(mask, found), _kernels(kernel, found, correlation)
  problems = []
  for name, file in found.items():
    cut = lambda x, name=name: _centre(x, crop, factor, name)
    sharp = cut(_picture(file, gray))
    inputs = {'factor': factor, 'kernel': kernels.get(name),
              'mask': cut(_mask(masks[name])) if masks else None}
    if masks:
      check_mask(inputs['mask'], sharp, f'{name}: the mask')
    inputs = {key: value for key, value in (inputs | options).items()
              if key in own and value is not None}
    batch = call(corrupt, inputs, args=(np.random.default_rng(seed), sharp),
                 where=task)
    check_sizes(name, batch, factor)
    problems.append(Problem(name, batch))
  return problems


def with_classical_start(problem: Problem, *, size: int) -> Problem:
  """Adds a classical estimate to a blind problem, where its fit begins.

  Args:
    problem: a blind one.
    size: side of the kernel in pixels, odd.

  Returns:
    The problem with 'guide' [h, w, c] and 'guide_kernel' [size, size], see
    `blur.estimate`.
  """
  observed = problem.batch['observed'][None]
  kernel = estimate.kernel_of(observed, size=size)
  guide = deconvolve.hyper_laplacian(
      observed, kernel, weight=estimate.WEIGHT)
  return problem._replace(batch=problem.batch | {
      'guide': np.clip(guide[0], 0, 1), 'guide_kernel': np.asarray(kernel[0])})


def digest(problems: Sequence[Problem]) -> str:
  """SHA-256 of all values of the problems, as hexadecimal digits."""
  found = hashlib.sha256()
  for problem in problems:
    for key, value in sorted(problem.batch.items()):
      array = np.ascontiguousarray(value)
      found.update(f'{problem.name} {key} {array.shape}'.encode())
      found.update(array.tobytes())
  return found.hexdigest()


def check_finite(problem: Problem) -> None:
  """Raises a UserError where a problem has NaN or infinite values."""
  for name, value in problem.batch.items():
    bad = np.size(value) - np.sum(np.isfinite(value))
    if bad:
      raise errors.UserError(
          f'{problem.name}: {bad} values of the {NAMES.get(name, name)} are '
          'not finite; replace them, or set them to 0 and give a mask that is '
          'black there.')


def check_sizes(
    name: str, batch: Mapping[str, np.ndarray], factor: int) -> None:
  """Raises a UserError where the arrays of a problem do not fit together.

  Args:
    name: of the picture, for messages.
    batch: see `Problem`.
    factor: how many times larger the result is.
  """
  observed = batch['observed']
  if 'mask' in batch:
    check_mask(batch['mask'], observed, f'{name}: the mask')
  if 'kernel' in batch:
    operators.check_fits(batch['kernel'].shape, observed.shape[:2])
  size = tuple(side * factor for side in observed.shape[:2])
  for key in ('sharp', 'guide', 'hint'):
    if key in batch and batch[key].shape[:2] != size:
      height, width = batch[key].shape[:2]
      raise errors.UserError(
          f'{name}: the {NAMES.get(key, key)} is {width}x{height}, and the '
          f'result will be {size[1]}x{size[0]}.')


def check_mask(mask: np.ndarray, picture: np.ndarray, what: str) -> None:
  """Raises a UserError for a mask of another size, or black everywhere.

  Args:
    mask: [h, w, 1 or c], 0 where the picture is not known.
    picture: [h, w, c].
    what: the mask, at the beginning of the message.
  """
  if mask.shape[:2] != picture.shape[:2]:
    raise errors.UserError(
        f'{what} is {mask.shape[1]}x{mask.shape[0]}, the picture '
        f'{picture.shape[1]}x{picture.shape[0]}; make them of one size.')
  if not mask.any():
    raise errors.UserError(
        f'{what} is black everywhere: nothing is known. Make white what is '
        'known.')


def _find(path: Path) -> dict[str, pathlib.Path]:
  path = pathlib.Path(path)
  if path.is_file():
    return {path.stem: path}
  if not path.exists():
    raise errors.UserError(f'No file or folder {path}.')
  return images.require(path)


def _partners(path: Path | None, found) -> dict[str, pathlib.Path]:
  if path is None:
    return {}
  if pathlib.Path(path).is_dir():
    return images.partners(found, path)
  if not pathlib.Path(path).is_file():
    raise errors.UserError(f'No file or folder {path}.')
  return dict.fromkeys(found, pathlib.Path(path))


def _kernels(path, found, correlation) -> dict[str, np.ndarray]:
  return kernel_files.read(
      path, names=list(found), correlation=bool(correlation)) if path else {}


def _picture(file, gray) -> np.ndarray:
  picture = bit_depth.to_float(images.read(file))
  return np.asarray(colour.luma(picture)) if gray else picture


def _chroma(file) -> np.ndarray:
  picture = bit_depth.to_float(images.read(file))
  return np.asarray(colour.rgb_to_ycbcr(picture)[..., 1:])


def _mask(file) -> np.ndarray:
  """[h, w, 1] of 0 and 1."""
  return (images.read(file).mean(axis=-1, keepdims=True) > 127).astype(
      np.float32)


def _centre(picture, crop, factor, name) -> np.ndarray:
  height, width = picture.shape[:2]
  if crop:
    if crop > min(height, width):
      raise errors.UserError(
          f'{name} is {width}x{height}, too small for a crop of {crop}.')
    picture = images.crop_centre(picture, size=(crop, crop))
  # As the authors: with a factor, the middle with sides of multiples of 32.
  multiple = 32 if factor > 1 and 32 % factor == 0 and min(
      picture.shape[:2]) >= 32 else factor
  size = [side // multiple * multiple for side in picture.shape[:2]]
  if not all(size):
    raise errors.UserError(
        f'{name} is {width}x{height}, too small for a factor of {factor}.')
  return images.crop_centre(picture, size=tuple(size))
