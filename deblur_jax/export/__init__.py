"""Exports trained networks to files, and checks and measures each file.

  kind          for                                     sizes
  stablehlo     jax on every platform                   all
  onnx          ONNX Runtime, TensorRT, OpenVINO        all
  saved_model   TensorFlow, a folder                    all, or one
  tflite        phones, by LiteRT                       one
  tflite_int8   the same, convolutions in int8          one

The input of every file is `blur`, float32 [n, h, w, 3] RGB in [0, 1]; the
output is `restored`, of the same shape and not clipped. A file pads and crops
to the network's multiples itself. The input of a video network is its frames in
order along the last axis.
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
  onnx_file,
  peak_memory,
  stablehlo,
  tensorflow_files,
)
from deblur_jax.export import traced as traced_lib
from deblur_jax.ops import atomic_files, bit_depth
from deblur_jax.state import Method, TrainState

_ADVICE = 'another folder or name, or overwrite=True'
Size = tuple[int, int]   # height, width
Run = Callable[[np.ndarray], np.ndarray]   # [n, h, w, c] to [n, h, w, 3]

SIZES = ((256, 256), (255, 321), (97, 64))
TOLERANCE = 1e-4   # greatest difference between a file and its network


class Kind(NamedTuple):
  """A file format.

  Attributes:
    write: (path, traced, **options) writes a file.
    read: path -> the function in the file.
    suffix: of the file's name.
    imports: imports the package that runs the file.
    one_size: whether a file is for pictures of one size.
    int8: whether it is quantized: calibrated on pictures, less exact than
      TOLERANCE.
  """

  write: Callable[..., None]
  read: Callable[[Any], Run]
  suffix: str
  imports: Callable[[], Any]
  one_size: bool = False
  int8: bool = False


class Row(NamedTuple):
  """The measurements of one file.

  Attributes:
    kind: a name in KINDS.
    path: of the file.
    bytes: its size.
    errors: size -> the largest difference to the network's result.
    psnr: the lowest PSNR between the file's and the network's results, dB; inf
      where they are equal.
    least: pictures with shorter sides are enlarged inside of the file, and
      their results differ from the network's.
    size: of the timed picture.
    ms: median time of the file, warm, alternating with the network.
    network_ms: median time of the network.
    ratio: median of the network's time over the file's; above 1 the file is
      faster.
    memory_bytes: by which a process grows when it reads and runs the file; None
      if unknown.
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
    """Returns whether all errors for sizes from `least` on are in TOLERANCE."""
    return all(error <= TOLERANCE for size, error in self.errors.items()
               if min(size) >= self.least)


def run(
    method: Method, state: TrainState, *, out: str | os.PathLike,
    kinds: Sequence[str] = ('onnx',),
    sizes: Sequence[Size] = SIZES, name: str = 'deblur', repeats: int = 7,
    pictures: Sequence[np.ndarray] = (), overwrite: bool = False,
    advice: str = _ADVICE,
    on_row: Callable[[Row], None] = lambda row: None) -> list[Row]:
  """Exports a trained method to files, and checks and measures each file.

  Args:
    method: a method with a trained network.
    state: its trained state on one device.
    out: the folder.
    kinds: names in KINDS.
    sizes: (height, width) of the pictures for the checks; the first is timed,
      and is that of the files for one size.
    name: of the files, without suffix.
    repeats: timed rounds; 0 does not measure time or memory.
    pictures: blurry ones, float32 [h, w, 3] in [0, 1]; by default built-in.
    overwrite: whether existing files are replaced.
    advice: what to take where a file exists, for the message.
    on_row: called with each row after its measurement.

  Returns:
    A row for each kind.

  Raises:
    UserError: a kind or a size is invalid, a file exists, the method fits each
      picture, a network cannot be exported, or a package is missing.
  """
  if method.per_image:
    raise errors.UserError(
        'This method fits each picture: there is no network to export.')
  for kind in kinds:
    errors.look_up(KINDS, kind, what='kind of file')
  if not sizes or min(min(size) for size in sizes) < 1:
    raise errors.UserError(
        'Give at least one size, with height and width of 1 or more.')
  paths = {kind: pathlib.Path(out) / (name + KINDS[kind].suffix)
           for kind in kinds}
  for path in paths.values():
    _check_free(path, overwrite, advice)
  state = jax.tree.map(np.asarray, state)
  restore = lambda blur: method.restore(state, blur)
  errors.make_folder(out)
  rows = []
  for kind, path in paths.items():
    these = sizes[:1] if KINDS[kind].one_size else sizes
    least = write(
        path, restore, kind=kind, pictures=pictures, overwrite=overwrite,
        advice=advice, size=these[0] if KINDS[kind].one_size else None,
        window=method.window)
    rows.append(measure(
        path, restore, kind=kind, sizes=these, least=least, repeats=repeats,
        pictures=pictures, window=method.window))
    on_row(rows[-1])
  return rows


