"""Makes pairs of sharp pictures: blurs photos, or averages recorded frames.

A `Plan` lists the pairs and has the work that makes them, in pieces that can be
pickled. `pair_writer` runs it in threads, or with Beam.
"""

import ast
import functools
import inspect
import os
import pathlib
import types as builtin_types
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deblur_jax import blur as blurs
from deblur_jax import errors
from deblur_jax.blur import exposure
from deblur_jax.data import frames, images
from deblur_jax.ops import array_files, bit_depth

Pictures = dict[str, np.ndarray]    # 'blur', 'sharp': uint8 [h, w, 3]
# Yields (name of a pair, function that makes it), in order.
Work = Callable[[], Iterator[tuple[str, Callable[[], Pictures]]]]


class Plan(NamedTuple):
  """Pairs to make.

  Attributes:
    parameters: everything besides the sources that determines the pixels; JSON.
    sources: {name of the pair, 'SEQUENCE/000012': what it is made of}; JSON.
    subset: GoPro's name of the blurred side: 'blur' where stored values are
      averaged, 'blur_gamma' where light is (gamma is not 1, or a response).
    works: together they make all pairs, each once.
    root: the folder of the sources.
  """

  parameters: dict[str, Any]
  sources: dict[str, dict[str, Any]]
  subset: str
  works: list[Work]
  root: pathlib.Path


def from_photos(
    root: str | os.PathLike, *, kind: str,
    options: Mapping[str, Any] = builtin_types.MappingProxyType({}),
    per_photo: int = 1, seed: int = 0) -> Plan:
  """Plans pairs of the photos below a folder, blurred by `blur.build`.

  Pair k of photo i depends on fold_in(fold_in(key(seed), i), k) only.

  Args:
    root: the folder. Its sub-folders become sequences.
    kind: a name in `blur.BLURS`.
    options: keyword arguments of `blur.build`: numbers, words, tuples of them.
    per_photo: number of pairs of each photo.
    seed: of all random choices.

  Raises:
    UserError: no photo, or the blur refuses its options or the smallest photo.
  """
  if per_photo < 1:
    raise errors.UserError(f'per_photo must be 1 or more, got {per_photo}.')
  if 'kind' in options:
    raise errors.UserError(
        f'kind names the blur and is no option of {kind}; leave it out.')
  blur = blurs.build(kind=kind, **options)
  found = images.require(root)
  _try_out(blur, min(map(images.size, found.values()), key=min), options)
  text = repr(dict(options))
  options = _defaults(blurs.BLURS[kind]) | options
  sources, works, numbers = {}, [], {}
  for i, (key, path) in enumerate(found.items()):
    names = []
    for k in range(per_photo):
      names.append(_next_name(numbers, frames.group(root, key)))
      sources[names[-1]] = {'photo': key, 'photo_index': i, 'repeat': k}
    works.append(functools.partial(
        _blur_photo, names, os.fspath(path), kind, text, seed, i))
  parameters = {'from': 'photos', 'kind': kind, 'options': options,
                'per_photo': per_photo, 'seed': seed}
  subset = _subset(*blurs.gammas(kind, options))
  return Plan(parameters, sources, subset, works, pathlib.Path(root))


def from_frames(
    root: str | os.PathLike, *, window: tuple[int, int] = (7, 7),
    gamma: float = 2.2, response: str | os.PathLike | None = None,
    straight_above: int | None = None, seed: int = 0) -> Plan:
  """Plans averages of recorded frames, as in GoPro; the middle one is sharp.

  Args:
    root: frames of one sequence, folders of frames, or a video; see
      `frames.find`.
    window: smallest and largest number of frames, see `exposure.windows`.
    gamma: of the camera; 2.2 for GoPro's `blur_gamma`, 1 for its `blur`.
    response: file of a measured curve instead, see `read_response`.
    straight_above: see `exposure.check_response`; only with a response.
    seed: of the lengths of the windows, where they differ.

  Raises:
    UserError: gamma is not above 0, a curve or a window is refused, or as of
      `frames.find`.
  """
  curve = dict(gamma=gamma)
  parameters = {'from': 'frames', 'window': list(window), 'gamma': gamma,
                'seed': seed}
  if response is not None:
    curve = dict(response=read_response(response, straight_above))
    parameters |= {
        'gamma': None, 'response': pathlib.Path(response).name,
        'straight_above': straight_above,
        'response_crc32': zlib.crc32(curve['response'].tobytes())}
  shortest, longest = window
  # Both refuse wrong options before the frames are read.
  light_of(**curve)
  exposure.windows(seed, max(window), shortest=shortest, longest=longest)
  sources, works = {}, []
  for i, sequence in enumerate(frames.find(root)):
    try:
      runs = exposure.windows(
          (seed, i), sequence.length, shortest=shortest, longest=longest)
    except errors.UserError as error:
      raise errors.UserError(f'Sequence {sequence.name}: {error}') from None
    names = [f'{sequence.name}/{k:06d}' for k in range(len(runs))]
    sources |= {
        name: {'first_frame': run.start, 'frames': len(run),
               'sharp_frame': _middle(run), 'file': sequence.file(_middle(run))}
        for name, run in zip(names, runs, strict=True)}
    jobs = list(zip(names, runs, strict=True))
    # A video is decoded once from its beginning for all of its windows.
    parts = [jobs] if sequence.is_video else [[job] for job in jobs]
    works += [functools.partial(_average_windows, sequence, part, curve)
              for part in parts]
  subset = _subset(parameters['gamma'])
  return Plan(parameters, sources, subset, works, pathlib.Path(root))


