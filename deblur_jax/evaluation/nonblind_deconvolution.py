"""Classical deconvolution of a folder of blurry pictures with known kernels.

It makes the rows of Wiener, Richardson-Lucy and the hyper-Laplacian prior in a
table, and the `oracle` of `folders.run`, with which blind methods are compared.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import errors
from deblur_jax.blur import deconvolve, operators
from deblur_jax.data import images, kernel_files
from deblur_jax.ops import bit_depth
from deblur_jax.training import loop, parallel

Path = str | os.PathLike


def run(
    blur: Path, kernels: Path, out: Path, *, method: str,
    options: Mapping[str, Any] | None = None, correlation: bool = False,
    turn_by: Path | None = None,
    on_picture: Callable[[int], None] = lambda done: None
) -> dict[str, bool]:
  """Restores the pictures below a folder, each with its kernel.

  Args:
    blur: the folder; `out` gets a PNG of the same name for each.
    kernels: see `kernel_files.read`.
    out: a new or empty folder.
    method: a row of `deconvolve.DECONVOLUTIONS`.
    options: its keyword arguments.
    correlation: see `kernel_files.read`.
    turn_by: the folder of the sharp pictures. A kernel is turned by half a turn
      if that brings the blurred sharp picture nearer to the blurry one: Levin's
      kernels are stored in both orientations.
    on_picture: called with the number of pictures done.

  Returns:
    Name -> whether its kernel was turned.

  Raises:
    UserError: folders that lack a picture or a kernel, or an error of the
      method or of a file.
  """
  solve = deconvolve.with_kernel(method, **options or {})
  found = images.require(blur)
  sharps = images.partners(found, turn_by) if turn_by else {}
  by_name = kernel_files.read(
      kernels, names=list(found), correlation=correlation)
  out = errors.make_folder(out)
  if any(out.iterdir()):
    raise errors.UserError(f'{out} is not empty; give another --out.')
  restore = loop.on_mesh(
      solve, parallel.data_mesh(jax.local_devices()[:1]))
  turned = {}
  for name, path in found.items():
    picture, kernel = _read(path), by_name[name]
    turned[name] = name in sharps and _is_turned(
        _read(sharps[name]), picture, kernel)
    if turned[name]:
      kernel = np.ascontiguousarray(kernel[::-1, ::-1])
    operators.check(picture, kernel)
    restored = np.asarray(restore(picture, kernel))[0]
    images.write(out / f'{name}.png', bit_depth.to_uint8(restored))
    on_picture(len(turned))
  return turned


def _is_turned(sharp, blur, kernel) -> bool:
  """Whether the turned kernel blurs the sharp picture nearer to the blurry."""
  if sharp.shape != blur.shape:
    raise errors.UserError(
        f'A sharp picture has the size {sharp.shape[1:3]}, and its blurry one '
        f'{blur.shape[1:3]}.')
  top, left = (side // 2 for side in kernel.shape)
  inside = blur[:, top:blur.shape[1] - top, left:blur.shape[2] - left]
  error = lambda kernel: float(jnp.square(
      operators.uniform(kernel, border='valid').forward(sharp) - inside).sum())
  return error(kernel[::-1, ::-1]) < error(kernel)


def _read(path) -> np.ndarray:
  return bit_depth.to_float(images.read(path))[None]