def write(
    path: str | os.PathLike, restore: traced_lib.Restore, *, kind: str,
    size: Size | None = None, pictures: Sequence[np.ndarray] = (),
    overwrite: bool = False, advice: str = _ADVICE, window: int = 1) -> int:
  """Writes a function to a file; a failure leaves no file.

  Args:
    path: of the file, or of the folder of a SavedModel.
    restore: blur [n, h, w, 3 * window] -> restored [n, h, w, 3], in [0, 1],
      with its weights.
    kind: a name in KINDS.
    size: (height, width) of a file for one size; None is for all sizes.
    pictures: blurry ones that calibrate int8; by default the built-in set.
    overwrite: whether an existing file is replaced.
    advice: as of `run`.
    window: number of frames of a video network.

  Returns:
    The least side that is not enlarged inside of the file.

  Raises:
    UserError: as `run`.
  """
  row = errors.look_up(KINDS, kind, what='kind of file')
  path = pathlib.Path(path)
  _check_free(path, overwrite, advice)
  traced = traced_lib.trace(restore, size=size, window=window)
  options = {}
  if row.int8:
    pictures = pictures if len(pictures) else _builtin('train')
    options = dict(pictures=[_fit(x, size, window) for x in pictures])
  with atomic_files.replacing(path) as part:
    row.write(part, traced, **options)
    if path.is_dir():      # os.replace does not replace a folder
      shutil.rmtree(path)
  return traced.least


def check(
    run_file: Run, network: Run, sizes: Sequence[Size], *,
    pictures: Sequence[np.ndarray] = (), window: int = 1
) -> tuple[dict[Size, float], float]:
  """Compares the results of a file and its network.

  Args:
    run_file: the function in the file.
    network: the function of the network.
    sizes: (height, width) of the pictures.
    pictures: blurry ones; by default the built-in set.
    window: number of frames of a video network.

  Returns:
    ({size: largest absolute difference}, lowest PSNR in dB).

  Raises:
    UserError: the file's result has another shape.
  """
  pictures = pictures if len(pictures) else _builtin('test')
  differences, mean_squares = {}, []
  for i, size in enumerate(sizes):
    blur = _fit(pictures[i % len(pictures)], size, window)[None]
    expected, got = network(blur), run_file(blur)
    if got.shape != expected.shape:
      raise errors.UserError(
          f'The file returns the shape {got.shape} for the input {blur.shape}, '
          f'the network {expected.shape}.')
    difference = np.abs(got - expected)
    differences[size] = float(difference.max())
    mean_squares.append(np.mean(difference.astype(np.float64)**2))
  worst = max(mean_squares)
  return differences, float(-10 * np.log10(worst)) if worst else float('inf')


def measure(
    path: str | os.PathLike, restore: traced_lib.Restore, *, kind: str,
    sizes: Sequence[Size] = SIZES, least: int = 1, repeats: int = 7,
    pictures: Sequence[np.ndarray] = (), window: int = 1) -> Row:
  """Reads a file, compares it with its network, and times both alternately.

  Args:
    path: of the file.
    restore: as of `write`.
    kind: a name in KINDS.
    sizes: as of `run`.
    least: the result of `write`.
    repeats: as of `run`.
    pictures: as of `run`.
    window: as of `write`.

  Returns:
    The row of the file.

  Raises:
    UserError: the file cannot be read, or its result has another shape.
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
      memory_bytes=peak_memory.peak(kind, path, shape) if repeats else None)


def _seconds(fn, blur):
  start = time.perf_counter()
  fn(blur)
  return time.perf_counter() - start


def _builtin(split):
  source = data.open_source(name='builtin', split=split)
  chosen = range(0, len(source.names), 3)
  return [bit_depth.to_float(source.read(i)['blur']) for i in chosen]


def _fit(picture, size, window):
  """The top left corner of a picture, padded by reflection if too small.

  For a video network the picture moves by one pixel from frame to frame.
  """
  picture = np.concatenate(
      [np.roll(picture, i, axis=1) for i in range(window)], axis=-1)
  if size is None:
    return np.asarray(picture, np.float32)
  around = [(0, max(0, want - have)) for want, have in zip(
      size, picture.shape, strict=False)]
  picture = np.pad(picture, [*around, (0, 0)], mode='symmetric')
  return np.asarray(picture[:size[0], :size[1]], np.float32)


def _check_free(path, overwrite, advice):
  if path.exists() and not overwrite:
    raise errors.UserError(f'{path} exists already; take {advice}.')
  if path.is_dir() and not (path / 'saved_model.pb').exists():
    raise errors.UserError(
        f'{path} is a folder, but no SavedModel, and is not replaced; give '
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
