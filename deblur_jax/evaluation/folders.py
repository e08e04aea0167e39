"""Metrics of folders of restored pictures, made by any program.

The results of other programs are measured by the functions that measure ours.
Besides the metrics that compare with the sharp pictures there are three
protocols with other inputs:

  error_ratio        Levin et al. 2009: the cost of not knowing the kernel
  reblur_residual    the restored picture, blurred again, less the blurry one
  psnr_kohler, ms_ssim_kohler    Koehler et al. 2012: best of 199 sharp frames
"""

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax import metrics as metrics_lib
from deblur_jax.data import images, kernel_files, layouts
from deblur_jax.metrics import means
from deblur_jax.ops import bit_depth
from deblur_jax.state import Array
from deblur_jax.training import loop, parallel

Path = str | os.PathLike
# (pictures to measure [1, h, w, 3], the other inputs by name) -> [1]
Column = Callable[[Array, Mapping[str, Array]], Array]
# An input of a metric -> the words for it in a message.
INPUTS = {'sharp': 'the sharp pictures', 'blur': 'the blurry pictures',
          'oracle': 'pictures restored with the true kernels',
          'kernel': 'the kernels', 'frames': "Koehler's sharp frames"}


def run(
    restored: Path, *, sharp: Path | None = None, blur: Path | None = None,
    oracle: Path | None = None, kernels: Path | None = None,
    correlation: bool = False, gamma: float = 1.0,
    kohler: Path | None = None,
    metrics: Sequence[str] | Mapping[str, Mapping[str, Any]] = (),
    on_picture: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
  """Computes the metrics of the pictures below a folder.

  Pictures belong together by their names without suffix, 'SEQ/000012'.

  Args:
    restored: the folder; each of its pictures is a row.
    sharp: folder of the sharp pictures, for metrics with a reference.
    blur: folder of the blurry pictures; their metrics are the row `input`.
    oracle: folder of the results of the same method with the true kernels: adds
      `error_ratio`. It needs `sharp`.
    kernels: see `kernel_files.read`; one for all pictures, or one of each name:
      adds `reblur_residual`. It needs `blur`.
    correlation: see `kernel_files.read`.
    gamma: exponent of the camera's response, for `reblur_residual`.
    kohler: folder of the benchmark, see `layouts.kohler`: adds its two metrics.
      Names must end like 1_4: picture 1, kernel 4.
    metrics: further ones, see `metrics.choose`.
    on_picture: called with the number of pictures done.

  Returns:
    {'mean': means, 'rows': rows}; 'input' with `blur`; 'sharp' with both
    `sharp` and metrics without reference: their means for the sharp pictures;
    'without_partner', names of sharp pictures that no restored one has.

  Raises:
    UserError: no metric to compute, a picture without its partner or of
      another size, or an error of a file or a metric.
  """
  columns = _columns(
      dict(sharp=sharp, blur=blur, oracle=oracle, kernel=kernels,
           frames=kohler), gamma, metrics)
  found = images.require(restored)
  sides = {key: images.partners(found, folder) for key, folder in
           dict(sharp=sharp, blur=blur, oracle=oracle).items() if folder}
  by_name = kernels and kernel_files.read(
      kernels, names=list(found), correlation=correlation)
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  on_mesh = lambda columns: loop.on_mesh(
      lambda image, others: {name: column(image, others)[0]
                             for name, column in columns.items()}, mesh)
  without = {name: column for name, column in columns.items()
             if metrics_lib.is_no_reference(name)}
  compute, compute_sharp = on_mesh(columns), on_mesh(without)
  rows = []
  for name, path in found.items():
    image = _read(path)
    others = {key: _read(partners[name], like=image, of=path)
              for key, partners in sides.items()}
    if by_name:
      others['kernel'] = by_name[name]
    if kohler:
      others['frames'] = _frames(kohler, name, like=image)
    row = {'name': name, **jax.tree.map(float, compute(image, others))}
    if blur:
      row['input'] = jax.tree.map(float, compute(others['blur'], others))
    if without and sharp:
      row['sharp'] = jax.tree.map(float, compute_sharp(others['sharp'], {}))
    rows.append(row)
    on_picture(len(rows))
  result = {'mean': means.over_rows(rows, columns), 'rows': rows}
  if missing := sorted(sides.get('sharp', {}).keys() - found.keys()):
    result['without_partner'] = missing
  for title in ('input', 'sharp'):
    if title in rows[0]:
      result[title] = means.over_rows([row[title] for row in rows])
  return result


def _columns(given, gamma, metrics) -> dict[str, Column]:
  """The metrics that were chosen, and those that the given inputs add.

  Args:
    given: input of a metric -> where it comes from, or None.
    gamma: of `run`.
    metrics: of `run`.
  """
  chosen = metrics_lib.choose(metrics)
  if given['sharp']:
    chosen = metrics_lib.STANDARD | chosen
  table = metrics_lib.METRICS
  added = {key for key, source in given.items() if source} - {'sharp', 'blur'}
  names = [*chosen, *(name for name, metric in table.items()
                      if added & set(metric.inputs))]
  columns = {}
  for name in names:
    inputs = table[name].inputs
    for key in inputs:
      if not given[key]:
        raise errors.UserError(
            f'{name} needs {INPUTS[key]}: give their folder too.')
    if name in chosen:
      columns[name] = lambda image, others, fn=chosen[name]: fn(
          image, others.get('sharp', image))
    else:
      fn = table[name].fn
      if 'kernel' in inputs:
        fn = functools.partial(fn, gamma=gamma)
      columns[name] = lambda image, others, fn=fn, inputs=inputs: fn(
          image, *(others[key] for key in inputs))
  if not columns:
    without = filter(metrics_lib.is_no_reference, table)
    raise errors.UserError(
        'No metric to compute: give the folder of the sharp pictures, or '
        f'metrics without reference ({", ".join(without)}).')
  return columns


def _frames(folder, name, *, like):
  """The sharp frames of one picture of Koehler's, uint8 [1, t, h, w, 3]."""
  numbers = re.search(r'(\d+)_(\d+)$', name)
  paths = layouts.kohler_frames(folder, *numbers.groups()) if numbers else {}
  if not paths:
    raise errors.UserError(
        f'{folder} has no frames of {name}: names must end like 1_4, and '
        'its frames lie at Image1/Kernel4/GroundTruth1_4_*.png.')
  frames = []
  for path in paths.values():
    frames.append(images.read(path))
    _check_size(frames[-1].shape[:2], path, like=like, of=name)
  return jnp.asarray(np.stack(frames)[None])


def _read(path, *, like=None, of=None) -> np.ndarray:
  image = images.read(path)
  if like is not None:
    _check_size(image.shape[:2], path, like=like, of=of)
  return bit_depth.to_float(image)[None]


def _check_size(size, path, *, like, of):
  expected = like.shape[1:3]
  if size != expected:
    raise errors.UserError(
        f'{path} is {size[1]}x{size[0]}, and {of} {expected[1]}x{expected[0]}.')
