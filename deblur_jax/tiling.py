"""Pictures of any size through a network: tiles, blended, and looked after.

A large picture is cut into overlapping tiles that all have one shape. Where two
of them meet, the outer quarter of the overlap, where a tile knows nothing of
what lies beyond it, does not count, and over the middle half one fades into the
other. So the result is that of the whole picture wherever a quarter of the
overlap covers the radius of what the network sees. All tiles begin at multiples
of STEP, for a network that halves pictures sees other pixels one further on.

A program is compiled for each shape, so there are at most SHAPES of them,
however many sizes a folder has; pictures that are taken whole (a tile of 0)
have one for each size, in steps of STEP. Memory that runs out halves the tiles.
And a result must agree with its picture in the mean over BOX x BOX pixels,
which no blur changes: a network that meets what it does not know may give
mosaics or black instead (that is known of trained ones, see NAFNet's issues).
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from deblur_jax import errors, loop, parallel, types
from deblur_jax.ops import frames
from deblur_jax.types import Array, Method, TrainState

SHAPES = 3       # of programs at most
AUTO = 1024      # the longest side of a tile that nobody chose
STEP = 32        # sides, overlaps and places of tiles are multiples of it
LEAST = 64       # side of a tile below which memory is not the reason
DEAR = 1.3       # times as many pixels as fitting tiles have: a shape too large
BOX = 32         # pixels, of the means that must agree
TRUST = 0.1      # by how much they may differ
MANY = 4         # tiles that fill an accelerator

Shape = tuple[int, int]


class Large(NamedTuple):
  """A restored picture, and what happened on the way.

  image: float32 [h, w, 3] in [0, 1].
  tiles: how many there were.
  again: tiles that were done once more in float32.
  kept: tiles of which the input was kept, for the result was not trusted.
  tile: their shape, (height, width).
  """

  image: np.ndarray
  tiles: int
  again: int
  kept: int
  tile: Shape


class Grid(NamedTuple):
  """Tiles over a picture that has at least their size: their first pixels."""

  tile: Shape
  tops: list[int]
  lefts: list[int]


def build(
    method: Method, state: TrainState, mesh: Mesh, *, tile: int | None = None,
    overlap: int = 64, ensemble: bool = False, trust: float = TRUST,
    exact: Method | None = None, at_once: int | None = None
) -> Callable[..., Large]:
  """A function that restores a picture, float32 [h, w, 3] in [0, 1].

  It takes the picture and, if you like, `on_tile`, which it calls with (tiles
  done, all tiles of the picture). For a method of several frames it takes
  these, [h, w, 3 * window], or a picture, which then stands for all of them.

  Args:
    method: one that does not fit each image anew.
    state: its trained state, on `mesh`.
    mesh: devices of this process.
    tile: longest side of a tile, made a multiple of STEP; None chooses, 0 takes
      pictures whole.
    overlap: of neighbours, in pixels, made a multiple of STEP; twice the width
      of what the network sees makes tiles exact.
    ensemble: the mean over the eight turns and mirror images (self-ensemble:
      Timofte et al., CVPR 2016), for eight times the time.
    trust: greatest difference of the means over BOX x BOX pixels.
    exact: the method in float32, where `method` computes in less: for tiles
      that are not trusted.
    at_once: how many tiles of a picture a device takes together; by default 1
      on CPUs, where more are no quicker, and MANY elsewhere.

  Raises:
    UserError: a method that fits each image, sizes that cannot be.
  """
  if method.per_image:
    raise types.UserError('This method fits each image anew: it has no tiles.')
  if overlap < 0:
    raise types.UserError(f'overlap must be at least 0, got {overlap}.')
  overlap = _round_up(overlap)
  if tile and tile < _least(overlap):
    raise types.UserError(
        f'tile must be 0, or at least {_least(overlap)} with an '
        f'overlap of {overlap}, got {tile}.')
  run, redo = (
      one and _runner(one, state, mesh) for one in (method, exact))
  at_once = at_once or (1 if jax.default_backend() == 'cpu' else MANY)
  way = _Way(run, redo, overlap, ensemble, trust, mesh.size, at_once)
  known: list[Shape] = []
  longest = AUTO if tile is None else _round_down(tile)

  def restore(image: np.ndarray, on_tile=lambda done, total: None) -> Large:
    nonlocal longest
    image = _checked(image, method.window)
    while True:
      shape = _choose(image.shape[:2], longest, overlap, known)
      try:
        return _restore(way, image, shape, on_tile)
      except jax.errors.JaxRuntimeError as error:
        if not errors.is_out_of_memory(error):
          raise
        longest = _less(shape, overlap)
        known.clear()

  return restore


def _checked(image, window):
  """The picture, or the frames, that go through the network."""
  if image.ndim != 3 or image.shape[-1] % 3 or not image.size:
    raise types.UserError(
        f'Expected a picture [h, w, 3], got {list(image.shape)}.')
  return frames.still(image, window=window)


def _runner(method, state, mesh):
  """tiles [n, h, w, 3 * window], split over devices, to results, NumPy."""
  compiled = loop.on_mesh(method.restore, mesh)
  split = parallel.split_batch(mesh)
  return lambda tiles: np.asarray(compiled(state, parallel.put(tiles, split)))


def _less(shape: Shape, overlap: int) -> int:
  """The longest side of the next tiles to try."""
  side = _round_down(max(shape) // 2)
  if side < _least(overlap):
    raise types.UserError(
        f'The memory does not hold a tile of {shape[0]}x{shape[1]}: close '
        'other programs, or take a smaller model, or a smaller overlap than '
        f'{overlap}.')
  return side


# ---- which tiles


def _choose(size: Shape, longest: int, overlap: int, known: list) -> Shape:
  """A shape for tiles of a picture; `known` grows by it if it is new."""
  size = tuple(map(_round_up, size))
  if longest:
    longest = max(longest, _least(overlap))
  own = tuple(_fitting(side, longest, overlap) for side in size)
  cost = lambda shape: math.prod(
      _count(side, t, overlap) * t
      for side, t in zip(size, shape, strict=True))
  near = min(
      (shape for shape in known if all(
          t >= side or (longest and t > overlap)
          for side, t in zip(size, shape, strict=True))),
      key=cost, default=None)
  if near and cost(near) <= DEAR * cost(own):
    return near
  if longest and len(known) == SHAPES - 1:
    own = (longest, longest)    # it will have to do for all others
  if longest and len(known) >= SHAPES:
    return near
  known.append(own)
  return own


def _fitting(side: int, longest: int, overlap: int) -> int:
  """Side of the least tiles that cover `side` in as few as may be."""
  if not longest or side <= longest:
    return _round_up(side)
  count = _count(side, longest, overlap)
  return min(longest, _round_up(
      math.ceil((side + (count - 1) * overlap) / count)))


def _least(overlap: int) -> int:
  """Side of the least tiles."""
  return max(LEAST, 2 * overlap)


def _round_up(side: int) -> int:
  return STEP * math.ceil(side / STEP)


def _round_down(side: int) -> int:
  return STEP * (side // STEP)


def _count(side: int, tile: int, overlap: int) -> int:
  """How many tiles cover a side."""
  return max(1, math.ceil((side - overlap) / max(tile - overlap, 1)))


def grid(size: Shape, tile: Shape, overlap: int) -> Grid:
  """The last tiles end where the picture does, so their overlap is larger."""
  def firsts(side, t):
    return [min(i * (t - overlap), side - t)
            for i in range(_count(side, t, overlap))]

  return Grid(tile, *(firsts(side, t)
                      for side, t in zip(size, tile, strict=True)))


# ---- through the network


class _Way(NamedTuple):
  """How tiles are restored."""

  run: Callable[[np.ndarray], np.ndarray]
  redo: Callable[[np.ndarray], np.ndarray] | None   # in float32
  overlap: int
  ensemble: bool
  trust: float
  devices: int
  at_once: int   # tiles of each device


def _restore(
    way: _Way, image: np.ndarray, shape: Shape, on_tile: Callable) -> Large:
  height, width = image.shape[:2]
  missing = [max(t, _round_up(side)) - side
             for t, side in zip(shape, (height, width), strict=True)]
  padded = np.pad(
      image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode='symmetric'
  ) if any(missing) else image
  places = grid(padded.shape[:2], shape, way.overlap)
  corners = list(itertools.product(places.tops, places.lefts))
  total = np.zeros((*padded.shape[:2], 3), np.float32)
  weight = np.zeros((*padded.shape[:2], 1), np.float32)
  again = kept = 0
  # A small picture is not made a large batch.
  batch = way.devices * (way.at_once if len(corners) > way.devices else 1)
  for first in range(0, len(corners), batch):
    part = corners[first:first + batch]
    tiles = np.stack([_cut(padded, corner, shape) for corner in part])
    results = _all_ways(way.run, tiles, batch, ensemble=way.ensemble)
    for corner, tile, result in zip(part, tiles, results, strict=True):
      blur = frames.middle(tile)
      if not agrees(result, blur, trust=way.trust) and way.redo:
        again += 1
        result = _all_ways(
            way.redo, tile[None], way.devices, ensemble=way.ensemble)[0]
      if not agrees(result, blur, trust=way.trust):
        kept += 1
        result = blur
      fade = _fade(corner, shape, padded.shape[:2], way.overlap)
      inside = tuple(slice(first, first + side) for first, side
                     in zip(corner, shape, strict=True))
      total[inside] += fade * np.clip(result, 0, 1)
      weight[inside] += fade
    on_tile(first + len(part), len(corners))
  total /= weight
  return Large(total[:height, :width], len(corners), again, kept, shape)


def _cut(image, corner, shape):
  (top, left), (height, width) = corner, shape
  return image[top:top + height, left:left + width]


def _all_ways(run, tiles, batch, *, ensemble):
  """The results of tiles, or their means over the turns and mirror images."""
  # The last batch is filled up with its first tile.
  filled = np.concatenate([tiles] + [tiles[:1]] * (batch - len(tiles)))
  if not ensemble:
    return run(filled)[:len(tiles)]
  total = 0.0
  for turns, mirrored in itertools.product(range(4), (False, True)):
    turned = np.rot90(filled, turns, (1, 2))
    turned = turned[:, :, ::-1] if mirrored else turned
    result = run(np.ascontiguousarray(turned))
    result = result[:, :, ::-1] if mirrored else result
    total = total + np.rot90(result, -turns, (1, 2)) / 8
  return total[:len(tiles)]


def agrees(result: Array, image: Array, *, trust: float = TRUST) -> bool:
  """Whether two pictures [h, w, 3] have the same means over BOX x BOX."""
  if not np.isfinite(result).all():
    return False
  difference = np.clip(result, 0, 1) - image
  sums, areas = difference, 1
  for axis, side in enumerate(image.shape[:2]):
    edges = np.linspace(0, side, max(1, side // BOX) + 1).astype(int)
    sums = np.add.reduceat(sums, edges[:-1], axis=axis)
    areas = np.multiply.outer(areas, np.diff(edges))
  return bool(np.abs(sums / areas[..., None]).max() <= trust)


def _fade(corner, shape, size, overlap) -> np.ndarray:
  """Weights of a tile's pixels, [h, w, 1]; 1 where it ends with the picture."""
  ramps = []
  for first, tile, side in zip(corner, shape, size, strict=True):
    ramp = np.ones(tile, np.float32)
    if overlap:
      # From 0 to 1 over the middle half of the overlap; never all zero.
      rise = np.clip(2 * (np.arange(tile) + 0.5) / overlap - 0.5, 1e-6, 1)
      ramp = ramp if first == 0 else ramp * rise
      ramp = ramp if first + tile == side else ramp * rise[::-1]
    ramps.append(ramp.astype(np.float32))
  return (ramps[0][:, None] * ramps[1][None, :])[..., None]
