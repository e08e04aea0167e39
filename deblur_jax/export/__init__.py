"""Trained networks as files for other programs, each checked and measured.

  kind          for                                     sizes
  stablehlo     jax anywhere, without this package      all
  onnx          ONNX Runtime, TensorRT, OpenVINO        all
  saved_model   TensorFlow, a folder                    all, or one
  tflite        phones, by LiteRT                       one
  tflite_int8   the same, convolutions in int8          one

Every file takes `blur`, float32 [n, h, w, 3] RGB in [0, 1], and gives
`restored`, the same and not clipped. All sizes are taken as they are: what a
network wants multiples of is padded and cropped inside. The file of a network
of videos takes its frames one after another along the last axis.
"""

import os
import pathlib
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from deblur_jax import data, errors
from deblur_jax.export import (
  memory,
  onnx_file,
  stablehlo,
  tensorflow_files,
)
from deblur_jax.export import traced as traced_lib
from deblur_jax.ops import atomic_files, bit_depth
from deblur_jax.state import Method, TrainState

Size = tuple[int, int]   # height, width
Run = Callable[[np.ndarray], np.ndarray]   # [n, h, w, c] to [n, h, w, 3]

SIZES = ((256, 256), (255, 321), (97, 64))
TOLERANCE = 1e-4   # of floats, between a file and its network


class Kind(NamedTuple):
  """A kind of file.

  write: (path, traced, **options).
  read: path -> the function that it holds.
  suffix: of its name.
  imports: loads what runs it.
  one_size: whether it is for pictures of one size.
  int8: whether it needs pictures, and is no longer the network to TOLERANCE.
  """

  write: Callable[..., None]
  read: Callable[[Any], Run]
  suffix: str
  imports: Callable[[], Any]
  one_size: bool = False
  int8: bool = False


class Row(NamedTuple):
  """What there is to say of one file.

  errors: size -> the largest difference to the network on a picture.
  psnr: of those results and the network's, dB, the lowest; inf where equal.
  least: sides below this are enlarged inside, and differ from the network.
  ms, network_ms: medians for one picture of `size`, warm, taken in turns.
  ratio: the median of the network's time over the file's: 2 is twice as quick.
  memory_bytes: that a process grows by to read and run it; None if unknown.
  """

  kind: str
  path: pathlib.Path
  bytes: int
  errors: dict[Size, float]
  psnr: float
  least: int
  size: Size
  ms: float
  network_ms: float
  ratio: float
  memory_bytes: int | None

  def agrees(self) -> bool:
    """Whether it is the network, to TOLERANCE, on all sizes from `least` on."""
    return all(error <= TOLERANCE for size, error in self.errors.items()
               if min(size) >= self.least)


def run(
    method: Method, state: TrainState, *, out: str | os.PathLike,
    kinds: Sequence[str] = ('stablehlo', 'onnx'),
    sizes: Sequence[Size] = SIZES, name: str = 'deblur', repeats: int = 7,
    pictures: Sequence[np.ndarray] = (), overwrite: bool = False,
    on_row: Callable[[Row], None] = lambda row: None) -> list[Row]:
  """Writes a trained method as files, checks and measures each.

  Args:
    method, state: of `test_sets.load_on_one_device`.
    out: the folder.
    kinds: rows of KINDS.
    sizes: the files are checked on, and timed on the first of them; the kinds
      for one size take that one.
    name: of the files, without suffix.
    repeats: timed rounds; 0 does not measure time or memory.
    pictures: blurry ones, float32 [h, w, 3] in [0, 1]; by default built-in.
    overwrite: whether files that are there are replaced.
    on_row: called with each row when it is known.

  Raises:
    UserError: an unknown kind, a file that is there, a method that fits each
      picture anew, a network that cannot go out, a package that is missing.
  """
  if method.per_image:
    raise errors.UserError(
        'This method fits each picture anew: there is no network to go out.')
  for kind in kinds:
    errors.look_up(KINDS, kind, what='kind of file')
  if not sizes or min(min(size) for size in sizes) < 1:
    raise errors.UserError(
        'Give at least one size, height and width from 1 on.')
  paths = {kind: pathlib.Path(out) / (name + KINDS[kind].suffix)
           for kind in kinds}
  for path in paths.values():
    _check_free(path, overwrite)
  state = jax.tree.map(np.asarray, state)
  restore = lambda blur: method.restore(state, blur)
  errors.make_folder(out)
  rows = []
  for kind, path in paths.items():
    these = sizes[:1] if KINDS[kind].one_size else sizes
    least = write(
        path, restore, kind=kind, pictures=pictures, overwrite=overwrite,
        size=these[0] if KINDS[kind].one_size else None, window=method.window)
    rows.append(measure(
        path, restore, kind=kind, sizes=these, least=least, repeats=repeats,
        pictures=pictures, window=method.window))
    on_row(rows[-1])
  return rows