def read_response(
    path: str | os.PathLike, straight_above: int | None = None) -> np.ndarray:
  """Reads a response curve in the form of REDS' crf.npy.

  Args:
    path: a file as OpenCV's calibrations write it: [256], or [256, 3] or
      [256, 1, 3] with the channels in the order blue, green, red.
    straight_above: see `exposure.check_response`.

  Returns:
    RGB, float32 [256, 1 or 3].

  Raises:
    UserError: no such file, no array of numbers, or `exposure.check_response`
      refuses the curve.
  """
  try:
    curve, = array_files.load(path).values()
    curve = np.asarray(curve, np.float64)
  except (OSError, ValueError, TypeError) as error:
    reason = ' '.join(str(error).split())
    raise errors.UserError(
        f'Cannot read a response curve from {path}: {reason}.') from None
  if curve.ndim == 3 and curve.shape[1] == 1:
    curve = curve[:, 0]
  try:
    return exposure.check_response(
        curve[..., ::-1] if curve.ndim == 2 else curve,
        straight_above=straight_above)
  except errors.UserError as error:
    raise errors.UserError(f'{path}: {error}') from None


def average(shots, *, curve: Mapping[str, Any]) -> Pictures:
  """Makes a pair of an odd number of frames.

  A table has the light of the 256 stored values, and one frame at a time is in
  memory.

  Args:
    shots: functions that return uint8 [h, w, 3], in order.
    curve: gamma or response, keyword arguments of `exposure.to_light`.
  """
  light = light_of(**curve)
  total, sharp = 0.0, None
  for number, shot in enumerate(shots):
    frame = shot()
    sharp = frame if number == len(shots) // 2 else sharp
    total = total + np.stack(
        [light[:, c][frame[..., c]] for c in range(3)], axis=-1)
  mean = jnp.asarray(total / len(shots), jnp.float32)
  blur = np.asarray(exposure.to_stored(mean, **curve))
  return {'blur': bit_depth.to_uint8(blur), 'sharp': sharp}


def light_of(**curve) -> np.ndarray:
  """The light of the 256 stored values, float32 [256, 3].

  Args:
    **curve: of `exposure.to_light`.
  """
  levels = bit_depth.to_float(np.arange(256, dtype=np.uint8))
  return np.asarray(exposure.to_light(
      jnp.tile(levels[:, None], (1, 3)), **curve))


def _average_windows(sequence, jobs, curve):
  """Work: consecutive windows of one sequence."""
  wanted = range(jobs[0][1].start, jobs[-1][1].stop)
  shots = frames.shots(sequence, wanted)
  for name, run in jobs:
    these = [next(shots) for _ in run]
    yield name, functools.partial(average, these, curve=curve)


def _blur_photo(names, path, kind, options, seed, index):
  """Work: the pairs of one photo."""
  for repeat, name in enumerate(names):
    yield name, functools.partial(
        _blur_once, path, kind, options, seed, index, repeat)


def _blur_once(path, kind, options, seed, index, repeat):
  # The generator is named, so that another default does not change the pairs.
  key = jax.random.key(seed, impl='threefry2x32')
  key = jax.random.fold_in(jax.random.fold_in(key, index), repeat)
  sharp = bit_depth.to_float(jnp.asarray(images.read(path)))
  pair = _compiled(kind, options)(key, sharp[None])
  return {side: bit_depth.to_uint8(np.asarray(pair[side][0]))
          for side in ('blur', 'sharp')}


@functools.lru_cache(maxsize=8)
def _compiled(kind, options):
  return jax.jit(blurs.build(kind=kind, **ast.literal_eval(options)))


def _try_out(blur, size, options):
  """Traces the blur, so that it refuses wrong options; computes nothing."""
  key = jax.eval_shape(lambda: jax.random.key(0))
  sharp = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
  try:
    jax.eval_shape(blur, key, sharp)
  except errors.UserError:
    raise
  except (TypeError, ValueError) as error:
    first, *_ = str(error).splitlines() or [type(error).__name__]
    raise errors.UserError(
        f'The blur does not work with {dict(options)}: {first}') from None


def _defaults(fn):
  """{name: default} of a function's options, recorded as they may change."""
  parameters = inspect.signature(fn).parameters.values()
  return {p.name: p.default for p in parameters
          if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}


def _subset(*gammas):
  return 'blur' if all(gamma == 1 for gamma in gammas) else 'blur_gamma'


def _next_name(numbers, sequence):
  numbers[sequence] = numbers.get(sequence, -1) + 1
  return f'{sequence}/{numbers[sequence]:06d}'


def _middle(run):
  return run[len(run) // 2]
