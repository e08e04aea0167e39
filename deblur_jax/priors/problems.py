"""Problems for deep image priors: from files, or made from sharp pictures.

A task says what was done to a picture and so what else must be known of it:

  denoise, jpeg   nothing
  sr              the factor
  inpaint         a mask, white where the picture is known
  deblur          a kernel
  blind           the size of a kernel that is not known
  flash           a second picture, with flash, as sharp and of other colours
  blend           nothing; a hint which pixels are of which layer is welcome
"""

import hashlib
import io
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from deblur_jax import errors
from deblur_jax.blur import deconvolve, estimate, operators
from deblur_jax.data import images, kernel_files
from deblur_jax.ops import bit_depth, colour
from deblur_jax.state import Batch

Path = str | os.PathLike
# A key of a batch -> its name in messages, where it has another one.
NAMES = {'observed': 'picture', 'sharp': 'truth', 'guide': 'flash picture'}


class Problem(NamedTuple):
  """One picture and what is known of it.

  name: of its file, without suffix.
  batch: what methods take of one image, NumPy, without the batch axis:
    'observed' and, where there are such, 'mask', 'kernel', 'guide', 'hint',
    'sharp'.
  chroma: [h, w, 2], Cb and Cr of what was observed, where luma alone is fitted.
  """

  name: str
  batch: Batch
  chroma: np.ndarray | None = None


def read(
    path: Path, *, task: str, factor: int = 1, truth: Path | None = None,
    mask: Path | None = None, kernel: Path | None = None,
    guide: Path | None = None, hint: Path | None = None, gray: bool = False,
    luma: bool = False, correlation: bool = False) -> list[Problem]:
  """Problems of a picture or of a folder of pictures.

  Args:
    path: what was observed.
    task: a row of TASKS.
    factor: how much larger the result is.
    truth, mask, guide, hint: a picture, or a folder of as many, of the same
      names; one picture is for all.
    kernel, correlation: see `kernel_files.read`.
    gray: whether the pictures are made one channel of luma.
    luma: as gray, and the results get the observed chroma.

  Raises:
    UserError: files that are missing, broken, or of sizes that do not fit; what
      the task needs and is not given.
  """
  _check_given(task, mask=mask, kernel=kernel, guide=guide, hint=hint)
  if luma and factor > 1:
    raise errors.UserError(
        '--luma is for results of the size of what was observed; fit all '
        'colours, or --gray.')
  gray = gray or luma
  found = _find(path)
  sides = {
      'sharp': _partners(truth, found), 'mask': _partners(mask, found),
      'guide': _partners(guide, found), 'hint': _partners(hint, found)}
  kernels = kernel_files.read(
      kernel, names=list(found), correlation=correlation) if kernel else {}
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
    _check_sizes(name, batch, factor)
    problems.append(Problem(name, batch, _chroma(file) if luma else None))
  return problems


def make(
    path: Path, *, task: str, factor: int = 1, sigma: float = 25.0,
    missing: float = 0.5, quality: int = 10, mask: Path | None = None,
    kernel: Path | None = None, crop: int = 0, gray: bool = False,
    impulse: float = 0.0, correlation: bool = False, seed: int = 0
) -> list[Problem]:
  """The same from sharp pictures, corrupted as the papers do it.

  Args:
    path: the sharp picture, or a folder.
    task: a row of MAKE.
    factor: for 'sr'; Pillow's Lanczos filter, as the authors' program has it.
    sigma: for 'denoise': Gaussian noise of so many levels of 255, clipped.
    missing: for 'inpaint' without a mask: the share of the pixels that is lost.
    quality: for 'jpeg'.
    mask, kernel, gray, correlation: as of `read`.
    crop: side of the square from the middle that is taken; 0 takes all.
    impulse: for 'denoise': the share of values that are 0 or 1 instead, salt
      and pepper.
    seed: of noise and of lost pixels; the same for each picture.

  Raises:
    UserError: as of `read`; a task that is not made from sharp pictures.
  """
  corrupt = errors.look_up(MAKE, task, what='task that is made from the truth')
  if (kernel is not None) != (task in ('deblur', 'blind')):
    raise errors.UserError(
        f'Task {task} is made without a kernel: leave out --kernel.' if kernel
        else f'Task {task} is made with a kernel: give --kernel.')
  if mask is not None and task != 'inpaint':
    raise errors.UserError(f'--mask does not belong to the task {task}.')
  found = _find(path)
  masks = _partners(mask, found)
  kernels = kernel_files.read(
      kernel, names=list(found), correlation=correlation) if kernel else {}
  problems = []
  for name, file in found.items():
    cut = lambda x, name=name: _centre(x, crop, factor, name)
    sharp = cut(_picture(file, gray))
    known = cut(_mask(masks[name])) if masks else None
    options = dict(
        factor=factor, sigma=sigma, missing=missing, quality=quality,
        impulse=impulse, mask=known, kernel=kernels.get(name))
    batch = corrupt(sharp, np.random.default_rng(seed), options)
    _check_sizes(name, batch, factor)
    problems.append(Problem(name, batch))
  return problems


def with_classical_start(problem: Problem, *, size: int) -> Problem:
  """A blind problem with 'guide' and 'guide_kernel' of `blur.estimate`."""
  blur = problem.batch['observed'][None]
  kernel = estimate.kernel_of(blur, size=size)
  guide = deconvolve.hyper_laplacian(blur, kernel, weight=2e3)
  return problem._replace(batch=problem.batch | {
      'guide': np.clip(guide[0], 0, 1), 'guide_kernel': np.asarray(kernel[0])})