def write(
    path: str | os.PathLike, restore: traced_lib.Restore, *, kind: str,
    size: Size | None = None, pictures: Sequence[np.ndarray] = (),
    overwrite: bool = False, window: int = 1) -> int:
  """Writes a function as a file, all of it or nothing.

  Args:
    path: of the file, or of the folder of a SavedModel.
    restore: blur [n, h, w, 3 * window] -> restored [n, h, w, 3], in [0, 1];
      weights inside.
    kind: a row of KINDS.
    size: the only one that it will take; None for all.
    pictures: blurry ones, for the ranges of int8; by default the built-in set.
    overwrite: whether what is there is replaced.
    window: the frames of a video that it takes.

  Returns:
    The least side that it takes as it is; smaller pictures are enlarged inside.

  Raises:
    UserError: as `run`.
  """
  row = errors.look_up(KINDS, kind, what='kind of file')
  path = pathlib.Path(path)
  _check_free(path, overwrite)
  traced = traced_lib.trace(restore, size=size, window=window)
  options = {}
  if row.int8:
    pictures = pictures if len(pictures) else _builtin('train')
    options = dict(pictures=[_fit(x, size, window) for x in pictures])
  with atomic_files.replacing(path) as part:
    row.write(part, traced, **options)
    if path.is_dir():      # which nothing replaces in one step
      shutil.rmtree(path)
  return traced.least


def check(
    run_file: Run, network: Run, sizes: Sequence[Size], *,
    pictures: Sequence[np.ndarray] = (), window: int = 1
) -> tuple[dict[Size, float], float]:
  """How far a file is from its network: (size -> max |error|, lowest PSNR)."""
  pictures = pictures if len(pictures) else _builtin('test')
  differences, mean_squares = {}, []
  for i, size in enumerate(sizes):
    blur = _fit(pictures[i % len(pictures)], size, window)[None]
    expected, got = network(blur), run_file(blur)
    if got.shape != expected.shape:
      raise errors.UserError(
          f'The file gives {got.shape} for {blur.shape}.')
    difference = np.abs(got - expected)
    differences[size] = float(difference.max())
    mean_squares.append(np.mean(difference.astype(np.float64)**2))
  worst = max(mean_squares)
  return differences, float(-10 * np.log10(worst)) if worst else float('inf')


def measure(
    path: str | os.PathLike, restore: traced_lib.Restore, *, kind: str,
    sizes: Sequence[Size] = SIZES, least: int = 1, repeats: int = 7,
    pictures: Sequence[np.ndarray] = (), window: int = 1) -> Row:
  """Reads a file, checks it against its network, and times both in turns.

  Args: as of `run` and `write`; `least` is what `write` returned.
  """
  path, row = pathlib.Path(path), errors.look_up(
      KINDS, kind, what='kind of file')
  compiled = jax.jit(restore)
  network = lambda blur: np.asarray(jax.block_until_ready(compiled(blur)))
  run_file = row.read(path)
  differences, psnr = check(
      run_file, network, sizes, pictures=pictures, window=window)
  shape = (*sizes[0], 3 * window)
  blur = np.full((1, *shape), 0.5, np.float32)
  rounds = [(_seconds(network, blur), _seconds(run_file, blur))
            for _ in range(repeats + 1 if repeats else 0)][1:]
  median = lambda values: statistics.median(values) if rounds else float('nan')
  files = path.rglob('*') if path.is_dir() else [path]
  return Row(
      kind, path, sum(file.stat().st_size for file in files if file.is_file()),
      differences, psnr, least, sizes[0], ms=1e3 * median(b for _, b in rounds),
      network_ms=1e3 * median(a for a, _ in rounds),
      ratio=median(a / b for a, b in rounds),
      memory_bytes=memory.peak(kind, path, shape) if repeats else None)


def _seconds(fn, blur):
  start = time.perf_counter()
  fn(blur)
  return time.perf_counter() - start


def _builtin(split):
  source = data.open_source(name='builtin', split=split)
  chosen = range(0, len(source.names), 3)
  return [bit_depth.to_float(source.read(i)['blur']) for i in chosen]


def _fit(picture, size, window):
  """The top left corner of a picture, mirrored on where it is too small.

  For a network of videos as frames across which it moves, a pixel each.
  """
  picture = np.concatenate(
      [np.roll(picture, i, axis=1) for i in range(window)], axis=-1)
  if size is None:
    return np.asarray(picture, np.float32)
  around = [(0, max(0, want - have)) for want, have in zip(
      size, picture.shape, strict=False)]
  picture = np.pad(picture, [*around, (0, 0)], mode='symmetric')
  return np.asarray(picture[:size[0], :size[1]], np.float32)


def _check_free(path, overwrite):
  if path.exists() and not overwrite:
    raise errors.UserError(
        f'{path} is there already; give another folder or name, or overwrite.')
  if path.is_dir() and not (path / 'saved_model.pb').exists():
    raise errors.UserError(
        f'{path} is a folder, but not one of a model, and is kept; give '
        'another folder or name.')


KINDS = {
    'stablehlo': Kind(
        stablehlo.write, stablehlo.read, '.stablehlo', jax.local_devices),
    'onnx': Kind(
        onnx_file.write, onnx_file.read, '.onnx',
        lambda: onnx_file.package('onnxruntime')),
    'saved_model': Kind(
        tensorflow_files.write_saved_model, tensorflow_files.read_saved_model,
        '_saved_model', tensorflow_files.tensorflow),
    'tflite': Kind(
        tensorflow_files.write_tflite, tensorflow_files.read_tflite, '.tflite',
        tensorflow_files.interpreter_class, one_size=True),
    'tflite_int8': Kind(
        tensorflow_files.write_tflite, tensorflow_files.read_tflite,
        '.int8.tflite', tensorflow_files.interpreter_class, one_size=True,
        int8=True),
}
