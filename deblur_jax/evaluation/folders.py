"""Restored pictures, by whatever program, measured: folders in, numbers out.

So the numbers of other people's results come from the same functions as those
of ours. Beside the table of metrics three protocols that need more than the
sharp picture:

  error_ratio        Levin et al. 2009: what not knowing the kernel cost
  reblur_residual    does the result, blurred again, give the blurry picture
  psnr_kohler, ms_ssim_kohler    Koehler et al. 2012: best of 199 sharp frames
"""

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
from deblur_jax.metrics import kohler as kohler_lib
from deblur_jax.metrics import means, reblur, shift
from deblur_jax.ops import bit_depth
from deblur_jax.state import Array
from deblur_jax.training import loop, parallel

Path = str | os.PathLike
# (pictures to judge [1, h, w, 3], what belongs to them) -> [1]
Column = Callable[[Array, Mapping[str, Array]], Array]


def run(
    restored: Path, *, sharp: Path | None = None, blur: Path | None = None,
    oracle: Path | None = None, kernels: Path | None = None,
    correlation: bool = False, gamma: float = 1.0,
    kohler: Path | None = None,
    metrics: Sequence[str] | Mapping[str, Mapping[str, Any]] = (),
    on_picture: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
  """Measures the pictures below a folder.

  Pictures belong together by their names without suffix, 'SEQ/000012'.

  Args:
    restored: the folder; each of its pictures is measured.
    sharp: the true pictures: for the metrics with a reference.
    blur: the blurry ones; they are measured too, as the row `input`.
    oracle: restored by the same method given the true kernel: adds
      `error_ratio`. Needs `sharp`.
    kernels: see `kernel_files.read`; one for all, or one of each name: adds
      `reblur_residual`. Needs `blur`.
    correlation: see `kernel_files.read`.
    gamma: of the camera, for `reblur_residual`.
    kohler: the benchmark's folder, see `layouts.kohler`: adds its two metrics.
      Names must end like 1_4: picture 1, kernel 4.
    metrics: further ones, see `metrics.choose`.
    on_picture: called with the number of pictures done.

  Returns:
    {'mean': means, 'rows': rows}, 'input' where there is `blur`, and 'sharp'
    where there are `sharp` pictures and metrics without reference: what those
    give for them.

  Raises:
    UserError: nothing to measure by, a picture without its partner or of
      another size, or what a file or a metric refuses.
  """
  columns = _columns(sharp, blur, oracle, kernels, gamma, kohler, metrics)
  found = images.require(restored)
  sides = {key: images.partners(found, folder) for key, folder in
           dict(sharp=sharp, blur=blur, oracle=oracle).items() if folder}
  by_name = kernels and kernel_files.read(
      kernels, names=list(found), correlation=correlation)
  mesh = parallel.data_mesh(jax.local_devices()[:1])
  judge = lambda columns: loop.on_mesh(
      lambda image, others: {name: column(image, others)[0]
                             for name, column in columns.items()}, mesh)
  blind = {name: column for name, column in columns.items()
           if metrics_lib.is_no_reference(name)}
  measure, measure_blind = judge(columns), judge(blind)
  rows = []
  for name, path in found.items():
    image = _read(path)
    others = {key: _read(partners[name], like=image, of=path)
              for key, partners in sides.items()}
    if by_name:
      others['kernel'] = by_name[name]
    if kohler:
      others['frames'] = _frames(kohler, name, like=image)
    row = {'name': name, **jax.tree.map(float, measure(image, others))}
    if blur:
      row['input'] = jax.tree.map(float, measure(others['blur'], others))
    if blind and sharp:
      row['sharp'] = jax.tree.map(float, measure_blind(others['sharp'], {}))
    rows.append(row)
    on_picture(len(rows))
  result = {'mean': means.over_rows(rows, columns), 'rows': rows}
  for title in ('input', 'sharp'):
    if title in rows[0]:
      result[title] = means.over_rows([row[title] for row in rows])
  return result


def _columns(
    sharp, blur, oracle, kernels, gamma, kohler, metrics
) -> dict[str, Column]:
  chosen = metrics_lib.choose(metrics)
  if sharp:
    chosen = metrics_lib.METRICS | chosen
  columns = {}
  for name, fn in chosen.items():
    if metrics_lib.is_no_reference(name):
      columns[name] = lambda image, others, fn=fn: fn(image, image)
    elif sharp:
      columns[name] = lambda image, others, fn=fn: fn(image, others['sharp'])
    else:
      raise errors.UserError(f'{name} compares with the sharp pictures: give '
                             'their folder too.')
  if oracle:
    _needs('The error ratio', 'sharp', sharp)
    columns['error_ratio'] = lambda image, others: shift.error_ratio(
        image, others['sharp'], others['oracle'])
  if kernels:
    _needs('The reblur residual', 'blurry', blur)
    columns['reblur_residual'] = lambda image, others: reblur.reblur_residual(
        image, others['blur'], others['kernel'], gamma=gamma)
  if kohler:
    for fn in (kohler_lib.psnr_kohler, kohler_lib.ms_ssim_kohler):
      columns[fn.__name__] = lambda image, others, fn=fn: fn(
          image, others['frames'])
  if not columns:
    raise errors.UserError(
        'Nothing to measure by: give the folder of the sharp pictures, or '
        f'metrics without reference ({", ".join(metrics_lib.NO_REFERENCE)}).')
  return columns


def _needs(what, kind, folder):
  if not folder:
    raise errors.UserError(f'{what} needs the {kind} pictures: give their '
                           'folder too.')


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