def digest(tasks: Sequence[Problem]) -> str:
  """SHA-256 of all values of all problems, hexadecimal."""
  found = hashlib.sha256()
  for problem in tasks:
    for key, value in sorted(problem.batch.items()):
      array = np.ascontiguousarray(value)
      found.update(f'{problem.name} {key} {array.shape}'.encode())
      found.update(array.tobytes())
  return found.hexdigest()


def check_finite(problem: Problem) -> None:
  """Raises a UserError where values are NaN or infinite."""
  for name, value in problem.batch.items():
    bad = np.size(value) - np.sum(np.isfinite(value))
    if bad:
      raise errors.UserError(
          f'{problem.name}: {bad} values of the {NAMES.get(name, name)} are '
          'not finite; replace them, or set them to 0 and give a mask that is '
          'black there.')


# ---- corruption: (sharp, random, options) -> batch

def _noisy(sharp, random, options):
  noisy = np.clip(sharp + random.normal(size=sharp.shape) * (
      options['sigma'] / 255), 0, 1)
  if options['impulse']:
    lost = random.random(sharp.shape) < options['impulse']
    noisy = np.where(lost, random.integers(0, 2, sharp.shape), noisy)
  return {'observed': noisy.astype(np.float32), 'sharp': sharp}


def _small(sharp, random, options):
  del random
  size = [side // options['factor'] for side in sharp.shape[1::-1]]
  channels = [Image.fromarray(bit_depth.to_uint8(sharp[..., c]))
              for c in range(sharp.shape[-1])]
  small = [np.asarray(one.resize(size, Image.Resampling.LANCZOS))
           for one in channels]
  return {'observed': bit_depth.to_float(np.stack(small, axis=-1)),
          'sharp': sharp}


def _holes(sharp, random, options):
  known = options['mask']
  if known is None:
    known = random.random(sharp.shape[:2])[..., None] >= options['missing']
  known = known.astype(np.float32)
  _check_mask(known, sharp, 'The mask')
  return {'observed': sharp * known, 'mask': known, 'sharp': sharp}


def _compressed(sharp, random, options):
  del random
  file = io.BytesIO()
  picture = bit_depth.to_uint8(sharp)
  Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(
      file, 'jpeg', quality=options['quality'])
  decoded = np.asarray(Image.open(file)).reshape(sharp.shape)
  return {'observed': bit_depth.to_float(decoded), 'sharp': sharp}


def _blurred(sharp, random, options):
  """With a kernel that is known; the border that it eats is cut off."""
  del random
  kernel = options['kernel'].astype(np.float32)
  blur = np.asarray(operators.uniform(kernel, border='valid').forward(
      sharp[None]))[0]
  top, left = (side - 1 - side // 2 for side in kernel.shape)
  height, width = blur.shape[:2]
  return {'observed': blur, 'kernel': kernel,
          'sharp': sharp[top:top + height, left:left + width]}


def _blurred_blindly(sharp, random, options):
  batch = _blurred(sharp, random, options)
  return {'observed': batch['observed'], 'sharp': batch['sharp']}


# ---- reading

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
          f'{name} is {width}x{height}: no crop of {crop} fits in.')
    top, left = (height - crop) // 2, (width - crop) // 2
    picture = picture[top:top + crop, left:left + crop]
  # For a factor the authors take the middle whose sides are multiples of 32.
  multiple = 32 if factor > 1 and 32 % factor == 0 and min(
      picture.shape[:2]) >= 32 else factor
  size = [side // multiple * multiple for side in picture.shape[:2]]
  if not all(size):
    raise errors.UserError(
        f'{name} is {width}x{height}, too small for a factor of {factor}.')
  top, left = ((side - part) // 2 for side, part in zip(
      picture.shape, size, strict=False))
  return picture[top:top + size[0], left:left + size[1]]


def _check_given(task, **given):
  needed = errors.look_up(TASKS, task, what='task')
  for name, value in given.items():
    if name == WELCOME.get(task):
      continue
    if (name == needed) != (value is not None):
      raise errors.UserError(
          f'Task {task} needs --{name}.' if name == needed else
          f'--{name} does not belong to the task {task}.')


def _check_sizes(name, batch: Mapping[str, np.ndarray], factor: int) -> None:
  blur = batch['observed']
  if 'mask' in batch:
    _check_mask(batch['mask'], blur, f'{name}: the mask')
  if 'kernel' in batch:
    operators.check_fits(batch['kernel'].shape, blur.shape[:2])
  size = tuple(side * factor for side in blur.shape[:2])
  for key in ('sharp', 'guide', 'hint'):
    if key in batch and batch[key].shape[:2] != size:
      height, width = batch[key].shape[:2]
      raise errors.UserError(
          f'{name}: the {NAMES.get(key, key)} is {width}x{height}, and the '
          'result will be '
          f'{size[1]}x{size[0]}.')


def _check_mask(mask, picture, what):
  if mask.shape[:2] != picture.shape[:2]:
    raise errors.UserError(
        f'{what} is {mask.shape[1]}x{mask.shape[0]}, the picture '
        f'{picture.shape[1]}x{picture.shape[0]}.')
  if not mask.any():
    raise errors.UserError(f'{what} is black everywhere: nothing is known.')


# task -> which file it needs beside the pictures
TASKS: Mapping[str, str | None] = {
    'blend': None, 'blind': None, 'deblur': 'kernel', 'denoise': None,
    'flash': 'guide', 'inpaint': 'mask', 'jpeg': None, 'sr': None}
# task -> which it may have
WELCOME: Mapping[str, str] = {'blend': 'hint'}
MAKE: Mapping[str, Callable[..., Batch]] = {
    'blind': _blurred_blindly, 'deblur': _blurred, 'denoise': _noisy,
    'inpaint': _holes, 'jpeg': _compressed, 'sr': _small}
